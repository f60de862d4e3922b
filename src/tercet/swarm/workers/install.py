"""Environments for agents: made by venv and pip, with the versions that the table names."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from tercet.errors import AgentMissingError
from tercet.swarm.workers.specialists import Specialist

__all__ = ["find_python", "install", "install_specialist"]

_OLDEST = (3, 11)
_NEWEST = (3, 14)
_UMASK = 0o022
"""The sandbox's uid reads the environment where it lies; files closed to it would have to be copied each time."""


def find_python(below: tuple[int, int] | None, name: str) -> str:
    """A Python that an agent runs on: this one, or another on the PATH.

    Raises:
        AgentMissingError: there is none.

    """
    if below is None or sys.version_info[:2] < below:
        return sys.executable
    for minor in range(below[1] - 1, _OLDEST[1] - 1, -1):
        if found := shutil.which(f"python3.{minor}"):
            return found
    raise AgentMissingError(
        f"{name} needs a Python below {below[0]}.{below[1]}, and there is none on the PATH. Install python{below[0]}.{below[1] - 1},"
        " then add it again."
    )


async def install_specialist(specialist: Specialist, folder: Path, say: Callable[[str], None]) -> None:
    """Make the environment of one of the table's agents at `folder`; see `install`."""
    await install(specialist.needs, folder, say, python=find_python(specialist.below, specialist.name))


async def install(needs: Sequence[str], folder: Path, say: Callable[[str], None], *, python: str = "") -> None:
    """Make a virtual environment and put packages into it; whatever was there before goes.

    Args:
        needs: what pip is told.
        folder: of the environment.
        say: hears what is being done, a line at a time.
        python: the interpreter to make it with; this one if empty.

    Raises:
        AgentMissingError: it could not be made; nothing is left of it.

    """
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder.parent, exist_ok=True, mode=0o700)  # noqa: PTH103 - a moment
    pip = [str(folder / "bin/python"), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    try:
        await _run([python or sys.executable, "-m", "venv", str(folder)], say)
        await _run([*pip, "--progress-bar", "off", *needs], say)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


async def _run(command: Sequence[str], say: Callable[[str], None]) -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={name: value for name, value in os.environ.items() if name != "PYTHONHOME"},
        umask=_UMASK,
        start_new_session=True,
    )
    assert process.stdout is not None
    last: deque[str] = deque(maxlen=5)
    try:
        async for raw in process.stdout:
            line = raw.decode(errors="replace").rstrip()
            last.append(line)
            if told := re.match(r"\s*(Collecting \S+|Downloading \S+ \(.*\)|Installing collected packages)", line):
                say(told[1])
        code = await process.wait()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            await process.wait()
    if code:
        raise AgentMissingError(
            f"The environment could not be made: {' / '.join(last)[-600:]}. See that the package index can be reached"
            " and the disk has room, then add it again."
        )
