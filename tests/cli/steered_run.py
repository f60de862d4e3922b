"""A run that thinks without end, to be steered: agents of ours and foreign ones. Its script plays the model.

Usage: steered_run.py FOLDER AGENTS FOREIGN    says `ready`, and ends when its stdin does.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import aiohttp

from tercet.errors import TercetError
from tercet.market import Price
from tercet.swarm.control import serve_control
from tercet.swarm.gateway import Budget, Call, Desk, ScriptedUpstream, new_token, serve_face
from tercet.swarm.journal import Journal
from tercet.swarm.steering import Steering

CREWS = ("repair", "docs", "tests", "data", "build", "review", "ship")
GOAL = "fix \x1b[31mall of it"


async def think(_: Call) -> str:
    await asyncio.sleep(0.25)
    return "more"


async def work(desk: Desk, node: str) -> None:
    while True:
        try:
            await desk.ask(Call(agent=node, messages=[{"role": "user", "content": "go on"}]))
        except TercetError:
            return


async def work_elsewhere(url: str, token: str) -> None:
    """A foreign agent: it knows an address and a token, and never gives up."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        body = {"messages": [{"role": "user", "content": "go on"}]}
        while True:
            async with session.post(f"{url}/chat/completions", json=body) as response:
                await response.read()
                await asyncio.sleep(0 if response.status == 200 else 0.05)


async def begin(journal: Journal, nodes: list[str]) -> None:
    await journal.append("run.started", {"goal": GOAL, "model": "scripted", "budget": 5_000_000})
    tasks = [{"id": f"task-{crew}", "crew": crew, "title": crew} for crew in CREWS]
    await journal.append("run.planned", {"plan": {"goal": "go on", "tasks": tasks}, "by": "file"})
    for crew in CREWS:
        members = [node.split("/")[2] for node in nodes if node.split("/")[1] == crew]
        await journal.append("crew.formed", {"crew": crew, "lead": members[0] if members else "", "members": members})
    for node in nodes:
        _, crew, agent = node.split("/")
        await journal.append("agent.started", {"agent": agent, "role": "coder", "kind": "model", "crew": crew})
        await journal.append("agent.state", {"agent": agent, "state": "working"}, task=f"task-{crew}")
    await journal.append("run.state", {"state": "running", "why": ""})


async def main(folder: Path, agents: int, foreign: int) -> None:
    nodes = [f"run/{CREWS[number % len(CREWS)]}/coder-{number}" for number in range(agents + foreign)]
    tokens = {new_token(): node for node in nodes[agents:]}
    with Journal(folder / "journal.db") as journal:
        async with Desk(journal, ScriptedUpstream(think, price=Price(0, 1000, 1000)), slots=32) as desk:
            steering = Steering(desk, journal)
            if not desk.budgets.spent("run").tokens:
                await begin(journal, nodes)
            desk.budgets.open("run", Budget(credit=5_000_000))
            async with serve_control(folder, steering.handlers()), serve_face(desk, tokens) as url:
                working = [asyncio.create_task(work(desk, node)) for node in nodes[:agents]]
                working += [asyncio.create_task(work_elsewhere(url, token)) for token in tokens]
                await journal.flush()  # a test may kill this process at once, and then reads what it had begun
                print("ready", flush=True)
                await asyncio.to_thread(sys.stdin.read)
                for task in working:
                    task.cancel()
                await asyncio.gather(*working, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
