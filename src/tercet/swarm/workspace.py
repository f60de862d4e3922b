"""Files of a run: taken in from the person's folder, worked on in copies, merged by claim, delivered back.

Every content is kept once under its sha256, so a set of files is a table of paths, and any earlier set can be laid out
again. The folder `work` shows what is merged; nothing is lost when it is deleted. Links are never followed: not on the
way in, not in what a task leaves, not on the way back.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path, PurePosixPath

from tercet.errors import WorkspaceError

__all__ = [
    "MAX_FILES",
    "MAX_FILE_BYTES",
    "MAX_TOTAL_BYTES",
    "Change",
    "Delivery",
    "FileMark",
    "Files",
    "Intake",
    "Store",
    "Workspace",
    "changes",
    "claimed",
    "matches",
]

MAX_FILES = 5_000
MAX_FILE_BYTES = 8 << 20
MAX_TOTAL_BYTES = 48 << 20
"""What the sandbox takes in, with room for what a task adds."""
_MAX_DEPTH = 32
_SKIPPED = frozenset({
    ".git", ".hg", ".svn", ".venv", "venv", "node_modules", "__pycache__", ".tox", ".nox", ".mypy_cache", ".ruff_cache",
    ".pytest_cache", ".idea", ".vscode",
})  # fmt: skip
_SECRETS = (
    r"\.env(\..*)?|.*\.(pem|key|p12|pfx|jks|keystore|kdbx|tfstate|ovpn)|id_(rsa|dsa|ecdsa|ed25519).*|\.netrc|\.npmrc"
    r"|\.pypirc|\.htpasswd|\.git-credentials"
)


@dataclass(frozen=True, slots=True)
class FileMark:
    """One content."""

    sha256: str
    bytes: int
    program: bool = False
    """May be run."""


Files = Mapping[str, FileMark]
"""A set of files: path with `/`, relative, to its content."""


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


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came back to the person's folder."""

    written: Sequence[str] = ()
    beside: Sequence[tuple[str, str]] = ()
    """(path, where its new content is): the person changed the file while the run went on."""
    deleted: Sequence[str] = ()
    kept: Sequence[tuple[str, str]] = field(default_factory=tuple)
    """(path, why) of what was neither written nor deleted."""


class Store:
    """Contents under their sha256."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writing = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def put(self, data: bytes, *, program: bool = False) -> FileMark:
        """Keep a content; on the disk when this returns."""
        name = sha256(data).hexdigest()
        place = self._folder / name[:2] / name
        with self._writing:  # two agents whose files are alike keep them at once
            if not place.exists():
                place.parent.mkdir(exist_ok=True)
                _write(place, data, 0o600)
        return FileMark(name, len(data), program)

    def get(self, mark: FileMark) -> bytes:
        """Read it back. Raises `WorkspaceError` when it is gone or damaged."""
        place = self._folder / mark.sha256[:2] / mark.sha256
        try:
            data = place.read_bytes()
        except OSError as error:
            raise WorkspaceError(f"The run's file {place} is gone: {error.strerror}. Start the goal again.") from error
        if sha256(data).hexdigest() != mark.sha256:
            raise WorkspaceError(f"The run's file {place} was changed by somebody. Start the goal again.")
        return data

    def take(self, folder: Path, skip: Iterable[str] = ()) -> Files:
        """All plain files below a folder that a task worked in.

        Raises:
            WorkspaceError: there are too many, or they are too large.

        """
        skipped, found, total = set(skip), dict[str, FileMark](), 0
        for path, place, size in _walk(folder):
            if path.split("/")[0] in skipped:
                continue
            total += size
            if len(found) >= MAX_FILES or total > MAX_TOTAL_BYTES or size > MAX_FILE_BYTES:
                raise WorkspaceError(
                    f"The task left more than {MAX_FILES} files, {MAX_TOTAL_BYTES >> 20} MiB, or {MAX_FILE_BYTES >> 20}"
                    f" MiB in one file ({path!r} was too much). Nothing of it was merged."
                )
            if not path.isprintable():
                raise WorkspaceError(f"The task left a file named {path!r}. Nothing of it was merged.")
            found[path] = self.put(place.read_bytes(), program=bool(place.stat().st_mode & stat.S_IXUSR))
        return found

    def lay_out(self, files: Files, folder: Path) -> None:
        """Make a folder hold exactly these files."""
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        for path, mark in files.items():
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            _write(place, self.get(mark), 0o755 if mark.program else 0o644, sync=False)


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
        total = 0
        if directory is not None and not directory.is_dir():
            raise WorkspaceError(f"{directory} is no folder. Name one with --dir.")
        for path, place, size in _walk(directory, left_out) if directory is not None else ():
            why = _unwanted(path, size)
            if why:
                left_out.append((path, why))
                continue
            total += size
            if len(files) >= MAX_FILES or total > MAX_TOTAL_BYTES:
                raise WorkspaceError(
                    f"{directory} holds more than {MAX_FILES} files or {MAX_TOTAL_BYTES >> 20} MiB. Give a smaller folder"
                    " with --dir: the one the goal is about."
                )
            files[path] = self.store.put(place.read_bytes(), program=bool(place.stat().st_mode & stat.S_IXUSR))
        self.original = self.files = files
        _write(self.folder / "original.json", json.dumps(_plain(files)).encode(), 0o600)
        self.show()
        return Intake(files, left_out)

    def recall(self, merged: Iterable[Mapping[str, object]]) -> None:
        """Come back to where a run was: the original, and what was merged since, the oldest first."""
        try:
            raw = json.loads((self.folder / "original.json").read_bytes())
        except (OSError, ValueError) as error:
            raise WorkspaceError(f"The run in {self.folder} has lost its original files. Start it again.") from error
        self.original = {path: FileMark(*row) for path, row in raw.items()}
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
        for change in changed:
            _place(self.folder / "work", change, self.store)

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

    def made(self) -> list[Change]:
        """Everything that differs from the original."""
        return changes(self.original, self.files)

    def deliver(self, directory: Path) -> Delivery:
        """Write what was made into the person's folder; what the person changed meanwhile stays as it is."""
        written, beside, deleted, kept = list[str](), list[tuple[str, str]](), list[str](), list[tuple[str, str]]()
        for change in self.made():
            place = directory / change.path
            if _leads_out(directory, change.path):
                kept.append((change.path, "a link is in the way"))
            elif change.after is None:
                if _mark_at(place) == _bare(change.before):
                    place.unlink(missing_ok=True)
                    deleted.append(change.path)
                else:
                    kept.append((change.path, "you changed it, so it was not deleted"))
            elif _mark_at(place) in {_bare(change.before), _bare(change.after)}:
                place.parent.mkdir(parents=True, exist_ok=True)
                mode = 0o755 if change.after.program else 0o644
                _write(place, self.store.get(change.after), place.stat().st_mode & 0o777 if place.exists() else mode)
                written.append(change.path)
            else:
                other = _free_name(place)
                _write(other, self.store.get(change.after), 0o644)
                beside.append((change.path, str(other.relative_to(directory))))
        return Delivery(written, beside, deleted, kept)


