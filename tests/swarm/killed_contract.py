"""A run whose process dies with `kill -9` once something is in its journal: `killed_contract.py FOLDER PLAN KIND N`.

KIND is of an event, or a message's performative; N counts them. `none` lets it live.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests.swarm.small_goals import CREDIT, Yes
from tests.swarm.test_contracting import TwoModels

from tercet.swarm.journal import Journal
from tercet.swarm.kernel import Kernel, RunConfig, resume


async def main(folder: Path, plan: Path, kind: str, last: int) -> str:
    """Run or resume; how it ended."""
    seen = 0
    append = Journal.append

    async def watched(self: Journal, *args: Any, **more: Any) -> Any:
        nonlocal seen
        event = await append(self, *args, **more)
        said = event.body["envelope"]["performative"] if event.kind == "message" else ""
        seen += kind in {event.kind, said}
        if seen == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return event

    Journal.append = watched  # type: ignore[method-assign]  # a test's process, which dies by it
    if (folder / "journal.db").exists():
        return (await resume(folder, lambda _config: TwoModels(), Yes())).status
    config = RunConfig("words", CREDIT, plan=str(plan), gateway="scripted", memory="off")
    return (await Kernel(folder, config, TwoModels(), Yes()).run()).status


if __name__ == "__main__":
    print(asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))))
