"""Forks: a new run that shares the beginning of another, to try from there what it would have been otherwise.

The copied events keep their hashes, so the new journal proves what it came from; its first event of its own,
`run.forked`, names the parent and the hash it left at.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from tercet.errors import JournalError
from tercet.swarm.events import COLUMNS, Event, chain_hash, encode, event_of, open_journal, verify_chain
from tercet.swarm.journal import INSERT, SCHEMA

__all__ = ["fork"]


def fork(journal_path: Path, new_path: Path, *, upto: int | tuple[str, int] = 0) -> Event:
    """Copy a journal up to an event into a new one. The parent may be at work; it is only read.

    Args:
        journal_path: the parent.
        new_path: where the new journal is to be; the name of its folder is the new run's id.
        upto: the last event to copy: its seq, or its scope and number where it is a step. 0 copies all.

    Returns:
        The new journal's last event, `run.forked`.

    Raises:
        DamagedJournalError: the parent was changed.
        JournalError: there is no such event, or there is something at `new_path`.

    """
    if new_path.exists():
        raise JournalError(f"There is a journal at {new_path} already. Give the fork a folder of its own.")
    with closing(open_journal(journal_path, readonly=True)) as parent:
        last = _last(parent, journal_path, upto)
        seq, digest = verify_chain(parent, journal_path, upto=last)
        rows = parent.execute(f"SELECT {COLUMNS} FROM events WHERE seq <= ? ORDER BY seq", (seq,))  # noqa: S608 - constant columns
        note = _forked(journal_path, new_path, seq, digest)
        half = new_path.with_suffix(".half")
        half.unlink(missing_ok=True)
        _write(half, rows, note)
    half.replace(new_path)
    return event_of(note)


def _last(db: sqlite3.Connection, path: Path, upto: int | tuple[str, int]) -> int:
    if isinstance(upto, tuple):
        found = db.execute("SELECT seq FROM events WHERE scope = ? AND number = ?", upto).fetchone()
        what = f"step {upto[1]} of {upto[0]!r}"
    else:
        found = db.execute("SELECT seq FROM events WHERE seq = ? OR ? = 0 ORDER BY seq DESC", (upto, upto)).fetchone()
        what = f"event {upto}" if upto else "event"
    if found is None:
        raise JournalError(f"The journal {path} has no {what}. tercet journal show lists what there is.")
    return int(found[0])


def _forked(parent: Path, new: Path, seq: int, digest: bytes) -> tuple[object, ...]:
    run = new.absolute().parent.name
    body = encode({"run": run, "parent": parent.absolute().parent.name, "seq": seq, "hash": digest.hex()})
    head = (seq + 1, time.time_ns() // 1_000_000, "run.forked", "kernel", "", None, None)
    return (*head, body, chain_hash(digest, head, body))


def _write(path: Path, rows: sqlite3.Cursor, note: tuple[object, ...]) -> None:
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.executescript(SCHEMA)
            db.execute("BEGIN")
            db.executemany(INSERT, rows)
            db.execute(INSERT, note)
            db.execute("COMMIT")
    except sqlite3.Error as error:
        path.unlink(missing_ok=True)
        raise JournalError(
            f"The fork could not be written to {path.parent}: {error}. The parent is as it was."
        ) from error