def changes(before: Files, after: Files) -> list[Change]:
    """What differs, by path."""
    return [
        Change(path, before.get(path), after.get(path))
        for path in sorted({*before, *after})
        if before.get(path) != after.get(path)
    ]


def claimed(path: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns covers the path."""
    return any(matches(path, pattern) for pattern in patterns)


def matches(path: str, pattern: str) -> bool:
    """Shell patterns, where `*` stays in a folder and `**` does not; a name ending in `/` covers all below it."""
    return _compiled(pattern).fullmatch(path) is not None


def mark_of(artefact: Mapping[str, object]) -> FileMark | None:
    """The content that an artefact of an event names."""
    name = str(artefact.get("sha256", ""))
    if not name:
        return None
    size = artefact.get("bytes", 0)
    assert isinstance(size, int)
    return FileMark(name, size, bool(artefact.get("program", False)))


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    pattern = pattern.removeprefix("./")
    if pattern.endswith("/"):
        pattern += "**"
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(known.get(part, re.escape(part)) for part in parts), re.DOTALL)


def _walk(
    folder: Path, left_out: list[tuple[str, str]] | None = None, depth: int = 0
) -> Iterator[tuple[str, Path, int]]:
    """(path, place, bytes) of the plain files below a folder, in order; links and the like are not followed."""
    if depth > _MAX_DEPTH:
        raise WorkspaceError(f"{folder} is more than {_MAX_DEPTH} folders deep. Nothing of it was taken.")
    for name in sorted(os.listdir(folder)):  # noqa: PTH208 - names
        place = folder / name
        mode = place.lstat().st_mode
        if stat.S_ISDIR(mode):
            if name not in _SKIPPED:
                nested: list[tuple[str, str]] | None = None if left_out is None else []
                yield from ((f"{name}/{path}", inner, size) for path, inner, size in _walk(place, nested, depth + 1))
                if left_out is not None and nested:
                    left_out += [(f"{name}/{path}", why) for path, why in nested]
        elif stat.S_ISREG(mode):
            yield name, place, place.lstat().st_size
        elif left_out is not None:
            left_out.append((name, "it is a link" if stat.S_ISLNK(mode) else "it is no plain file"))


def _unwanted(path: str, size: int) -> str:
    name = PurePosixPath(path).name
    if not path.isprintable() or "\\" in path:
        return "its name has characters that a plan cannot write"
    if re.fullmatch(_SECRETS, name, re.IGNORECASE):
        return "it looks like a secret"
    return f"it is larger than {MAX_FILE_BYTES >> 20} MiB" if size > MAX_FILE_BYTES else ""


def _plain(files: Files) -> dict[str, list[object]]:
    return {path: [mark.sha256, mark.bytes, mark.program] for path, mark in files.items()}


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
    _write(place, store.get(change.after), 0o755 if change.after.program else 0o644, sync=False)


def _in_the_way(files: Files, changed: Sequence[Change]) -> list[str]:
    """A file of one task where another has a folder: no folder could hold both, now or after a resume."""
    after = dict(files)
    for change in changed:
        _put(after, change.path, change.after)
    folders = {str(parent) for path in after for parent in PurePosixPath(path).parents}
    return [f"{path!r} would be a file and a folder at once" for path in sorted(folders & after.keys())]


def _bare(mark: FileMark | None) -> str:
    return "" if mark is None else mark.sha256


def _mark_at(place: Path) -> str | None:
    """sha256 of the file there; empty when there is none, None when something else is."""
    try:
        if not stat.S_ISREG(place.lstat().st_mode):
            return None
        return sha256(place.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""
    except OSError:
        return None


def _leads_out(directory: Path, path: str) -> bool:
    """Whether a link, or a file where a folder should be, is on the way to a path."""
    place = directory
    for part in PurePosixPath(path).parts[:-1]:
        place /= part
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            return True
    return False


def _free_name(place: Path) -> Path:
    other, number = place.with_name(f"{place.name}.tercet"), 1
    while other.exists() or other.is_symlink():
        number += 1
        other = place.with_name(f"{place.name}.tercet{number}")
    return other


def _write(place: Path, data: bytes, mode: int, *, sync: bool = True) -> None:
    """All of it or nothing."""
    part = place.with_name(f".{place.name[:200]}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as sink:
        sink.write(data)
        if sync:
            sink.flush()
            os.fsync(sink.fileno())
    part.replace(place)
