"""Contents of files, each kept once under its sha256; a set of files is a table of paths to them.

Links are never followed: not in what is taken, not where something is laid out.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from tercet.errors import WorkspaceError

__all__ = [
    "MAX_FILES",
    "MAX_FILE_BYTES",
    "MAX_PATH_BYTES",
    "MAX_TOTAL_BYTES",
    "FileMark",
    "Files",
    "Store",
    "beginning",
    "draft_of",
    "plain_files",
    "read_files",
    "walk",
    "write_whole",
]

MAX_FILES = 5_000
MAX_FILE_BYTES = 8 << 20
MAX_TOTAL_BYTES = 48 << 20
"""What the sandbox takes in, with room for what a task adds."""
MAX_PATH_BYTES = 1 << 20
"""Of all names together: each event that lists a set of files holds them, as ASCII with escapes."""
_MAX_DEPTH = 32
_NAME_BYTES = 230
_SKIPPED = frozenset({
    ".git", ".hg", ".svn", ".venv", "venv", "node_modules", "__pycache__", ".tox", ".nox", ".mypy_cache", ".ruff_cache",
    ".pytest_cache", ".idea", ".vscode",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class FileMark:
    """One content."""

    sha256: str
    bytes: int
    program: bool = False
    """May be run."""


Files = Mapping[str, FileMark]
"""A set of files: path with `/`, relative, to its content."""


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
                write_whole(place, data, 0o600)
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

    def take(self, folder: Path) -> Files:
        """All plain files below a folder that a task worked in.

        Raises:
            WorkspaceError: there are too many, or they are too large.

        """
        found, total, named = dict[str, FileMark](), 0, 0
        for path, place, size in walk(folder):
            total += size
            named += len(os.fsencode(path))
            if len(found) >= MAX_FILES or total > MAX_TOTAL_BYTES or size > MAX_FILE_BYTES:
                raise WorkspaceError(
                    f"The task left more than {MAX_FILES} files, {MAX_TOTAL_BYTES >> 20} MiB, or {MAX_FILE_BYTES >> 20}"
                    f" MiB in one file ({path!r} was too much). Nothing of it was merged."
                )
            if named > MAX_PATH_BYTES:
                raise WorkspaceError(
                    f"The names of the files that the task left are longer than {MAX_PATH_BYTES >> 10} KiB together."
                    " Nothing of it was merged. Let it use shorter ones."
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
            write_whole(place, self.get(mark), 0o755 if mark.program else 0o644, sync=False)


def walk(
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
                yield from ((f"{name}/{path}", inner, size) for path, inner, size in walk(place, nested, depth + 1))
                if left_out is not None and nested:
                    left_out += [(f"{name}/{path}", why) for path, why in nested]
        elif stat.S_ISREG(mode):
            yield name, place, place.lstat().st_size
        elif left_out is not None:
            left_out.append((name, "it is a link" if stat.S_ISLNK(mode) else "it is no plain file"))


def draft_of(place: Path, mark: str) -> Path:
    """Where a file is written until it is whole, by a mark of 16 letters."""
    return place.with_name(f".{beginning(place.name)}.{mark}.part")


def write_whole(place: Path, data: bytes, mode: int, *, sync: bool = True, mark: str = "") -> None:
    """All of it or nothing; `mark` is its draft's, for who would find that again after a kill, else it is drawn."""
    # A name that could be guessed could be somebody's: what has it then would be overwritten, or be in the way.
    part = draft_of(place, mark or secrets.token_hex(8))
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as sink:
            sink.write(data)
            if sync:
                sink.flush()
                os.fsync(sink.fileno())
        part.replace(place)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def beginning(name: str) -> str:
    """Of a file's name, as much as leaves room for an addition: names have at most 255 bytes, whatever their letters."""
    return os.fsencode(name)[:_NAME_BYTES].decode(errors="ignore")


def plain_files(files: Files) -> dict[str, list[Any]]:
    """As JSON."""
    return {path: [mark.sha256, mark.bytes, mark.program] for path, mark in files.items()}


def read_files(raw: Mapping[str, Sequence[Any]]) -> Files:
    """From JSON of our own."""
    return {path: FileMark(str(name), int(size), bool(program)) for path, (name, size, program) in raw.items()}
