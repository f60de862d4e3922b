"""A run with an inbox, as its own process: a journal, a desk with a scripted model, a control socket, agents that ask.

Lines of JSON on stdin are asks; each answer, and every count of the model's calls, is a line on stdout.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from tercet.errors import TercetError
from tercet.swarm.control import serve_control
from tercet.swarm.gateway import Call, Desk, ScriptedUpstream
from tercet.swarm.inbox import Inbox, build_card, build_verbs
from tercet.swarm.journal import Journal
from tercet.swarm.steering import Steering


def tell(**body: Any) -> None:
    """One line."""
    print(json.dumps(body), flush=True)


async def ask(inbox: Inbox, number: int, wanted: dict[str, Any]) -> None:
    """One ask, and its answer."""
    given = {
        "action": f"Fetch page {number}", "kind": "network", "agent": f"run/fixers/fixer-{number}", "tool": "fetch",
        "call": {"page": number}, "loss": 100_000, "reversible": True, "deadline": inbox.clock.now() + 3600,
    }  # fmt: skip
    answer = await inbox.ask(build_card(**{**given, **wanted}))
    tell(ask=number, choice=answer.choice, by=answer.by, **({"words": answer.words} if answer.words else {}))


async def think(desk: Desk, number: int) -> None:
    """An agent that thinks without end."""
    for step in range(1_000_000):
        node = f"run/crew-{number % 7}/agent-{number}"
        try:
            await desk.ask(Call(agent=node, step=str(step), messages=[{"role": "user", "content": "go"}]))
        except TercetError:
            return


async def main(folder: Path, agents: int) -> None:
    """Until stdin ends."""
    sent = 0

    async def answer(_: Call) -> str:
        nonlocal sent
        sent += 1
        await asyncio.sleep(0.5)
        return "yes"

    with Journal(folder / "journal.db") as journal:
        async with Desk(journal, ScriptedUpstream(answer), slots=100) as desk:
            inbox = Inbox(journal, canary_every=0)
            steering = Steering(desk, journal)
            await journal.append("run.started", {"goal": "g", "budget": 5_000_000})
            async with serve_control(folder, {**steering.handlers(), **build_verbs(inbox)}):
                tasks = [asyncio.create_task(think(desk, number)) for number in range(agents)]
                tell(ready=True)
                number = 0
                while line := await asyncio.to_thread(sys.stdin.readline):
                    wanted = json.loads(line)
                    if wanted == "count":
                        tell(sent=sent)
                        continue
                    tasks.append(asyncio.create_task(ask(inbox, number, wanted)))
                    number += 1
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            inbox.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
