"""The journal: everything that happened in a run, in one SQLite file that shows when it was tampered with.

Each event carries the hash of the one before it, so changing, dropping or inserting one breaks every hash after it.
Events are the only truth of a run: what agents there are, what was spent and what is waiting is folded from them.
A step of an agent is an event too, so a run that was killed goes on by reading its finished steps back.

Writes go through one thread, which commits whatever has gathered in a single transaction (group commit) and syncs it to
disk; `append` returns when the event is safe. One process at a time may write; any number may read.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tercet.errors import DamagedJournalError, JournalError, RunLockedError

__all__ = ["GENESIS", "Event", "Journal", "event_hash", "read_events", "verify_journal"]

GENESIS = bytes(32)
"""What the first event's hash follows."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
  seq INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, kind TEXT NOT NULL, actor TEXT NOT NULL, task TEXT NOT NULL,
  scope TEXT, number INTEGER, body TEXT NOT NULL, hash BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS steps ON events (scope, number) WHERE scope IS NOT NULL;
CREATE INDEX IF NOT EXISTS kinds ON events (kind);
"""
_COLUMNS = "seq, time_ms, kind, actor, task, scope, number, body, hash"
_MOST_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened."""

    seq: int
    """1, 2, 3, ... without a gap."""
    time_ms: int
    """Unix milliseconds."""
    kind: str
    """What, such as `task.done`; docs/reference/journal.md has them all."""
    actor: str
    """Id of the agent that did it, `kernel`, or `person`."""
    task: str
    """Id of the task it belongs to; empty where it belongs to none."""
    body: Mapping[str, Any]
    """What there is to know, as JSON."""
    scope: str | None = None
    """Of a step: whose steps these are, unique in the run, such as `fix-1/2` (task, attempt)."""
    number: int | None = None
    """Of a step: 0, 1, 2, ... in its scope."""
    hash: bytes = b""
    """32 bytes, see `event_hash`."""


def event_hash(previous: bytes, event: Event) -> bytes:
    """sha256 over the hash before and all of the event, as compact JSON with sorted keys."""
    fields = [event.seq, event.time_ms, event.kind, event.actor, event.task, event.scope, event.number, event.body]
    return hashlib.sha256(previous + _encode(fields).encode()).digest()


