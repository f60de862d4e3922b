"""A folder as one stream of bytes: how work goes into the sandbox, and how results come out.

What comes out is a stranger's bytes, so it is read by rules that leave no room: plain files and folders below the
work folder, and nothing else. No link is ever made on the host, so nothing read there later can lead anywhere.
The form is GNU tar's: blocks of 512 bytes, `L` for the name of the entry that follows, `K` for where a link leads.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from tercet.errors import SandboxError, SubmissionError

__all__ = ["MAX_ENTRIES", "pack", "read_result", "unpack"]

MAX_ENTRIES = 20_000
_BLOCK = 512
_LONGEST_NAME = 4096
_INCOMPLETE = b"!"
"""Follows the stream where tar could not pack everything, such as a file that may not be read."""


def pack(folder: Path, limit: int) -> bytes:
    """Everything in `folder`, links as links, owned by nobody.

    Raises:
        SandboxError: it holds more than `limit` bytes, or cannot be read.

    """
    sink, held = io.BytesIO(), 0

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        nonlocal held
        held += entry.size
        if held > limit:
            raise SandboxError(f"{folder} holds more than {limit} bytes. Raise disk_bytes of the limits.")
        if not (entry.isfile() or entry.isdir() or entry.issym()):
            return None
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
        return entry

    try:
        with tarfile.open(fileobj=sink, mode="w", format=tarfile.GNU_FORMAT, dereference=False) as archive:
            for child in sorted(os.listdir(folder)):  # noqa: PTH208 - names
                archive.add(folder / child, arcname=child, filter=plain)
    except OSError as error:
        raise SandboxError(f"{folder} cannot be taken into the sandbox: {error}.") from error
    return sink.getvalue()


def unpack(stream: bytes, folder: Path, *, lent: Collection[str] = ()) -> int:
    """Make `folder` hold what `stream` says, and nothing that it does not.

    Args:
        stream: what came out of the sandbox.
        folder: replaced only when the whole stream was in order.
        lent: relative paths of what the folder does not own: whatever the stream says about them is left out.

    Returns:
        How many entries were left out, because they are no plain files or folders.

    Raises:
        SubmissionError: the stream is malformed, or has too many entries.

    """
    staging = Path(tempfile.mkdtemp(prefix=".tercet-", dir=folder))
    try:
        left_out = _write(stream, staging, frozenset(lent)) + stream.endswith(_INCOMPLETE)
        for old in folder.iterdir():
            if old != staging:
                shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
        for new in staging.iterdir():
            new.rename(folder / new.name)
    finally:
        shutil.rmtree(staging)
    return left_out


def read_result(folder: Path, name: str, limit: int) -> bytes:
    """The bytes of one file of a result. Follows no link, opens no device, waits for no pipe, reads no more than `limit`.

    Raises:
        SubmissionError: there is no such plain file, or it is larger.

    """
    parts = Path(name).parts
    if not parts or name.startswith("/") or ".." in parts:
        raise SubmissionError(f"A result is a path inside the work folder, not {name!r}.")
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    held: list[int] = []
    try:
        held.append(os.open(folder, flags | os.O_DIRECTORY))
        for part in parts[:-1]:
            held.append(os.open(part, flags | os.O_DIRECTORY, dir_fd=held[-1]))
        held.append(os.open(parts[-1], flags | os.O_NONBLOCK, dir_fd=held[-1]))
        found = os.fstat(held[-1])
        if not stat.S_ISREG(found.st_mode):
            raise SubmissionError(f"The result {name!r} is no plain file.")
        if found.st_size > limit:
            raise SubmissionError(f"The result {name!r} has {found.st_size} bytes, at most {limit} are read.")
        with open(held.pop(), "rb") as file:  # noqa: PTH123 - a descriptor
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        raise SubmissionError(f"The result {name!r} cannot be read: {error}.") from error
    finally:
        for descriptor in held:
            os.close(descriptor)
    if len(data) > limit:
        raise SubmissionError(f"The result {name!r} has more than {limit} bytes.")
    return data


@dataclass(frozen=True, slots=True)
class _Entry:
    """One header and what follows it."""

    name: bytes
    kind: bytes
    mode: int
    data: memoryview


def _write(stream: bytes, folder: Path, lent: frozenset[str]) -> int:
    left_out = 0
    for number, entry in enumerate(_entries(stream)):
        if number >= MAX_ENTRIES:
            raise SubmissionError(f"The work folder holds more than {MAX_ENTRIES} entries.")
        parts = [part for part in entry.name.split(b"/") if part not in {b"", b"."}]
        if b".." in parts or entry.name.startswith(b"/"):
            raise SubmissionError("The work folder claims a path outside of it.")
        if not parts or any(os.fsdecode(b"/".join(parts[:depth])) in lent for depth in range(1, len(parts) + 1)):
            continue
        path = Path(os.fsdecode(os.fsencode(folder) + b"/" + b"/".join(parts)))
        try:
            if entry.kind == b"5":
                path.mkdir(parents=True, exist_ok=True)
            elif entry.kind in {b"0", b"\0"}:
                path.parent.mkdir(parents=True, exist_ok=True)
                with open(path, "xb") as file:  # noqa: PTH123 - the same call as elsewhere here
                    file.write(entry.data)
                path.chmod(0o755 if entry.mode & 0o100 else 0o644)
            else:
                left_out += 1
        except (OSError, ValueError) as error:
            raise SubmissionError(f"The work folder cannot be brought back: {error}.") from error
    return left_out


def _entries(stream: bytes) -> Iterator[_Entry]:
    view, place, long_name = memoryview(stream), 0, b""
    while place + _BLOCK <= len(stream):
        header = bytes(view[place : place + _BLOCK])
        if not header.strip(b"\0"):
            return
        size, kind = _octal(header[124:136]), header[156:157]
        start, place = place + _BLOCK, place + _BLOCK + -(-size // _BLOCK) * _BLOCK
        checked = header[:148] + b" " * 8 + header[156:]
        if _octal(header[148:156]) != sum(checked) or start + size > len(stream):
            raise SubmissionError("The work folder came back damaged.")
        if kind == b"L":
            long_name = bytes(view[start : start + min(size, _LONGEST_NAME)]).rstrip(b"\0")
        elif kind != b"K":
            name = long_name or header[:100].split(b"\0", 1)[0]
            yield _Entry(name, kind, _octal(header[100:108]), view[start : start + size])
            long_name = b""
    raise SubmissionError("The work folder came back cut short.")


def _octal(field: bytes) -> int:
    digits = field.strip(b" \0")
    if not digits or digits.strip(b"01234567"):
        raise SubmissionError("The work folder came back damaged.")
    return int(digits, 8)
