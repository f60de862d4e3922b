"""A folder that strangers write into: reading and writing there follows nobody's link and never leaves it.

Every part of a path is opened by itself, beneath the one before it, so a link that appears in between is refused too.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from tercet.errors import ToolError
from tercet.swarm.capabilities import clean_path

__all__ = ["Folder"]

_MOST_FILES = 20_000
_DEEPEST = 32
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Folder:
    """Plain files below `path`, by relative names."""

    def __init__(self, path: Path, *, most_bytes: int = 64 << 20) -> None:
        self.path = path
        self.most_bytes = most_bytes
        """Of all files together."""

    def read(self, name: str, *, start: int = 0, limit: int = 1 << 20) -> bytes:
        """At most `limit` bytes from `start` on.

        Raises:
            ToolError: there is no such plain file.

        """
        with self._parent(name) as (parent, last):
            # Non-blocking: opening a pipe that nobody writes to would wait for ever.
            descriptor = _open(name, last, os.O_RDONLY | os.O_NONBLOCK, parent)
            with os.fdopen(descriptor, "rb") as file:
                _must_be_plain(name, os.fstat(descriptor))
                file.seek(start)
                return file.read(limit)

    def write(self, name: str, data: bytes) -> None:
        """Make or replace a file, whole or not at all.

        Raises:
            ToolError: something else has the name, or the folder would hold too much.

        """
        self._must_fit(name, len(data))
        with self._parent(name, make=True) as (parent, last):
            with contextlib.suppress(FileNotFoundError):
                _must_be_plain(name, os.stat(last, dir_fd=parent, follow_symlinks=False))
            draft = f".{secrets.token_hex(8)}.draft"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                with os.fdopen(os.open(draft, flags, 0o644, dir_fd=parent), "wb") as file:
                    file.write(data)
                os.rename(draft, last, src_dir_fd=parent, dst_dir_fd=parent)
            except OSError as error:
                with contextlib.suppress(OSError):
                    os.unlink(draft, dir_fd=parent)
                raise ToolError(f"{name} could not be written: {error.strerror}.") from error

    def remove(self, name: str) -> None:
        """Remove a plain file; gone already is fine."""
        with contextlib.suppress(ToolError), self._parent(name) as (parent, last), contextlib.suppress(OSError):
            os.unlink(last, dir_fd=parent)

    def files(self) -> Iterator[tuple[str, int]]:
        """Name and bytes of each plain file, by name; links and the like are left out.

        Raises:
            ToolError: there are too many.

        """
        root = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for count, found in enumerate(_walk(root, "", 0)):
                if count >= _MOST_FILES:
                    raise ToolError(f"The folder has more than {_MOST_FILES} files. Remove some.")
                yield found
        finally:
            os.close(root)

    def _must_fit(self, name: str, size: int) -> None:
        held = dict(self.files())
        total = sum(held.values()) - held.get(clean_path(name), 0) + size
        if total > self.most_bytes or len(held) >= _MOST_FILES:
            raise ToolError(
                f"{name} does not fit: the folder would hold {total} bytes in {len(held) + 1} files; {self.most_bytes}"
                f" in {_MOST_FILES} are the most. Remove something, or write less."
            )

    @contextlib.contextmanager
    def _parent(self, name: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """The folder that `name` is in, as a descriptor, and its last part."""
        *folders, last = clean_path(name).split("/")
        if last == "." or len(folders) > _DEEPEST:
            raise ToolError(f"{name!r} is no name of a file.")
        here = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in folders:
                if make:
                    with contextlib.suppress(FileExistsError):
                        _make(name, part, here)
                below = _open(name, part, _DIRECTORY, here)
                os.close(here)
                here = below
            yield here, last
        finally:
            os.close(here)


def _make(name: str, part: str, parent: int) -> None:
    try:
        os.mkdir(part, 0o755, dir_fd=parent)
    except FileExistsError:
        raise
    except OSError as error:
        raise ToolError(f"{name} could not be written: {error.strerror}.") from error


def _open(name: str, part: str, flags: int, parent: int) -> int:
    try:
        return os.open(part, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except FileNotFoundError:
        raise ToolError(f"There is no file {name}. list_files shows which there are.") from None
    except OSError as error:
        raise ToolError(f"{name} is not a plain file in plain folders: {error.strerror}.") from error


def _must_be_plain(name: str, found: os.stat_result) -> None:
    # A second name of a file elsewhere would be another's file under our name.
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        raise ToolError(f"{name} is not a plain file.")


def _walk(folder: int, prefix: str, depth: int) -> Iterator[tuple[str, int]]:
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if entry.is_dir(follow_symlinks=False) and depth < _DEEPEST:
            try:
                below = os.open(entry.name, _DIRECTORY, dir_fd=folder)
            except OSError:
                continue
            try:
                yield from _walk(below, f"{prefix}{entry.name}/", depth + 1)
            finally:
                os.close(below)
        elif entry.is_file(follow_symlinks=False):
            yield prefix + entry.name, entry.stat(follow_symlinks=False).st_size
