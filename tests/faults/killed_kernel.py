"""A small scripted run whose kernel is killed with SIGKILL right after every event that it writes, and resumed each time.

One process imports everything and forks each try. Which events it was killed at already is kept in a file, so each one,
told by what it says and not by its number, kills once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tercet.errors import JournalError
from tercet.market import Price
from tercet.swarm.events import Event, read_events
from tercet.swarm.gateway import Call, ScriptedUpstream
from tercet.swarm.kernel import Kernel, RunConfig, resume
from tercet.swarm.plan import Plan
from tercet.swarm.workbench import Made, Workbench

PRICE = 1_000
TASKS = 2
_TRIES = 150


class Maker:
    """Asks the model for a line, twice, and has a program join them."""

    kind: Literal["model"] = "model"

    async def work(self, bench: Workbench) -> Made:
        """Write the task's file."""
        path = bench.task.outputs[0]
        for part in "ab":
            thought = await bench.think([{"role": "user", "content": f"{path} {part}"}])
            bench.write(path, bench.read(path) + thought.text)
        await bench.run(["python3", "-c", f"open({path!r}, 'a').write('run\\n')"])
        return Made("model scripted")


class Yes:
    """A person who agrees."""

    async def approve(self, plan: Plan, by: str, config: RunConfig, *, again: bool) -> str:
        """Agree to a plan."""
        return "person"

    async def accept(self, paths: Sequence[str], directory: Path) -> str:
        """Agree to a delivery."""
        return "person"


def main(folder: Path, *, killing: bool) -> None:
    """Run it to its end, and report how often it was killed."""
    (folder / "mine").mkdir(parents=True)
    (folder / "plan.json").write_text(json.dumps(_plan()))
    signals: list[int] = []
    while (status := _try(folder, killing=killing)) != 0:
        signals.append(status)
        if status != signal.SIGKILL or len(signals) > _TRIES:
            break
    sys.stdout.write(json.dumps({"signals": signals, "last": status}))


def _plan() -> dict[str, object]:
    tasks = [
        {
            "id": f"make-{n}",
            "title": f"Make {n}",
            "role": "maker",
            "needs": [f"make-{n - 1}"] if n else [],
            "inputs": ["*.txt"],
            "outputs": [f"{n}.txt"],
            "done": {"command": ["python3", "-c", f"assert open('{n}.txt').read() == 'a\\nb\\nrun\\n'"]},
            "budget": 100_000_000,
        }
        for n in range(TASKS)
    ]
    return {"goal": "two files", "tasks": tasks}


def _try(folder: Path, *, killing: bool) -> int:
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(_work(folder, killing=killing))
        except BaseException:  # noqa: BLE001 - the child of a fork must not go on as its parent
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)


async def _work(folder: Path, *, killing: bool) -> None:
    run = folder / "run-1"
    if (run / "report.md").is_file():
        return  # it was killed when all was done
    killer = asyncio.create_task(_kill_at_news(folder)) if killing else None
    if _has_begun(run / "journal.db"):
        await resume(run, lambda _: _upstream(folder), Yes(), roles={"maker": Maker()})
    else:
        config = RunConfig(
            "two files", 10**9, dir=str(folder / "mine"), agents=2, gateway="scripted", plan=str(folder / "plan.json")
        )
        await Kernel(run, config, _upstream(folder), Yes(), roles={"maker": Maker()}).run()
    if killer is not None:
        killer.cancel()


def _has_begun(journal: Path) -> bool:
    return journal.is_file() and any(read_events(journal, kinds=("run.started",)))


def _upstream(folder: Path) -> ScriptedUpstream:
    def answer(call: Call) -> str:
        question = str(call.messages[-1]["content"])
        _write(folder / "asked", question)
        return f"{question[-1]}\n"

    return ScriptedUpstream(answer, price=Price(per_request=PRICE))


async def _kill_at_news(folder: Path) -> None:
    """Look after every turn of the loop, so that little can happen between an event and the kill."""
    watch = _Watch(folder)
    while True:
        await asyncio.sleep(0.001)
        watch.look()


class _Watch:
    def __init__(self, folder: Path) -> None:
        self.journal, self.mine, self.killed = folder / "run-1" / "journal.db", folder / "mine", folder / "killed"
        self.known = set(self.killed.read_text().splitlines()) if self.killed.exists() else set()
        self.seen = 0

    def look(self) -> None:
        if any(self.mine.iterdir()):
            self.kill_for("delivering")
        if not self.journal.is_file():
            return
        with contextlib.suppress(JournalError):  # it is being made
            for event in read_events(self.journal, self.seen):
                self.seen = event.seq
                self.kill_for(_name(event))

    def kill_for(self, name: str) -> None:
        if name not in self.known:
            _write(self.killed, name)
            os.kill(os.getpid(), signal.SIGKILL)


def _name(event: Event) -> str:
    says = {key: event.body.get(key) for key in ("state", "agent", "attempt", "step", "node", "path", "status")}
    return json.dumps([event.kind, event.task, event.scope, event.number, says])


def _write(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(f"{line}\n")
        os.fsync(file.fileno())


if __name__ == "__main__":
    main(Path(sys.argv[1]), killing=sys.argv[2] == "killing")
