"""Files of a run: taken in from the person's folder, worked on in copies, merged by claim.

The folder `work` shows what is merged; nothing is lost when it is deleted.
"""

from __future__ import annotations

import json
import logging
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tercet.errors import WorkspaceError
from tercet.swarm.patterns import claimed
from tercet.swarm.store import (
    MAX_FILE_BYTES,
    MAX_FILES,
    MAX_PATH_BYTES,
    MAX_TOTAL_BYTES,
    FileMark,
    Files,
    Store,
    plain_files,
    read_files,
    walk,
    write_whole,
)

__all__ = ["Change", "Intake", "Workspace", "changes", "mark_of"]

log = logging.getLogger(__name__)

_SECRETS = (
    r"\.env(\..*)?|.*\.(pem|key|p12|pfx|jks|keystore|kdbx|tfstate|ovpn)|id_(rsa|dsa|ecdsa|ed25519).*|\.netrc|\.npmrc"
    r"|\.pypirc|\.htpasswd|\.git-credentials"
)


@dataclass(frozen=True, slots=True)
class Change:
    """What a task did to a file."""

    path: str
    before: FileMark | None
    after: FileMark | None
    """None where it was deleted."""


@dataclass(frozen=True, slots=True)
class Intake:
    """What was taken in."""

    files: Files
    left_out: Sequence[tuple[str, str]]
    """(path, why) of what was not."""


class Workspace:
    """The files of one run, in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(folder / "blobs")
        self.original: Files = {}
        """As the person gave them."""
        self.files: Files = {}
        """With everything that was merged."""

    def take_in(self, directory: Path | None) -> Intake:
        """Copy the person's folder in, and remember it as the original.

        Raises:
            WorkspaceError: it is no folder, or holds too much.

        """
        files: dict[str, FileMark] = {}
        left_out: list[tuple[str, str]] = []
        total, named = 0, 0
        if directory is not None and not directory.is_dir():
            raise WorkspaceError(f"{directory} is no folder. Name one with --dir.")
        for path, place, size in walk(directory, left_out) if directory is not None else ():
            why = _unwanted(path, size)
            if why:
                left_out.append((path, why))
                continue
            total += size
            named += len(os.fsencode(path))
            if len(files) >= MAX_FILES or total > MAX_TOTAL_BYTES or named > MAX_PATH_BYTES:
                raise WorkspaceError(
                    f"{directory} holds more than {MAX_FILES} files, {MAX_TOTAL_BYTES >> 20} MiB, or {MAX_PATH_BYTES >> 10}"
                    " KiB of their names. Give a smaller folder with --dir: the one the goal is about."
                )
            files[path] = self.store.put(place.read_bytes(), program=bool(place.stat().st_mode & stat.S_IXUSR))
        self.original = self.files = files
        write_whole(self.folder / "original.json", json.dumps(plain_files(files)).encode(), 0o600)
        self.show()
        return Intake(files, left_out)

    def recall(self, merged: Iterable[Mapping[str, object]]) -> None:
        """Come back to where a run was: the original, and what was merged since, the oldest first."""
        try:
            raw = json.loads((self.folder / "original.json").read_bytes())
        except (OSError, ValueError) as error:
            raise WorkspaceError(f"The run in {self.folder} has lost its original files. Start it again.") from error
        self.original = read_files(raw)
        files = dict(self.original)
        for artefact in merged:
            _put(files, str(artefact["path"]), mark_of(artefact))
        self.files = files
        self.show()

    def inputs(self, patterns: Sequence[str], outputs: Sequence[str]) -> Files:
        """What a task sees: what it asked for, and what it may change; everything when it asked for nothing."""
        if not patterns:
            return dict(self.files)
        return {path: mark for path, mark in self.files.items() if claimed(path, (*patterns, *outputs))}

    def merge(self, changed: Sequence[Change]) -> None:
        """Take a task's changes over. They were checked: see `refusals`."""
        files = dict(self.files)
        for change in changed:
            _put(files, change.path, change.after)
        self.files = files
        self._show_merged(changed)

    def refusals(self, changed: Sequence[Change], outputs: Sequence[str]) -> list[str]:
        """Why changes cannot be merged: outside the claim, or made to a file that has changed since."""
        faults = [
            f"{change.path!r} is outside its claim ({', '.join(outputs) or 'it may write nothing'})"
            for change in changed
            if not claimed(change.path, outputs)
        ]
        faults += _in_the_way(self.files, changed)
        return faults or [
            f"{change.path!r} was changed by another task meanwhile"
            for change in changed
            if self.files.get(change.path) != change.before
        ]

    def show(self) -> None:
        """Lay `work` out as it should be."""
        self.store.lay_out(self.files, self.folder / "work")

    def _show_merged(self, changed: Sequence[Change]) -> None:
        """Bring `work` up to date, all of it anew where a file takes a folder's place."""
        try:
            try:
                for change in changed:
                    _place(self.folder / "work", change, self.store)
            except OSError:
                self.show()
        except (OSError, WorkspaceError) as error:  # it only shows: what is merged is written down, and stays merged
            log.warning("swarm.work.stale folder=%s why=%r", self.folder, str(error))

    def made(self) -> list[Change]:
        """Everything that differs from the original."""
        return changes(self.original, self.files)


def changes(before: Files, after: Files) -> list[Change]:
    """What differs, by path."""
    return [
        Change(path, before.get(path), after.get(path))
        for path in sorted({*before, *after})
        if before.get(path) != after.get(path)
    ]


def mark_of(artefact: Mapping[str, object]) -> FileMark | None:
    """The content that an artefact of an event names."""
    name = str(artefact.get("sha256", ""))
    if not name:
        return None
    size = artefact.get("bytes", 0)
    assert isinstance(size, int)
    return FileMark(name, size, bool(artefact.get("program", False)))


def _unwanted(path: str, size: int) -> str:
    name = PurePosixPath(path).name
    if not path.isprintable() or "\\" in path:
        return "its name has characters that a plan cannot write"
    if re.fullmatch(_SECRETS, name, re.IGNORECASE):
        return "it looks like a secret"
    return f"it is larger than {MAX_FILE_BYTES >> 20} MiB" if size > MAX_FILE_BYTES else ""


def _put(files: dict[str, FileMark], path: str, mark: FileMark | None) -> None:
    if mark is None:
        files.pop(path, None)
    else:
        files[path] = mark


def _place(folder: Path, change: Change, store: Store) -> None:
    place = folder / change.path
    if change.after is None:
        place.unlink(missing_ok=True)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    write_whole(place, store.get(change.after), 0o755 if change.after.program else 0o644, sync=False)


def _in_the_way(files: Files, changed: Sequence[Change]) -> list[str]:
    """A file of one task where another has a folder: no folder could hold both, now or after a resume."""
    after = dict(files)
    for change in changed:
        _put(after, change.path, change.after)
    folders = {str(parent) for path in after for parent in PurePosixPath(path).parents}
    return [f"{path!r} would be a file and a folder at once" for path in sorted(folders & after.keys())]
