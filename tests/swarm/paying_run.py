"""A run whose one agent pays a shop: `paying_run.py RUN URL DEPLOYMENT WALLET SHOP` kills it around the payment, four times.

One process imports everything and forks each life; the person's yes is said in whichever life asks for it.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests.swarm.small_goals import CREDIT, Yes, seen

import tercet.swarm.durable  # slow to load, so before the forks
import tercet.swarm.model
import tercet.swarm.toolset  # noqa: F401 - the assistant's
from tercet.chain import Deployment, Key, Rpc
from tercet.swarm.control import request
from tercet.swarm.gateway import Call, Completion, ScriptedUpstream
from tercet.swarm.journal import Journal
from tercet.swarm.kernel import Kernel, RunConfig, resume
from tercet.swarm.purse import ChainPurse, open_purse

PAID = 5 * CREDIT
__all__ = ["CREDIT", "PAID", "kernel_of"]


def play(shop: str, call: Call) -> Completion:
    """Pays, writes down that it did, and ends."""
    turns: list[tuple[str, dict[str, Any]]] = [
        ("pay", {"to": shop, "amount": PAID, "claims": [], "why": "it is due"}),
        ("write_file", {"path": "paid.txt", "text": "5 credit"}),
    ]
    done = sum(message["role"] == "tool" for message in call.messages)
    if done == len(turns):
        return Completion(text="Paid.")
    name, arguments = turns[done]
    function = {"name": name, "arguments": json.dumps(arguments)}
    return Completion(tool_calls=({"id": f"t{done}", "type": "function", "function": function},), finish="tool_calls")


def kernel_of(run: Path, url: str, deployment: Deployment, wallet: Key, shop: str, seconds: float = 60) -> Kernel:
    """A run with one task, which may pay 6 credit to the shop."""
    task = {
        "id": "settle", "title": "Pay the shop", "role": "assistant", "outputs": ["paid.txt"], "seconds": seconds,
        "done": {"command": ["test", "-s", "paid.txt"]},
        "options": {"money": "6", "payees": [shop], "attempts": 1},
    }  # fmt: skip
    plan = run.parent / "plan.json"
    plan.write_text(json.dumps({"goal": "settle it", "tasks": [task]}))
    purse = functools.partial(open_purse, url, deployment, wallet, 10 * CREDIT)
    upstream = ScriptedUpstream(functools.partial(play, shop))
    return Kernel(run, RunConfig("settle it", CREDIT, plan=str(plan), gateway="scripted"), upstream, Yes(), purse=purse)


def die() -> None:
    """As a power cut."""
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at(life: int) -> None:
    """Before anything is sent, when the node has it, when it is found made, when it is noted; the fifth life goes on."""
    pay, find, send, append = ChainPurse.pay, ChainPurse.find, Rpc.send_raw, Journal.append

    async def killed_pay(self: ChainPurse, agent: str, to: str, amount: int, key: str) -> str:
        if life == 0:
            die()
        return await pay(self, agent, to, amount, key)

    async def killed_find(self: ChainPurse, key: str) -> str | None:
        made = await find(self, key)
        if life == 2 and made:
            die()
        return made

    async def killed_send(self: Rpc, raw: bytes) -> bytes:
        made = await send(self, raw)
        if life == 1:
            die()
        return made

    async def killed_append(self: Journal, kind: str, body: Any, **more: Any) -> Any:
        if life == 3 and kind == "step" and "receipt 0x" in str(body):
            await append(self, "control", {})  # what was noted before is on the disk now
            die()
        return await append(self, kind, body, **more)

    ChainPurse.pay, ChainPurse.find = killed_pay, killed_find  # type: ignore[method-assign]
    Rpc.send_raw, Journal.append = killed_send, killed_append  # type: ignore[method-assign]


async def live(run: Path, url: str, deployment: Deployment, wallet: Key, shop: str) -> str:
    """Begin, or go on; how it ended."""
    answering = asyncio.create_task(say_yes(run))
    purse = functools.partial(open_purse, url, deployment, wallet, 10 * CREDIT)
    if (run / "journal.db").exists():
        upstream = ScriptedUpstream(functools.partial(play, shop))
        outcome = await resume(run, lambda _: upstream, Yes(), open_purse=lambda _: purse)
    else:
        outcome = await kernel_of(run, url, deployment, wallet, shop).run()
    answering.cancel()
    return f"{outcome.status} {outcome.why}".strip()


async def say_yes(run: Path) -> None:
    """To every card, as soon as it is there."""
    said: set[str] = set()
    while True:
        await asyncio.sleep(0.05)
        events = seen(run, "ask.raised", "ask.answered")
        said |= {event.body["card"] for event in events if event.kind == "ask.answered"}
        for event in events:
            if event.kind == "ask.raised" and (name := event.body["card"]["id"]) not in said:
                await request(run, "answer", card=name, choice="yes", dwell=60)
                said.add(name)


def main(run: Path, url: str, deployment: Path, wallet: Path, shop: str) -> None:
    """Four lives that end in the middle, and a fifth."""
    known, key = Deployment.load(deployment), Key.from_hex(wallet.read_text())
    signals: list[int] = []
    for life in range(5):
        child = os.fork()
        if child == 0:
            kill_at(life)
            status = asyncio.run(live(run, url, known, key, shop))
            sys.stdout.write(json.dumps({"signals": signals, "status": status}))
            sys.stdout.flush()
            os._exit(0)
        _, ended = os.waitpid(child, 0)
        if not os.WIFSIGNALED(ended):
            break
        signals.append(os.WTERMSIG(ended))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), sys.argv[5])
