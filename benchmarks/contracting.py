"""What a call for proposals costs: CPU and time of one, signed, over the hub's sockets and in the journal; it prints a table.

Each agent answers at once, as agents of a run do; what it computes its offer from is empty, so this is the talking alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from pathlib import Path

from tercet.chain.keys import Key
from tercet.errors import UnreachableError
from tercet.swarm.hub import Hub
from tercet.swarm.journal import Journal
from tercet.swarm.link import Link, call_for_proposals, open_link

CALLS = 100
CREWS = (2, 3, 7)


async def bid(link: Link, price: int) -> None:
    """Answer every call."""
    with contextlib.suppress(UnreachableError):
        while True:
            said = await link.hear()
            if said.performative == "cfp":
                await link.reply(said, "propose", {"price": price, "seconds": 60.0, "success_bps": 5000})


async def measure(agents: int) -> tuple[float, float, int]:
    """CPU and wall-clock milliseconds of a call, and messages."""
    names = [f"agent-{number}" for number in range(1, agents + 1)]
    keys = {name: Key.generate() for name in ("lead-1", *names)}
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        journal = stack.enter_context(Journal(Path(folder) / "journal.db"))
        hub = await stack.enter_async_context(Hub(journal, rate=1e6, burst=1e6))
        links = {
            name: await stack.enter_async_context(open_link(hub.url, hub.admit(name, key.address), name, key))
            for name, key in keys.items()
        }
        bidding = [asyncio.create_task(bid(links[name], 100 + number)) for number, name in enumerate(names)]
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(CALLS):
            award = await call_for_proposals(links["lead-1"], names, {"task": "one"}, seconds=10, budget=1000)
            assert award is not None
            assert award.agent == "agent-1"
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        for each in bidding:
            each.cancel()
        return cpu / CALLS * 1000, wall / CALLS * 1000, journal.head // CALLS


def main() -> None:
    """Print the table."""
    print("| agents asked | messages | CPU of a call | time |")
    print("|---|---|---|---|")
    for agents in CREWS:
        cpu, wall, messages = asyncio.run(measure(agents))
        print(f"| {agents} | {messages} | {cpu:.1f} ms | {wall:.1f} ms |")


if __name__ == "__main__":
    main()
