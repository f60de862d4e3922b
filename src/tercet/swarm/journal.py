"""The journal: everything that happened in a run, in one SQLite file that shows when it was tampered with.

Each event carries the hash of the one before it, so changing, dropping or inserting one breaks every hash after it.
Events are the only truth of a run: what agents there are, what was spent and what is waiting is folded from them.
A step of an agent is an event too, so a run that was killed goes on by reading its finished steps back.

Writes go through one thread, which commits whatever has gathered in a single transaction (group commit) and syncs it to
disk; `append` returns when the event is safe. One process at a time may write; any number may read.
"""

from __future__ import annotations

import asyncio
import atexit
import fcntl
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tercet.errors import BodyError, JournalError, RunLockedError
from tercet.market.text import MAX_DEPTH
from tercet.swarm.events import (
    COLUMNS,
    GENESIS,
    MOST_BYTES,
    Event,
    Row,
    chain_hash,
    encode,
    event_hash,
    event_of,
    open_journal,
    read_events,
    unreadable,
    verify_chain,
    verify_journal,
)
from tercet.swarm.group_commit import GroupCommit

__all__ = ["GENESIS", "Event", "Journal", "event_hash", "read_events", "verify_journal"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
  seq INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, kind TEXT NOT NULL, actor TEXT NOT NULL, task TEXT NOT NULL,
  scope TEXT, number INTEGER, body TEXT NOT NULL, hash BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS steps ON events (scope, number) WHERE scope IS NOT NULL;
CREATE INDEX IF NOT EXISTS kinds ON events (kind);
"""
INSERT = f"INSERT INTO events ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?)"  # noqa: S608 - constant columns
_STEP = f"SELECT {COLUMNS} FROM events WHERE scope = ? AND number = ?"  # noqa: S608 - constant columns
_BEGUN = f"SELECT {COLUMNS} FROM events WHERE kind IN ('run.started', 'run.forked') ORDER BY seq DESC LIMIT 1"  # noqa: S608
_FAR = 1 << 53


class Journal:
    """A journal open for writing. Use `read_events` to look at one that somebody else writes.

    `head` is the number of the last event, `hash` stands for all of them; both count what waits to be written.
    """

    def __init__(self, path: Path) -> None:
        """Open or create it.

        Raises:
            RunLockedError: another process writes it.
            DamagedJournalError: its events do not follow from each other.
            JournalError: there is no folder or no room for it.

        """
        self.path = path
        self.run = path.absolute().parent.name
        """Id of the run: the name of its folder when it was begun. Keys of its steps and payments are made with it, so a
        folder that was moved since changes none of them."""
        self.scopes: set[str] = set()
        """Scopes whose steps are being taken now; `durable.run_scope` keeps it."""
        self._lock = _take_lock(path)
        try:
            self._db = open_journal(path)
            self._reader = self._prepare()
        except BaseException:
            os.close(self._lock)
            raise
        self._order, self._reading = threading.Lock(), threading.Lock()
        self._closed = False
        self._commits = GroupCommit(self._write)
        atexit.register(self.close)

    def _prepare(self) -> sqlite3.Connection:
        try:
            self._db.executescript(SCHEMA)
            self.head, self.hash = verify_chain(self._db, self.path)
            begun = self._db.execute(_BEGUN).fetchone()
            self.run = str(event_of(begun).body.get("run", self.run)) if begun else self.run
            steps = self._db.execute("SELECT scope, number FROM events WHERE scope IS NOT NULL")
            self._steps: set[tuple[str, int]] = set(steps)
            return open_journal(self.path, readonly=True)
        except sqlite3.Error as error:
            raise unreadable(self.path, error, 1) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what waits, and give the file back. Twice is fine.

        Raises:
            JournalError: notes that `note` took could not be written.

        """
        with self._order:
            closed, self._closed = self._closed, True
        if closed:
            return
        atexit.unregister(self.close)
        self._commits.close()
        with self._reading:
            self._reader.close()
        self._db.close()
        os.close(self._lock)
        if self._commits.lost_notes and self._commits.failure is not None:
            raise self._commits.failure

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
        """Write an event; returns when it is on the disk. A caller that is cancelled has written it all the same.

        Raises:
            BodyError: the body is too large or no plain JSON: write something else.
            JournalError: the step exists. Or the disk is full: nothing more can be written then.

        """
        told: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._put(kind, body, actor, task, scope, number, told)
        return await told

    def note(self, kind: str, body: Mapping[str, Any], *, actor: str = "kernel", task: str = "") -> Event:
        """Write an event soon; returns at once. Order is kept. For what nobody has to wait for.

        A note that cannot be written is heard of: the next `append`, `note` or `flush` raises, and so does `close`.

        Raises:
            JournalError: as `append`.

        """
        return self._put(kind, body, actor, task, None, None, None)

    async def flush(self) -> None:
        """Wait until all that was noted is on the disk.

        Raises:
            JournalError: some of it could not be written.

        """
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._order:
            self._check_open()
            self._commits.put(None, told)
        await told

    def step(self, scope: str, number: int) -> Event | None:
        """The recorded step, or None when it was not finished before. Only what is committed counts."""
        if (scope, number) not in self._steps:
            return None
        with self._reading:
            self._check_open()
            row = self._reader.execute(_STEP, (scope, number)).fetchone()
        return None if row is None else event_of(row)

    def events(self, after: int = 0, kinds: Sequence[str] = ()) -> Iterator[Event]:
        """What is committed, the oldest first: from behind `after`, of these kinds or (empty) of all."""
        return read_events(self.path, after, kinds)

    def _check_open(self) -> None:
        if self._closed:
            raise JournalError(f"The journal {self.path} is closed. Open it again, or read_events it.")
        if self._commits.failure is not None:
            raise self._commits.failure

    def _put(
        self,
        kind: str,
        body: Mapping[str, Any],
        actor: str,
        task: str,
        scope: str | None,
        number: int | None,
        told: asyncio.Future[Any] | None,
    ) -> Event:
        text, frozen = _freeze(body)
        _check_names(kind, actor, task, scope, number)
        with self._order:
            self._check_open()
            if scope is not None and number is not None:
                if (scope, number) in self._steps:
                    raise JournalError(
                        f"Step {number} of {scope!r} is in the journal already. A new attempt takes a scope of its own."
                    )
                self._steps.add((scope, number))
            head = (self.head + 1, time.time_ns() // 1_000_000, kind, actor, task, scope, number)
            digest = chain_hash(self.hash, head, text)
            seq, time_ms, *_ = head
            event = Event(seq, time_ms, kind, actor, task, frozen, scope, number, digest)
            self.head, self.hash = seq, digest
            self._commits.put((*head, text, digest), told, event)
        return event

    def _write(self, rows: Sequence[Row]) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(INSERT, rows)
            self._db.execute("COMMIT")
        except Exception as error:  # whatever it is, who waits must hear of it and not wait for ever
            self._roll_back()
            raise JournalError(
                f"The journal {self.path} could not be written: {error}. Nothing was lost that was written before;"
                " make room on the disk and resume the run."
            ) from error

    def _roll_back(self) -> None:
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error:  # nothing of the batch was committed, and nothing more will be
            return


def _freeze(body: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The body as the text that is hashed, and as it will be read back; later changes to it are not seen."""
    try:
        _validate_depth(body)
        text = encode(dict(body))
        frozen: Mapping[str, Any] = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise BodyError(
            f"This body cannot stand in a journal: {error}. Use plain JSON: objects, lists, texts, finite numbers."
        ) from error
    if len(text) > MOST_BYTES:
        raise BodyError(
            f"This body is {len(text) >> 20} MiB long, {MOST_BYTES >> 20} MiB are the most. Keep it as a file and"
            " write its sha256."
        )
    return text, frozen


def _validate_depth(body: object) -> None:
    """Refuse what nests deeper than can be read back: Python's encoder recurses in C, as far as the process allows it."""
    level: list[object] = [body]
    for _ in range(MAX_DEPTH):
        inner: list[object] = []
        for value in level:
            if isinstance(value, Mapping):
                inner += value.values()
            elif isinstance(value, (list, tuple)):
                inner += value
        if not inner:
            return
        level = inner
    if any(isinstance(value, (Mapping, list, tuple)) for value in level):
        raise ValueError(f"it nests deeper than {MAX_DEPTH} levels")


def _check_names(kind: str, actor: str, task: str, scope: str | None, number: int | None) -> None:
    if (scope is None) != (number is None) or not 0 <= (number or 0) < _FAR:
        raise JournalError(f"A step has a scope and a number from 0 on, not {scope!r} and {number!r}.")
    for name in (kind, actor, task, scope or ""):
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise JournalError(f"The name {name!r} is no text. Use letters, digits and '-'.") from error


def _take_lock(path: Path) -> int:
    try:
        descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalError(f"No journal can be kept at {path}: {error.strerror}. Look at its folder.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise RunLockedError(
            f"Another process works on the run in {path.parent}. tercet attach shows it; tercet kill ends it."
        ) from None
    return descriptor
