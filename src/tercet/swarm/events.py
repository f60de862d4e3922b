"""Events: what a journal holds, how each is bound to the one before it, and how anybody reads and checks them.

Nothing here writes; `journal` does. A reader never waits for the writer, and never keeps it waiting: SQLite's
write-ahead log shows each page of events as of one commit.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tercet.errors import DamagedJournalError, JournalError
from tercet.market.text import decode_as_sent

__all__ = ["GENESIS", "MOST_BYTES", "Event", "event_hash", "read_events", "verify_journal"]

GENESIS = bytes(32)
"""What the first event's hash follows."""
MOST_BYTES = 16 << 20
"""Longest body of an event, as JSON. Larger things are files; their sha256 stands in the event."""
COLUMNS = "seq, time_ms, kind, actor, task, scope, number, body, hash"
Row = tuple[Any, ...]
"""An event as the table holds it, in the order of `COLUMNS`; the body is text."""
_PAGE = 500
encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode
"""Compact JSON in ASCII with sorted keys: the one form that is hashed."""


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
    head = (event.seq, event.time_ms, event.kind, event.actor, event.task, event.scope, event.number)
    return chain_hash(previous, head, encode(event.body))


def chain_hash(previous: bytes, head: Sequence[object], body: str) -> bytes:
    """The same of an event whose body is text already: of the JSON list of the seven fields and the body."""
    return hashlib.sha256(previous + f"{encode(head)[:-1]},{body}]".encode()).digest()


def read_events(path: Path, after: int = 0, kinds: Sequence[str] = ()) -> Iterator[Event]:
    """The events of a journal that anybody may be writing, the oldest first.

    Raises:
        JournalError: there is no such file, or it is none.

    """
    with closing(open_journal(path, readonly=True)) as db:
        yield from select_events(db, path, after, kinds)


def verify_journal(path: Path, head: bytes = b"") -> tuple[int, bytes]:
    """How many events there are, and the hash of the last, which stands for all of them.

    Args:
        path: the file.
        head: a hash that somebody kept from before; it has to be among the events'. Cutting off the end, or writing
            the whole journal anew, shows only by such a hash.

    Raises:
        DamagedJournalError: an event is missing, was changed, or does not follow from the one before it.
        JournalError: there is no such file, or it is none.

    """
    with closing(open_journal(path, readonly=True)) as db:
        return verify_chain(db, path, head)


def verify_chain(db: sqlite3.Connection, path: Path, head: bytes = b"", upto: int = 0) -> tuple[int, bytes]:
    """`verify_journal` over a connection; `upto` stops behind an event, 0 means at the end."""
    seq, digest, met = 0, GENESIS, not head
    for row in _rows(db, path, 0, ()):
        if row[0] != seq + 1:
            raise DamagedJournalError(f"The journal {path} misses event {seq + 1}. Somebody removed it.", seq + 1)
        seq, follows = seq + 1, _follows(digest, row)
        if follows is None or follows != row[-1]:
            raise DamagedJournalError(
                f"The journal {path} was changed at or before event {seq}: its hash does not follow. What comes before"
                " it can still be read; trust nothing after it.",
                seq,
            )
        digest, met = follows, met or follows == head
        if seq == upto:
            break
    if not met:
        raise DamagedJournalError(
            f"The journal {path} holds no event of hash {head.hex()}: its end was cut off, it was written anew, or it"
            f" is another journal. It has {seq} events, the last of hash {digest.hex()}.",
            seq + 1,
        )
    return seq, digest


def _follows(previous: bytes, row: Row) -> bytes | None:
    try:
        return chain_hash(previous, row[:7], row[7])
    except (TypeError, ValueError):  # a column of another type than we write
        return None


def select_events(db: sqlite3.Connection, path: Path, after: int, kinds: Sequence[str]) -> Iterator[Event]:
    """Events behind `after`, of these kinds or (empty) of all."""
    return map(event_of, _rows(db, path, after, kinds))


def _rows(db: sqlite3.Connection, path: Path, after: int, kinds: Sequence[str]) -> Iterator[Row]:
    # By pages, so that a reader that stops half-way does not hold the log open. Several kinds are so many searches of the
    # index, which SQLite merges as they go: with IN it would sort all events that are left, for each page anew.
    wanted = list(dict.fromkeys(kinds))
    each = f"SELECT {COLUMNS} FROM events WHERE seq > ?"  # noqa: S608 - constant columns
    sql = f"{' UNION ALL '.join([f'{each} AND kind = ?'] * len(wanted)) or each} ORDER BY seq LIMIT {_PAGE}"
    while True:
        values = [value for kind in wanted for value in (after, kind)] or [after]
        try:
            page = db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise unreadable(path, error, after + 1) from error
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1][0]


def event_of(row: Row) -> Event:
    """An event from its row. What was changed to be no JSON object reads as `{"damaged": text}`."""
    seq, time_ms, kind, actor, task, scope, number, text, digest = row
    body = decode_as_sent(text) if isinstance(text, str) else None
    if not isinstance(body, dict):
        body = {"damaged": str(text)}
    return Event(seq, time_ms, kind, actor, task, body, scope, number, digest if isinstance(digest, bytes) else b"")


def open_journal(path: Path, *, readonly: bool = False) -> sqlite3.Connection:
    """A connection that any thread may use, one at a time."""
    if readonly and not path.is_file():
        raise JournalError(f"There is no journal at {path}. tercet ps --all shows the runs there are.")
    try:
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        if readonly:
            db.execute("PRAGMA query_only=ON")
        else:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
    except sqlite3.Error as error:
        raise unreadable(path, error, 1) from error
    return db


def unreadable(path: Path, error: sqlite3.Error, seq: int) -> JournalError:
    """What SQLite's refusal to read means to us."""
    code = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_NOTADB or "no such table" in str(error) or "no such column" in str(error):
        return JournalError(f"{path} is no journal of a run. tercet ps --all shows the runs there are.")
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY}:
        return JournalError(f"The journal {path} could not be opened: {error}. Look at the disk and at its owner.")
    return DamagedJournalError(
        f"The journal {path} cannot be read from event {seq} on: {error}. What comes before it can still be read.", seq
    )
