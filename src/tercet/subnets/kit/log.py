"""What was judged and with which seed, in a file that nobody can rewrite unseen: an auditor reads it and does it again."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

from tercet.errors import DamagedLogError, StateLockedError
from tercet.market.text import decode_json

__all__ = ["Entry", "JudgeLog"]

log = logging.getLogger(__name__)

_FIRST = hashlib.sha256(b"tercet-judge-log/1").digest()


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log."""

    number: int
    event: Mapping[str, Any]
    digest: bytes
    """32 bytes over this event and all before it."""


class JudgeLog:
    """An append-only file of JSON lines `{"digest", "event"}`, each digest = sha256(digest before, event).

    Whoever publishes or commits a digest has fixed everything up to it: no event before can be changed, left out or
    put in. Written through to the disk event by event; half a line that a power cut left is dropped at the next write.
    One writer at a time, any number of readers.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._count, self._digest = 0, _FIRST

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, event: Mapping[str, Any]) -> Entry:
        """Append an event of JSON values; bytes are written as hex. On disk when this returns.

        Raises:
            TypeError: something in it is no JSON value.
            ValueError: a number in it is not finite.
            DamagedLogError: what the file holds already was changed.
            StateLockedError: another process writes to it.

        """
        data = _encode(json.loads(json.dumps(event, default=_hex)))
        file = self._file or self._open()
        digest = _chain(self._digest, data)
        file.write(b'{"digest":"%s","event":%s}\n' % (digest.hex().encode(), data))
        file.flush()
        os.fdatasync(file.fileno())
        entry = Entry(self._count, json.loads(data), digest)
        self._count, self._digest = self._count + 1, digest
        return entry

    def read(self) -> Iterator[Entry]:
        """All events in order, each checked against the chain as it comes. A torn last line is not one of them.

        Raises:
            DamagedLogError: at the first line that was changed, moved or put in; `line` is its number.

        """
        if not self._path.exists():
            return
        digest = _FIRST
        with self._path.open("rb") as file:
            for number, line in enumerate(file):
                if not line.endswith(b"\n"):
                    return
                entry = _parse(number, line, digest, self._path)
                digest = entry.digest
                yield entry

    def verify(self, head: bytes | None = None) -> bytes:
        """Check the whole chain, and give its last digest.

        Args:
            head: a digest that was published before; the log must still lead through it.

        Raises:
            DamagedLogError: it does not.

        """
        digest = _FIRST
        passed = head in {None, _FIRST}
        for entry in self.read():
            digest = entry.digest
            passed = passed or digest == head
        if not passed:
            raise DamagedLogError(f"{self._path} does not lead through the digest that was published.", line=0)
        return digest

    def close(self) -> None:
        """Let another process write."""
        if self._file:
            self._file.close()
            self._file = None

    def _open(self) -> BinaryIO:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            raise StateLockedError(f"Another process writes to {self._path}. Stop it, or name another file.") from error
        try:
            self._count, self._digest = 0, _FIRST
            for entry in self.read():
                self._count, self._digest = entry.number + 1, entry.digest
            self._drop_torn_line(file)
        except BaseException:
            file.close()
            raise
        self._file = file
        return file

    def _drop_torn_line(self, file: BinaryIO) -> None:
        held = self._path.read_bytes()
        whole = held.rfind(b"\n") + 1
        if whole < len(held):
            log.warning("judgelog.torn path=%s bytes=%d", self._path, len(held) - whole)
            file.truncate(whole)


def _parse(number: int, line: bytes, digest: bytes, path: Path) -> Entry:
    why = "is no line of a judge's log"
    try:
        found = decode_json(line)
        event, claimed = found["event"], bytes.fromhex(found["digest"])
        if claimed == _chain(digest, _encode(event)):
            return Entry(number, event, claimed)
        why = "does not follow from the lines before it"
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise DamagedLogError(
        f"Line {number + 1} of {path} {why}: somebody changed it. What stands before it is in order.", line=number + 1
    )


def _encode(event: object) -> bytes:
    """The one way to write an event: keys sorted, no spaces, finite numbers."""
    return json.dumps(event, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _hex(value: object) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    raise TypeError(f"A judge's log holds JSON values and bytes, not {type(value).__name__}.")


def _chain(digest: bytes, data: bytes) -> bytes:
    return hashlib.sha256(digest + data).digest()
