"""Tercet's engine in `swarm_steps.py`, as a run has it: journal, desk with budgets and receipts, durable steps, claims."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from pydantic_ai import Agent

import swarm_measure  # type: ignore[import-not-found] # beside this script
from tercet.market import Price
from tercet.swarm.claims import Claims, Origin
from tercet.swarm.collector import collected_seldom
from tercet.swarm.durable import JournalDurability
from tercet.swarm.gateway import Budget, Desk, HttpUpstream
from tercet.swarm.journal import Journal
from tercet.swarm.model import GatewayModel
from tercet.swarm.state import fold
from tercet.swarm.steps import run_scope, step

SLOTS = 100
"""Calls in flight at once, at most."""


async def ours() -> None:
    """The engine as a run has it: journal, desk with budgets and receipts, durable steps, claims."""
    with collected_seldom(), tempfile.TemporaryDirectory() as folder, Journal(Path(folder) / "journal.db") as journal:
        upstream = HttpUpstream(f"{swarm_measure.URL}", prices={"gpt-4o-mini": Price(per_request=10)})
        async with Desk(journal, upstream, slots=min(swarm_measure.AGENTS, SLOTS)) as desk:
            desk.budgets.open("run", Budget(credit=10**12))
            claims = Claims(journal)

            def build(n: int) -> tuple[int, Agent[None, str]]:
                model = GatewayModel(desk, f"run/crew/worker-{n}", f"task-{n}")
                agent: Agent[None, str] = Agent(model, name="worker", capabilities=[JournalDurability[None]()])

                @agent.tool_plain
                async def add(n: int) -> int:
                    """Add one to n."""
                    result: int = await swarm_measure.add(n)
                    author = f"worker-{number}"
                    await claims.make(f"{n} and one is {result}", author=author, origin=Origin.OBSERVED, task=author)
                    return result

                number = n
                return n, agent

            async def once(built: tuple[int, Agent[None, str]]) -> object:
                n, agent = built
                async with run_scope(journal, f"task-{n}/1", actor=f"worker-{n}", task=f"task-{n}"):
                    result = await agent.run("go")
                assert result.output == "done"
                return result.all_messages()

            await swarm_measure.measure(build, once)


def resume(steps: int) -> dict[str, float]:
    """Seconds to open, check, fold and read back a journal of so many model steps, with their calls."""
    output = {"parts": [{"content": "x" * 500, "part_kind": "text"}], "usage": {"input_tokens": 90}, "kind": "response"}

    async def answer() -> object:
        return output

    async def scopes(journal: Journal) -> None:
        async def one(n: int) -> None:
            async with run_scope(journal, f"task-{n}/1"):
                for _ in range(100):
                    await step("worker__model.request", answer)

        await asyncio.gather(*(one(n) for n in range(steps // 100)))

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.db"
        with Journal(path) as journal:
            asyncio.run(scopes(journal))
            size = path.stat().st_size
        began = time.perf_counter()
        with Journal(path) as journal:
            opened = time.perf_counter() - began
            fold(journal.events())
            folded = time.perf_counter() - began
            asyncio.run(scopes(journal))
            assert journal.head == steps
        return {"open_s": opened, "fold_s": folded - opened, "total_s": time.perf_counter() - began, "mb": size / 1e6}


if __name__ == "__main__":
    if sys.argv[1:] == ["resume"]:
        sys.stdout.write(f"REPORT {json.dumps(resume(10_000))}\n")
    else:
        asyncio.run(ours())
