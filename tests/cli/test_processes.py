"""Children: awaited, watched, stopped, never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tercet.cli.processes import Child, ChildDiedError, Crew, started_at, stop_recorded
from tercet.errors import UnreachableError


def environment(folder: Path) -> dict[str, str]:
    """A home of its own."""
    return {**os.environ, "TERCET_HOME": str(folder / "home")}


async def start_chain(crew: Crew, folder: Path) -> Child:
    """A chain that serves."""
    child = crew.start("chain", ["chain", "start", "--port", "0"], environment(folder))
    await child.wait_ready(60)
    return child


async def test_a_child_is_ready_when_it_says_so_and_stops_when_told(tmp_path: Path) -> None:
    """Its `ready` line is read, SIGTERM ends it with 0."""
    crew = Crew(tmp_path)
    child = await start_chain(crew, tmp_path)
    assert child.ready["role"] == "chain"
    await crew.stop_all()
    assert child.process.returncode == 0
    crew.check()


async def test_a_child_that_dies_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    """The error names the process, the signal or code, and shows the log's tail."""
    crew = Crew(tmp_path)
    child = crew.start("chain", ["chain", "start", "--port", "no-number"], environment(tmp_path))
    with pytest.raises(ChildDiedError, match=r"(?s)chain process exited with 2.*no-number"):
        await child.wait_ready(60)


async def test_a_killed_child_is_unexpected_unless_we_did_it(tmp_path: Path) -> None:
    """SIGKILL from outside raises, our own does not."""
    crew = Crew(tmp_path)
    child = await start_chain(crew, tmp_path)
    os.kill(child.process.pid, signal.SIGKILL)
    await child.wait_end(10)
    with pytest.raises(ChildDiedError, match="SIGKILL"):
        crew.check()
    child.kill()
    crew.check()


async def test_a_child_that_is_never_ready_is_given_up(tmp_path: Path) -> None:
    """After the patience, with the log's tail."""
    crew = Crew(tmp_path)
    child = crew.start("chain", ["chain", "start", "--port", "0"], environment(tmp_path))
    try:
        with pytest.raises(UnreachableError, match="was not ready"):
            await child.wait_ready(0.01)
    finally:
        crew.kill_all()


async def test_what_was_left_running_can_be_stopped_by_its_folder(tmp_path: Path) -> None:
    """`--keep` writes down who runs; another process ends them, once."""
    crew = Crew(tmp_path, survives=True)
    child = await start_chain(crew, tmp_path)
    reaped = asyncio.create_task(child.wait_end(30))
    assert await stop_recorded(tmp_path) == ["chain"]
    assert await reaped == 0
    assert await stop_recorded(tmp_path) == []


async def test_a_reused_pid_is_not_killed(tmp_path: Path) -> None:
    """A record whose process is another one now is passed over."""
    (tmp_path / "processes.json").write_text(f'[{{"name": "old", "pid": {os.getpid()}, "started": "1"}}]')
    assert started_at(os.getpid()) not in {"", "1"}
    assert await stop_recorded(tmp_path) == []