class Journal:
    """A journal open for writing. Use `read_events` to look at one that somebody else writes."""

    def __init__(self, path: Path) -> None:
        """Open or create it.

        Raises:
            RunLockedError: another process writes it.
            DamagedJournalError: its events do not follow from each other.

        """
        self.path = path
        self._lock = _take_lock(path)
        try:
            self._db = _open(path)
            self._db.executescript(_SCHEMA)
            self.head, self._hash = _verify(self._db, path)
        except BaseException:
            os.close(self._lock)
            raise
        self._waiting: queue.SimpleQueue[tuple[Event, asyncio.Future[Event] | None] | None] = queue.SimpleQueue()
        self._order = threading.Lock()
        self._failure: JournalError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._write_forever, name="journal", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what waits, and give the file back. Twice is fine."""
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join()
            self._db.close()
            os.close(self._lock)

    async def append(
        self,
        kind: str,
        body: Mapping[str, Any],
        *,
        actor: str = "kernel",
        task: str = "",
        scope: str | None = None,
        number: int | None = None,
    ) -> Event:
        """Write an event; returns when it is on the disk.

        Raises:
            JournalError: it could not be written: the disk is full, the step exists. Nothing more can be written then.

        """
        written: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._put(kind, body, actor, task, scope, number, written)
        return await written

    def note(self, kind: str, body: Mapping[str, Any], *, actor: str = "kernel", task: str = "") -> Event:
        """Write an event soon; returns at once. Order is kept. For what nobody has to wait for."""
        return self._put(kind, body, actor, task, None, None, None)

    def step(self, scope: str, number: int) -> Event | None:
        """The recorded step, or None when it was not finished before. Only what is committed counts."""
        row = (
            self._reader()
            .execute(f"SELECT {_COLUMNS} FROM events WHERE scope = ? AND number = ?", (scope, number))  # noqa: S608 - constant columns
            .fetchone()
        )
        return None if row is None else _event(row)

    def events(self, after: int = 0, kinds: Sequence[str] = ()) -> Iterator[Event]:
        """What is committed, the oldest first: from behind `after`, of these kinds or (empty) of all."""
        return _select(self._reader(), after, kinds)

    def _reader(self) -> sqlite3.Connection:
        # WAL: readers see the last commit and never wait for the writer. sqlite3 objects stay in their thread.
        reader = getattr(_LOCAL, str(id(self)), None)
        if reader is None:
            reader = _open(self.path, readonly=True)
            setattr(_LOCAL, str(id(self)), reader)
        assert isinstance(reader, sqlite3.Connection)
        return reader

    def _put(
        self,
        kind: str,
        body: Mapping[str, Any],
        actor: str,
        task: str,
        scope: str | None,
        number: int | None,
        written: asyncio.Future[Event] | None,
    ) -> Event:
        body = json.loads(_encode(body))
        with self._order:
            if self._failure is not None:
                raise self._failure
            event = Event(self.head + 1, time.time_ns() // 1_000_000, kind, actor, task, body, scope, number)
            digest = event_hash(self._hash, event)
            event = Event(event.seq, event.time_ms, kind, actor, task, body, scope, number, digest)
            self.head, self._hash = event.seq, digest
            self._waiting.put((event, written))
        return event

    def _write_forever(self) -> None:
        db = _open(self.path)
        ending = False
        while not ending:
            batch = [self._waiting.get()]
            while len(batch) < _MOST_AT_ONCE and not self._waiting.empty():
                batch.append(self._waiting.get())
            ending = None in batch
            self._commit(db, [item for item in batch if item is not None])
        db.close()

    def _commit(self, db: sqlite3.Connection, batch: Sequence[tuple[Event, asyncio.Future[Event] | None]]) -> None:
        failure = self._failure
        if batch and failure is None:
            try:
                db.execute("BEGIN IMMEDIATE")
                db.executemany(
                    f"INSERT INTO events ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?)",  # noqa: S608 - constant columns
                    [_row(event) for event, _ in batch],
                )
                db.execute("COMMIT")
            except sqlite3.Error as error:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                failure = JournalError(
                    f"The journal {self.path} could not be written: {error}. Nothing was lost that was written before;"
                    " make room on the disk and resume the run."
                )
                with self._order:
                    self._failure = failure
        for event, written in batch:
            if written is not None:
                _tell(written, event, failure)


_LOCAL = threading.local()


def _tell(written: asyncio.Future[Event], event: Event, failure: JournalError | None) -> None:
    def tell() -> None:
        if not written.done():
            written.set_exception(failure) if failure else written.set_result(event)

    try:
        written.get_loop().call_soon_threadsafe(tell)
    except RuntimeError:  # its loop is closed: nobody waits any more
        return


def read_events(path: Path, after: int = 0, kinds: Sequence[str] = ()) -> Iterator[Event]:
    """The events of a journal that anybody may be writing, the oldest first.

    Raises:
        JournalError: there is no such file.

    """
    db = _open(path, readonly=True)
    try:
        yield from _select(db, after, kinds)
    finally:
        db.close()


def verify_journal(path: Path) -> tuple[int, bytes]:
    """How many events there are, and the hash of the last, which stands for all of them.

    Raises:
        DamagedJournalError: an event is missing, was changed, or does not follow from the one before it.
        JournalError: there is no such file.

    """
    db = _open(path, readonly=True)
    try:
        return _verify(db, path)
    finally:
        db.close()


def _verify(db: sqlite3.Connection, path: Path) -> tuple[int, bytes]:
    seq, digest = 0, GENESIS
    for event in _select(db, 0, ()):
        if event.seq != seq + 1:
            raise DamagedJournalError(f"The journal {path} misses event {seq + 1}. Somebody removed it.", seq + 1)
        seq, digest = event.seq, event_hash(digest, event)
        if digest != event.hash:
            raise DamagedJournalError(
                f"The journal {path} was changed at or before event {seq}: its hash does not follow. What comes before"
                " it can still be read; trust nothing after it.",
                seq,
            )
    return seq, digest


def _select(db: sqlite3.Connection, after: int, kinds: Sequence[str]) -> Iterator[Event]:
    among = f" AND kind IN ({','.join('?' * len(kinds))})" if kinds else ""
    rows = db.execute(f"SELECT {_COLUMNS} FROM events WHERE seq > ?{among} ORDER BY seq", (after, *kinds))  # noqa: S608 - marks only
    return map(_event, rows)


def _row(event: Event) -> tuple[object, ...]:
    return (
        event.seq, event.time_ms, event.kind, event.actor, event.task, event.scope, event.number,
        _encode(event.body), event.hash,
    )  # fmt: skip


def _event(row: Sequence[Any]) -> Event:
    seq, time_ms, kind, actor, task, scope, number, body, digest = row
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        parsed = {"damaged": str(body)}
    return Event(seq, time_ms, kind, actor, task, parsed, scope, number, bytes(digest))


def _encode(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _open(path: Path, *, readonly: bool = False) -> sqlite3.Connection:
    if readonly and not path.exists():
        raise JournalError(f"There is no journal at {path}. tercet ps --all shows the runs there are.")
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    if not readonly:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
    else:
        db.execute("PRAGMA query_only=ON")
    return db


def _take_lock(path: Path) -> int:
    descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise RunLockedError(
            f"Another process works on the run in {path.parent}. tercet attach shows it; tercet kill ends it."
        ) from None
    return descriptor
