"""A run whose process dies with `kill -9` right after its Nth event: `killed_run.py FOLDER MINE CALLS N`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.swarm.small_goals import CREDIT, Yes, say_yes

from tercet.swarm.gateway import Call, ScriptedUpstream
from tercet.swarm.journal import Journal
from tercet.swarm.kernel import Kernel, RunConfig, resume
from tercet.swarm.plan import Plan

MEND = {
    "before": [
        {
            "id": "half",
            "title": "Write two.txt",
            "role": "writer",
            "needs": [],
            "outputs": ["two.txt"],
            "done": {"command": ["test", "-s", "two.txt"]},
        }
    ],
    "last": {"id": "rest", "title": "Write more.txt", "role": "writer", "outputs": ["more.txt"]},
}
"""A writer writes one file: in place of a task that wants two."""


async def main(folder: Path, mine: Path, calls: Path, last: int) -> str:
    """Run or resume; how it ended."""

    def answer(call: Call) -> Mapping[str, Any] | str:
        with calls.open("a") as log:
            log.write(json.dumps([call.task, call.step, call.digest]) + "\n")
        return MEND if call.agent == "run" else say_yes(call)

    class Noted(Yes):
        async def approve(self, plan: Plan, by: str, config: RunConfig, *, again: bool) -> str:
            with calls.with_suffix(".approved").open("a") as log:
                log.write(f"{by}\n")
            return await super().approve(plan, by, config, again=again)

    written = 0
    append, note = Journal.append, Journal.note

    def count() -> None:
        nonlocal written
        written += 1
        if written == last:
            os.kill(os.getpid(), signal.SIGKILL)

    async def counted_append(self: Journal, *args: Any, **more: Any) -> Any:
        event = await append(self, *args, **more)
        count()
        return event

    def counted_note(self: Journal, *args: Any, **more: Any) -> Any:
        event = note(self, *args, **more)
        count()
        return event

    Journal.append = counted_append  # type: ignore[method-assign]
    Journal.note = counted_note  # type: ignore[method-assign]
    upstream = ScriptedUpstream(answer)
    begun = (folder / "journal.db").exists() and (folder / "original.json").exists()
    if begun:
        try:
            return (await resume(folder, lambda _config: upstream, Noted())).status
        except Exception as error:  # noqa: BLE001 - told to the test
            if "before it had begun" not in str(error):
                return repr(error)
    config = RunConfig("Repair it and write the changelog", CREDIT, dir=str(mine), plan=str(mine.parent / "plan.json"))
    return (await Kernel(folder, config, upstream, Noted()).run()).status


print(asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))))
