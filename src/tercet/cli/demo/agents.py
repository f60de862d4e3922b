"""A short `tercet run` at the end of the demo: agents that buy their thinking from the demo's own market.

The goal is one that the smallest model can reach: a sentence or two that a program accepts, the best of several samples.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from tercet.cli.demo.cast import Pace
from tercet.cli.demo.progress import Progress
from tercet.cli.record import AgentCall, AgentsRecord, AgentTask
from tercet.errors import SandboxMissingError, TercetError
from tercet.market import CREDIT, Amount
from tercet.swarm.gateway import HttpUpstream
from tercet.swarm.kernel import Kernel, Outcome, RunConfig
from tercet.swarm.plan import Plan
from tercet.swarm.report import describe_run

__all__ = ["BUDGET", "GOAL", "build_agents_record", "build_plan", "run_agents"]

GOAL = "Put up two notices that tell passers-by about this market"
BUDGET = 1_000_000
"""Credit units."""
RUN = "demo-notices"
TASK_SECONDS = 120.0
WORDS = 40
NOTICES: Mapping[str, tuple[str, str, Sequence[str]]] = {
    "open": (
        "Say that the market is open",
        "One sentence for passers-by: this market sells a language model's answers, and honest miners are paid for them.",
        ("market", "answers|miners"),
    ),
    "welcome": (
        "Welcome people to the market",
        "One short sentence that welcomes people to the market, where miners sell answers.",
        ("market", "welcome|people"),
    ),
}
"""Task to its title, what its writer is told, and the words that its notice has to hold (any of those between bars)."""
_TEST = (
    "import re, sys; text = open(sys.argv[1]).read(); words = re.findall(r'\\w+', text.lower());"
    "missing = [one for one in sys.argv[2:] if not set(one.split('|')) & set(words)];"
    "sys.exit('says nothing about: ' + ', '.join(missing) if missing else None if 5 <= len(words) <= 40 else 'length')"
)


def build_plan() -> Plan:
    """Two writers at once, and a check of both notices at the end. Each done-test is a program."""
    tasks = [
        {
            "id": name, "title": title, "role": "writer", "detail": detail, "outputs": [f"{name}.txt"],
            "budget": BUDGET * 45 // 100, "seconds": TASK_SECONDS, "crew": "criers",
            "options": {"text": "note", "words": WORDS, "mentions": wanted},
            "done": {"command": ["python3", "-c", _TEST, f"{name}.txt", *wanted], "seconds": 20},
        }
        for name, (title, detail, wanted) in NOTICES.items()
    ]  # fmt: skip
    both = "import sys; a, b = (open(name).read() for name in sys.argv[1:]); sys.exit('twice the same' if a == b else None)"
    check = {
        "id": "check", "title": "See that both are up and differ", "role": "tester", "needs": list(NOTICES),
        "inputs": [f"{name}.txt" for name in NOTICES], "budget": 0, "seconds": TASK_SECONDS, "crew": "criers",
        "done": {"command": ["python3", "-c", both, *(f"{name}.txt" for name in NOTICES)], "seconds": 20},
    }  # fmt: skip
    return Plan.model_validate({"goal": GOAL, "tasks": [*tasks, check]})


class _Host:
    """Agrees to what the demo itself proposes."""

    async def approve(self, plan: Plan, by: str, config: RunConfig, *, again: bool) -> str:  # noqa: ARG002 - the signature
        """Yes: the plan is the demo's own."""
        return "the demo"

    async def accept(self, paths: Sequence[str], directory: Path) -> str:  # noqa: ARG002 - the signature
        """Yes: it writes beside its own journal."""
        return "the demo"


async def run_agents(home: Path, base_url: str, key: str, model: str, pace: Pace, progress: Progress) -> Outcome | None:
    """Let agents reach the goal on answers bought at `base_url`; None where nothing can contain their programs.

    Args:
        home: of the demo; the run is kept under `runs`, where `tercet --home` finds it.
        base_url: of the market's gateway, ending in `/v1`.
        key: the run's own API key.
        model: what the market promises.
        pace: how long things take.
        progress: where to say it.

    """
    folder = home / "runs" / RUN
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    plan = folder / "plan.json"
    plan.write_text(build_plan().model_dump_json(indent=1))
    config = RunConfig(GOAL, BUDGET, agents=len(NOTICES) + 1, model=model, gateway=base_url, plan=str(plan))
    progress.say(f"A swarm is given a goal and {Amount(BUDGET, CREDIT)}: {GOAL}.")
    try:
        upstream = HttpUpstream(base_url, key, model)
        outcome = await Kernel(folder, config, upstream, _Host(), call_seconds=2 * pace.answer_seconds).run()
    except SandboxMissingError:
        progress.say("No sandbox here (bubblewrap is missing), so no agents run. The market does not need them.")
        return None
    except TercetError as error:
        progress.say(f"The agents could not work: {error}")
        return None
    spent = Amount(outcome.state.spent().charged, CREDIT)
    words = "The goal is met" if outcome.status == "done" else f"The goal was not met: {outcome.why}"
    progress.say(f"{words}. {spent} were spent on {outcome.state.spent().calls} answers.")
    return outcome


def build_agents_record(
    outcome: Outcome, names: Mapping[int, str], earned: Mapping[str, int], redeemed: Mapping[str, int]
) -> AgentsRecord:
    """Goal, task, receipt, miner, payout: from the run's journal and the chain.

    Args:
        outcome: of the run.
        names: uid to miner.
        earned: miner to credit units that it charged, by its own book.
        redeemed: miner to credit units that the chain paid out to it.

    """
    found = describe_run(outcome.folder.name, outcome.state)
    work = outcome.folder / "work"
    texts = {file["task"]: (work / file["path"]).read_text().strip() for file in found["files"]}
    calls = []
    for call in found["receipts"]:
        miner = names.get(int(call["upstream"].get("miner") or 0), "")
        calls.append(
            AgentCall(
                receipt=str(call["upstream"].get("receipt") or call["id"]),
                agent=call["agent"],
                task=call["task"],
                miner=miner,
                tokens=call["tokens"],
                charged=call["charged"],
                miner_earned=earned.get(miner, 0),
                miner_redeemed=redeemed.get(miner, 0),
            )
        )
    tasks = [
        AgentTask(
            id=task["id"], title=task["title"], agent=task["agent"], state=task["state"], attempts=task["attempts"],
            spent=task["spent"], text=texts.get(task["id"], ""),
        )
        for task in found["tasks"]
    ]  # fmt: skip
    return AgentsRecord(
        run=found["run"], goal=found["goal"], status=found["status"], seconds=found["seconds"],
        budget=found["budget"], spent=found["spent"], returned=found["returned"], tasks=tasks, calls=calls,
    )  # fmt: skip
