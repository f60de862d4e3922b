"""What is left when the judge itself is killed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

JUDGE = """
import asyncio, pathlib, sys
from tercet.subnets.kit import Limits, Sandbox

async def main():
    sandbox = Sandbox.find()
    await sandbox.run(["sh", "-c", "sleep 61.25 & sleep 61.25"], pathlib.Path(sys.argv[1]), limits=Limits(wall_seconds=70))

asyncio.run(main())
"""


def sleepers() -> list[str]:
    """Processes of this machine that sleep for as long as nobody else would."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes() == b"sleep\x0061.25\x00":
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def eventually(count: int) -> bool:
    """Whether there come to be that many."""
    deadline = time.monotonic() + 20
    while len(sleepers()) != count and time.monotonic() < deadline:
        time.sleep(0.05)
    return len(sleepers()) == count


@pytest.mark.slow
def test_a_killed_judge_takes_its_work_along(tmp_path: Path) -> None:
    """SIGKILL leaves no time to clean up; the kernel does it."""
    judge = subprocess.Popen([sys.executable, "-c", JUDGE, str(tmp_path)])
    try:
        assert eventually(2)
    finally:
        judge.kill()
        judge.wait()
    assert eventually(0)
