"""Children: one process for each role, its output in a file, none of them left behind.

Knows how to start, await, watch and stop processes. Does not know what they do.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tercet.errors import TercetError, UnreachableError

__all__ = ["Child", "ChildDiedError", "Crew", "behave_as_child", "stop_recorded"]

POLL_SECONDS = 0.05
TAIL_LINES = 15
PARENT_VARIABLE = "TERCET_PARENT"
NICE_VARIABLE = "TERCET_NICE"
RECORD = "processes.json"
_PR_SET_PDEATHSIG = 1


class ChildDiedError(TercetError):
    """A process of ours ended when it should have stayed."""


def behave_as_child() -> None:
    """In a child of a `Crew`: step back behind others if so told, and stop when the parent is gone (Linux only)."""
    os.nice(int(os.environ.pop(NICE_VARIABLE, "0")))
    parent = os.environ.pop(PARENT_VARIABLE, "")
    if not parent or sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != int(parent):  # it went before we asked
        os.kill(os.getpid(), signal.SIGTERM)


@dataclass(slots=True)
class Child:
    """One running `tercet` command."""

    name: str
    process: subprocess.Popen[bytes]
    folder: Path
    """Holds NAME.log (stderr) and NAME.out (stdout)."""
    ready: Mapping[str, Any] = field(default_factory=dict)
    """Its `ready` line, once there is one."""
    expected_to_end: bool = False

    @property
    def log(self) -> Path:
        """What it said on stderr."""
        return self.folder / f"{self.name}.log"

    @property
    def out(self) -> Path:
        """What it said on stdout."""
        return self.folder / f"{self.name}.out"

    def tail(self, lines: int = TAIL_LINES) -> str:
        """The last lines of its log, indented."""
        with contextlib.suppress(OSError):
            return "\n".join(f"    {line}" for line in self.log.read_text(errors="replace").splitlines()[-lines:])
        return "    (no log)"

    def check(self) -> None:
        """Raise if it ended and nobody wanted it to."""
        code = self.process.poll()
        if code is None or self.expected_to_end:
            return
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        raise ChildDiedError(f"The {self.name} process {how}. The end of {self.log}:\n{self.tail()}")

    def _find_ready(self) -> Mapping[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            for line in self.out.read_text().splitlines():
                found = json.loads(line) if line.startswith("{") else None
                if isinstance(found, dict) and found.get("ready"):
                    return found
        return {}

    async def wait_ready(self, seconds: float) -> Mapping[str, Any]:
        """Wait for its `ready` line."""
        deadline = time.monotonic() + seconds
        while not self.ready:
            self.check()
            self.ready = self._find_ready()
            if not self.ready and time.monotonic() > deadline:
                raise UnreachableError(
                    f"The {self.name} process was not ready after {seconds:.0f} s. The end of {self.log}:\n{self.tail()}"
                )
            await asyncio.sleep(POLL_SECONDS)
        return self.ready

    async def wait_end(self, seconds: float) -> int | None:
        """Its exit code, or None if it still runs after `seconds`."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline:  # noqa: ASYNC110  # a process is no event
            await asyncio.sleep(POLL_SECONDS)
        return self.process.returncode

    async def stop(self, seconds: float) -> None:
        """Ask it to finish its books and go; after `seconds`, do not ask."""
        self.expected_to_end = True
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            if await self.wait_end(seconds) is None:
                self.kill()
        self.process.wait()

    def kill(self) -> None:
        """End it at once, with no chance to say goodbye."""
        self.expected_to_end = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Crew:
    """All children of one command. The first one started is the one that all others need."""

    def __init__(self, folder: Path, *, survives: bool = False) -> None:
        self.folder = folder
        self.children: dict[str, Child] = {}
        self.survives = survives
        """Whether the children stay when this process ends (`--keep`)."""
        folder.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, arguments: Sequence[str], environment: Mapping[str, str], *, nice: int = 0) -> Child:
        """Start `tercet ARGUMENTS` in a process group of its own, so that Ctrl-C reaches only us.

        Args:
            name: of the child; its output goes to files of this name.
            arguments: of the command line.
            environment: all of it.
            nice: how far it steps back behind others when the processor is short, 0 to 19.

        """
        settings = {**environment, "PYTHONUNBUFFERED": "1", NICE_VARIABLE: str(nice)}
        settings[PARENT_VARIABLE] = "" if self.survives else str(os.getpid())
        with (self.folder / f"{name}.out").open("wb") as out, (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tercet.cli", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                env=settings,
                start_new_session=True,
            )
        child = Child(name, process, self.folder)
        self.children[name] = child
        self._record()
        return child

    def _record(self) -> None:
        """Write down who runs, for `stop_recorded` in another process."""
        entries = [
            {"name": child.name, "pid": child.process.pid, "started": started_at(child.process.pid)}
            for child in self.children.values()
            if child.process.poll() is None
        ]
        (self.folder / RECORD).write_text(json.dumps(entries, indent=2) + "\n")

    def check(self) -> None:
        """Raise if any child ended unasked."""
        for child in self.children.values():
            child.check()

    async def stop(self, *names: str, seconds: float = 15) -> None:
        """Stop these children together."""
        await asyncio.gather(*(self.children[name].stop(seconds) for name in names if name in self.children))
        self._record()

    async def stop_all(self, seconds: float = 15) -> None:
        """Stop all children but the first together, then the first: the chain outlives those who still settle on it."""
        first, *others = self.children or [""]
        await self.stop(*others, seconds=seconds)
        await self.stop(first, seconds=seconds)

    def kill_all(self) -> None:
        """End whatever is left."""
        for child in self.children.values():
            child.kill()


def started_at(pid: int) -> str:
    """When the kernel started `pid`, in its own ticks; empty if it runs no more. Guards against reused pids."""
    with contextlib.suppress(OSError):
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state == "Z" else rest[18]
    return ""


async def stop_recorded(folder: Path, seconds: float = 15) -> list[str]:
    """Stop what a `Crew` left running in `folder`, the last started first; the names of those that ran."""
    try:
        entries = json.loads((folder / RECORD).read_text())
    except FileNotFoundError:
        return []
    stopped = []
    for entry in reversed(entries):
        if not entry["started"] or started_at(entry["pid"]) != entry["started"]:
            continue
        os.kill(entry["pid"], signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while started_at(entry["pid"]) == entry["started"] and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)
        if started_at(entry["pid"]) == entry["started"]:
            os.killpg(entry["pid"], signal.SIGKILL)
        stopped.append(entry["name"])
    (folder / RECORD).write_text("[]\n")
    return stopped
