"""Control groups, where this machine lets us make some: exact bounds on the memory and processes of a whole run."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Group", "Place", "find_places"]

_MOUNT = Path("/sys/fs/cgroup")
_PREFIX = "tercet-"
_STALE_SECONDS = 60
"""A group of a process that is gone is left alone for this long: in another container its maker may be alive."""
_serial = itertools.count()


@dataclass(frozen=True, slots=True)
class Place:
    """A folder below which groups can be made, and which file of a group holds which bound."""

    folder: Path
    bounds: tuple[tuple[str, str], ...]
    """Pairs of "memory" or "processes", and a file."""
    events: str = ""
    """The file with a line `oom_kill N`, where memory is bounded."""
    optional: frozenset[str] = frozenset({"memory.swap.max", "memory.memsw.limit_in_bytes"})


_FILES = {
    "memory": (("memory", "memory.max"), ("swap", "memory.swap.max")),
    "pids": (("processes", "pids.max"),),
}
_OLD_FILES = {
    "memory": (("memory", "memory.limit_in_bytes"), ("memory", "memory.memsw.limit_in_bytes")),
    "pids": (("processes", "pids.max"),),
}
"""By controller: what is bounded, and the file that says so; the ones after the first are not on every machine."""


def find_places(mount: Path = _MOUNT, own: Path = Path("/proc/self/cgroup")) -> Sequence[Place]:
    """Where groups can be made: tried by making one, since permissions alone do not tell."""
    found = (next(filter(_works, alternatives), None) for alternatives in _candidates(mount, own))
    return [place for place in found if place]


class Group:
    """One run's group, in one place for each hierarchy. The first process joins by writing itself into `joins`."""

    def __init__(self, places: Sequence[Place], *, memory: int, processes: int) -> None:
        self._places = places
        self._folders: list[Path] = []
        wanted = {"memory": memory, "swap": 0, "processes": processes}
        name = f"{_PREFIX}{os.getpid()}-{next(_serial)}"
        try:
            for place in places:
                folder = place.folder / name
                folder.mkdir()
                self._folders.append(folder)
                for kind, file in place.bounds:
                    if file not in place.optional or (folder / file).exists():
                        (folder / file).write_text(str(wanted[kind]))
        except OSError:
            self.remove()
            raise

    @property
    def joins(self) -> list[str]:
        """The files to write a process id into."""
        return [str(folder / "cgroup.procs") for folder in self._folders]

    def ran_out_of_memory(self) -> bool:
        """The kernel ended a process of this group for its memory."""
        for place, folder in zip(self._places, self._folders, strict=False):
            if place.events:
                with contextlib.suppress(OSError):
                    lines = (folder / place.events).read_text().splitlines()
                    if any(line.startswith("oom_kill ") and line != "oom_kill 0" for line in lines):
                        return True
        return False

    def remove(self) -> None:
        """Forget the group; its processes have ended, though the kernel may take a moment to notice."""
        for folder in self._folders:
            for _ in range(50):
                try:
                    folder.rmdir()
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.002)
                else:
                    break
        self._folders = []


def _candidates(mount: Path, own: Path) -> Iterator[Sequence[Place]]:
    """For each hierarchy the places to try in turn: below our own group, and below the first one."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield [_place(folder) for folder in (mount / path.lstrip("/"), mount)]
        for name in controllers.split(","):
            if name in _OLD_FILES:
                events = "memory.oom_control" if name == "memory" else ""
                folders = (mount / controllers / path.lstrip("/"), mount / controllers)
                yield [Place(folder, _OLD_FILES[name], events) for folder in folders]


def _place(folder: Path) -> Place:
    """A place of version 2, with the bounds that its groups are given the files for."""
    try:
        given = (folder / "cgroup.subtree_control").read_text().split()
    except OSError:
        given = []
    bounds = tuple(bound for name in _FILES if name in given for bound in _FILES[name])
    return Place(folder, bounds, "memory.events" if "memory" in given else "")


def _works(place: Place) -> bool:
    """A group can be made here and takes its bounds. Sweeps away what killed processes left, too."""
    for stale in place.folder.glob(f"{_PREFIX}*-*"):
        maker = stale.name.removeprefix(_PREFIX).partition("-")[0]
        with contextlib.suppress(OSError):
            if not Path("/proc", maker).exists() and time.time() - stale.stat().st_mtime > _STALE_SECONDS:
                stale.rmdir()
    if not place.bounds or not place.folder.is_dir():
        return False
    try:
        group = Group([place], memory=1 << 30, processes=64)
    except OSError:
        return False
    group.remove()
    return True
