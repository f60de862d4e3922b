"""What a run may use, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["Limits", "Outcome", "Stopped"]

Stopped: TypeAlias = Literal["", "time", "output", "memory", "disk"]


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one run may use, everything that it starts included."""

    cpu_seconds: int = 10
    wall_seconds: float = 20.0
    memory_bytes: int = 512 << 20
    """Of all processes together, and the address space of each one."""
    processes: int = 32
    """Processes and threads at once; about three are the sandbox's own."""
    file_bytes: int = 16 << 20
    """Of one file."""
    output_bytes: int = 1 << 20
    """Of stdout, and again of stderr."""
    open_files: int = 64
    disk_bytes: int = 64 << 20
    """Of all files in the work folder, and again in /tmp. They live in memory."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    returncode: int | None
    """None when it was stopped; above 128 when a signal ended it."""
    stdout: bytes
    stderr: bytes
    seconds: float
    cpu_seconds: float
    stopped: Stopped
    """Which limit ended the run, or empty when it ended by itself. A stopped run changes nothing in the folder."""
    truncated: bool
    """Output is missing at the end of `stdout` or `stderr`."""
    left_out: int = 0
    """What the run left in its folder and was not brought back: links, devices, and the like."""

    @property
    def ok(self) -> bool:
        """It ended by itself with 0."""
        return self.returncode == 0 and not self.stopped
