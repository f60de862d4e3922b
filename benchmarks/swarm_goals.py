"""How often each example goal is met by each shipped model, and what did the work.

    python benchmarks/swarm_goals.py --runs 5 --models smol small large --seconds 900

Each run draws its samples by another seed; the first answer to a question is drawn at temperature 0, so runs share it.
A run that is over `--seconds` counts as failed. Prints a Markdown table; `did` names what made the fix or the report.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tercet.swarm.gateway import LocalUpstream
from tercet.swarm.kernel import Kernel, RunConfig
from tercet.swarm.plan import Plan

EXAMPLES = Path(__file__).parents[1] / "examples" / "swarm"
GOALS = {
    "repair": "Make the failing tests pass and write the changelog entry",
    "csv": "Analyse sales.csv and report with plots",
}
MADE = {"repair": "wordkit.py", "csv": "analysis/report.md"}


class Yes:
    """Agrees to everything."""

    async def approve(self, plan: Plan, by: str, config: RunConfig, *, again: bool) -> str:  # noqa: ARG002
        """Yes."""
        return "benchmark"

    async def accept(self, paths: Sequence[str], directory: Path) -> str:  # noqa: ARG002
        """Yes."""
        return "benchmark"


async def measure(goal: str, model: str, seconds: float, seed: int) -> tuple[bool, str, int, float, str]:
    """(met, what did it, calls, seconds, why not)."""
    with tempfile.TemporaryDirectory(prefix="tercet-goal-") as name:
        mine = Path(name) / "mine"
        shutil.copytree(EXAMPLES / goal, mine)
        config = RunConfig(GOALS[goal], 10**6, dir=str(mine), model=model, gateway=f"local {model}", seed=10_000 * seed)
        kernel = Kernel(Path(name) / "run", config, LocalUpstream(model), Yes())
        began = time.monotonic()
        timer = asyncio.get_running_loop().call_later(seconds, kernel.interrupt)
        outcome = await kernel.run()
        timer.cancel()
        made = outcome.state.artefacts.get(MADE[goal])
        why = "over time" if outcome.status == "paused" else outcome.why
        took = time.monotonic() - began
        return outcome.status == "done", made.by if made else "", outcome.state.spent().calls, took, why


async def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=["smol", "small", "large"])
    parser.add_argument("--goals", nargs="+", default=list(GOALS))
    parser.add_argument("--seconds", type=float, default=900.0)
    asked = parser.parse_args()
    print("| goal | model | met | did | calls | seconds | why not |\n| --- | --- | --- | --- | --- | --- | --- |")
    for goal in asked.goals:
        for model in asked.models:
            rows = []
            for number in range(1, asked.runs + 1):
                rows.append(await measure(goal, model, asked.seconds, number))
                print(goal, model, number, *rows[-1], file=sys.stderr, flush=True)
            did = Counter(row[1] for row in rows if row[0])
            why = Counter(" ".join(row[4].split())[:90] for row in rows if not row[0])
            cells = (
                goal,
                model,
                f"{sum(row[0] for row in rows)} of {len(rows)}",
                ", ".join(f"{name} ({count})" for name, count in did.items()) or "-",
                f"{sum(row[2] for row in rows) / len(rows):.0f}",
                f"{sum(row[3] for row in rows) / len(rows):.0f}",
                "; ".join(f"{text} ({count})" for text, count in why.items()) or "-",
            )
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
