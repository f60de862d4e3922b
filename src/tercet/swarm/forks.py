"""Forks: a new run that shares the beginning of another, to try from there what it would have been otherwise.

The copied events keep their hashes, so the new journal proves what it came from; its first event of its own,
`run.forked`, names the parent and the hash it left at. Contents of files are shared: nobody writes to one again.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from tercet.errors import JournalError, UnknownEventError, WorkspaceError
from tercet.swarm.events import (
    COLUMNS,
    Event,
    chain_hash,
    encode,
    event_of,
    open_journal,
    read_events,
    select_events,
    unreadable,
    verify_chain,
)
from tercet.swarm.journal import INSERT, SCHEMA
from tercet.swarm.state import fold
from tercet.swarm.views import RunState

__all__ = ["Cut", "copy_contents", "find_cut", "fork", "fork_run"]

_UNFINISHED = shutil.ignore_patterns(".*")
"""Contents that are being written: nobody speaks of them yet."""
_MOST_DIGITS = 18
"""Of a number that SQLite can hold."""
Cut = int | tuple[str, int]
"""The last event of the parent that a fork has: its number, or its scope and number where it is a step. 0 is all."""


def find_cut(journal_path: Path, where: str) -> Cut:
    """The cut that a person names.

    Args:
        journal_path: the parent.
        where: the number of an event; `SCOPE#N` of a step; a task's id, for all that was before the task was begun;
            empty for all.

    Raises:
        UnknownEventError: there is no such place.

    """
    if not where:
        return 0
    if where.isdecimal():
        number = _number(where)
        if not number:  # as a `Cut` it is all
            run = journal_path.parent.name
            raise UnknownEventError(
                f"{run}@{where} names no event: they count from 1. Name a later one, a task, or {run} alone for all of it."
            )
        return number
    if step := re.fullmatch(r"(.+)#(\d+)", where):
        return step[1], _number(step[2])
    begun = next((each for each in read_events(journal_path, kinds=("task.started",)) if each.task == where), None)
    if begun is None:
        raise UnknownEventError(
            f"No task {where!r} was begun in {journal_path.parent.name}. Name a task that was, the number of an event, or a"
            f" step as SCOPE#N: tercet journal show {journal_path.parent.name}."
        )
    return begun.seq - 1


def _number(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise UnknownEventError(
            f"No journal has an event or a step {digits[:_MOST_DIGITS]}...: that number is too long."
        )
    return int(digits)


def fork_run(parent: Path, folder: Path, *, upto: Cut = 0, changes: Mapping[str, Any] | None = None) -> RunState:
    """Make a run of another's beginning; `resume` goes on with it. The parent may be at work, and is only read.

    Args:
        parent: folder of the run.
        folder: of the new one, empty; its name is the new run's id.
        upto: the last event that both share.
        changes: what of the run's configuration is another from here on, such as the model.

    Returns:
        What the new run is now; what the copied part spent counts as spent.

    Raises:
        DamagedJournalError: the parent was changed.
        UnknownEventError: there is no such event.
        JournalError: there is nothing to go on with from there.

    """
    last = _open_at(parent / "journal.db", upto)
    copy_contents(parent, folder)  # after the cut is chosen: what events speak of is there before they are
    fork(parent / "journal.db", folder / "journal.db", upto=last, changes=changes)  # the last: with it there is a run
    return fold(read_events(folder / "journal.db"))


def copy_contents(parent: Path, folder: Path) -> None:
    """What a run's journal speaks of and does not hold: its original files, all contents, its hidden tests.

    Raises:
        WorkspaceError: they are gone, or there is no room for them.

    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        shutil.copy2(parent / "original.json", folder / "original.json")
        shutil.copytree(
            parent / "blobs", folder / "blobs", copy_function=_share, ignore=_UNFINISHED, dirs_exist_ok=True
        )
        if (parent / "hidden").is_dir():
            shutil.copytree(parent / "hidden", folder / "hidden", dirs_exist_ok=True)
    except OSError as error:
        raise WorkspaceError(f"The files of the run in {parent} cannot be copied to {folder}: {error}.") from error


def _share(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copy2(source, target)


def _open_at(path: Path, upto: Cut) -> int:
    """The number of the last event to share, behind which the run goes on."""
    with closing(open_journal(path, readonly=True)) as db:
        last = _last(db, path, upto)
        state = fold(event for event in select_events(db, path, 0, ()) if event.seq <= last)
    if not state.run.goal:
        raise JournalError(f"The run {path.parent.name} had not begun at event {last}. Name a later one.")
    if state.run.status in {"done", "failed"}:
        raise JournalError(
            f"The run {path.parent.name} had ended at event {last}: {state.run.status}. Fork it at an earlier one, or before a"
            f" task: {path.parent.name}@TASK."
        )
    return last


def fork(journal_path: Path, new_path: Path, *, upto: Cut = 0, changes: Mapping[str, Any] | None = None) -> Event:
    """Copy a journal up to an event into a new one. The parent may be at work; it is only read.

    Args:
        journal_path: the parent.
        new_path: where the new journal is to be; the name of its folder is the new run's id.
        upto: the last event to copy.
        changes: of the run's configuration, from here on.

    Returns:
        The new journal's last event, `run.forked`.

    Raises:
        DamagedJournalError: the parent was changed.
        UnknownEventError: there is no such event.
        JournalError: there is something at `new_path`.

    """
    if new_path.exists():
        raise JournalError(f"There is a journal at {new_path} already. Give the fork a folder of its own.")
    with closing(open_journal(journal_path, readonly=True)) as parent:
        last = _last(parent, journal_path, upto)
        seq, digest = verify_chain(parent, journal_path, upto=last)
        rows = parent.execute(f"SELECT {COLUMNS} FROM events WHERE seq <= ? ORDER BY seq", (seq,))  # noqa: S608 - constant columns
        note = _forked(journal_path, new_path, seq, digest, changes)
        half = new_path.with_suffix(".half")
        half.unlink(missing_ok=True)
        _write(half, rows, note)
    half.replace(new_path)
    return event_of(note)


def _last(db: sqlite3.Connection, path: Path, upto: Cut) -> int:
    values: tuple[str | int, int]
    if isinstance(upto, tuple):
        what, where, values = f"step {upto[1]} of {upto[0]!r}", "scope = ? AND number = ?", upto
    else:
        what, where, values = f"event {upto}" if upto else "event", "seq = ? OR ? = 0", (upto, upto)
    try:
        found = db.execute(f"SELECT seq FROM events WHERE {where} ORDER BY seq DESC", values).fetchone()  # noqa: S608 - constants
    except sqlite3.Error as error:
        raise unreadable(path, error, 1) from error
    if found is None:
        missing = UnknownEventError if upto else JournalError
        raise missing(f"The journal {path} has no {what}. tercet journal show lists what there is.")
    return int(found[0])


def _forked(parent: Path, new: Path, seq: int, digest: bytes, changes: Mapping[str, Any] | None) -> tuple[object, ...]:
    run, changed = new.absolute().parent.name, {"config": dict(changes)} if changes else {}
    body = encode({"run": run, "parent": parent.absolute().parent.name, "seq": seq, "hash": digest.hex(), **changed})
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
