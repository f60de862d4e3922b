"""An agent run that is killed with SIGKILL in the middle of each of its operations, and resumed each time.

One process imports everything and forks each try, so that eight real kills take a second.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from tercet.swarm.durable import JournalDurability, payment_key, run_scope
from tercet.swarm.journal import Journal

TURNS = 4


def main(folder: Path) -> None:
    """Kill it at each operation in turn, then let it finish, and report what the log says."""
    run = folder / "run-1"
    run.mkdir()
    signals, number = [], 0
    while (status := _try(run, number)) != 0:
        signals.append(status)
        number += 1
    lines = [line.split("|") for line in (folder / "log").read_text().splitlines()]
    keys: dict[str, set[str]] = {}
    for word, name, key in lines:
        if word == "start":
            keys.setdefault(name, set()).add(key)
    report = {
        "signals": signals,
        "operations": number,
        "started": [name for word, name, _ in lines if word == "start"],
        "finished": [name for word, name, _ in lines if word == "end"],
        "keys_differ": any(len(found) != 1 for found in keys.values()),
        "output": (folder / "output").read_text(),
    }
    sys.stdout.write(json.dumps(report))


def _try(run: Path, die_in: int) -> int:
    child = os.fork()
    if child == 0:
        asyncio.run(_work(run, die_in))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)


async def _work(run: Path, die_in: int) -> None:
    log = _logger(run.parent / "log")
    done = [die_in]

    def operation(name: str) -> None:
        log("start", name)
        recorded = sum(1 for _ in journal.events())
        if recorded == done[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        log("end", name)

    def think(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        turn = sum(isinstance(message, ModelResponse) for message in messages)
        operation(f"model {turn}")
        return ModelResponse(parts=[ToolCallPart("work", {"n": turn})] if turn < TURNS else [TextPart("done")])

    agent = Agent(FunctionModel(think), name="coder", capabilities=[JournalDurability[None]()])

    @agent.tool_plain
    async def work(n: int) -> int:
        operation(f"tool {n}")
        return n

    with Journal(run / "journal.db") as journal:
        async with run_scope(journal, "fix/1"):
            result = await agent.run("go")
    (run.parent / "output").write_text(result.output)


def _logger(path: Path) -> Callable[[str, str], None]:
    def log(word: str, name: str) -> None:
        with path.open("a") as file:
            file.write(f"{word}|{name}|{payment_key(name)}\n")
            os.fsync(file.fileno())

    return log


if __name__ == "__main__":
    main(Path(sys.argv[1]))
