"""What a validator must not forget: its findings, and the rows it has pledged. SQLite, one writer.

Knows disk only. A validator killed at any moment goes on with what stands here; the salt of a commit is here
before the commit is sent, so no crash takes away the power to reveal.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tercet.errors import StateLockedError, StateMismatchError
from tercet.market import Verdict
from tercet.nodes.scores import Finding

__all__ = ["Book", "Pledge"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS origin (one INTEGER PRIMARY KEY CHECK (one = 1), text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS findings (
    epoch INTEGER NOT NULL, uid INTEGER NOT NULL, generation INTEGER NOT NULL, kind TEXT NOT NULL,
    score REAL NOT NULL, reason TEXT NOT NULL, measures TEXT NOT NULL, charged INTEGER NOT NULL, at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS findings_by_epoch ON findings (epoch);
CREATE TABLE IF NOT EXISTS spending (epoch INTEGER PRIMARY KEY, units INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS pledges (
    epoch INTEGER PRIMARY KEY, as_of INTEGER NOT NULL, salt BLOB NOT NULL, weights TEXT NOT NULL,
    evidence BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS packages (epoch INTEGER NOT NULL, finding INTEGER PRIMARY KEY, package BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS answers (
    epoch INTEGER NOT NULL, uid INTEGER NOT NULL, generation INTEGER NOT NULL, response BLOB NOT NULL,
    PRIMARY KEY (epoch, uid, generation));
CREATE TABLE IF NOT EXISTS logs (epoch INTEGER PRIMARY KEY, pool INTEGER NOT NULL, size INTEGER NOT NULL);
"""
KEPT_EPOCHS = 64
"""Older findings and pledges are deleted: they count for nothing any more. `verdicts.jsonl` keeps the history."""


KEPT_PACKAGES = 4
"""Packages are large and nobody asks for them once the votes on their epoch are over."""
_NOT_SAID = {"verdict", "package", "opening"}
"""What does not stand in `verdicts.jsonl`: large, or secret until an auditor asks."""


@dataclass(frozen=True, slots=True)
class Pledge:
    """A row on its way to the chain. Its digest follows from these and the validator's owner."""

    epoch: int
    as_of: int
    """The registration counter when the row was decided."""
    salt: bytes
    """32 secret bytes."""
    row: Sequence[int]
    """u16 weights."""
    evidence: bytes = bytes(32)
    """Root of the evaluation log behind the row; zeros mean none."""


class Book:
    """The state folder of one validator in one market.

    `verdicts.jsonl` beside the database is for people and tables: one JSON object a line, written for each finding
    (`event` "verdict") and for each miner of a decided row (`event` "score"); docs/decisions/0061-reasons.md.
    """

    def __init__(self, folder: Path, origin: str) -> None:
        """Open or make the state in `folder`.

        Args:
            folder: made if it is not there; only one process at a time.
            origin: what the state belongs to (chain, market, validator); any text, compared whole.

        Raises:
            StateLockedError: another process holds the folder.
            StateMismatchError: the folder holds the state of another origin.

        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _hold(folder)
        try:
            self._database = sqlite3.connect(folder / "validator.sqlite", isolation_level=None, timeout=5)
            # FULL: a salt must survive a power cut too, and there are only a few writes a second.
            self._database.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; {_SCHEMA}")
            self._bind(folder, origin)
        except BaseException:
            self.close()
            raise
        self._reasons = (folder / "verdicts.jsonl").open("a", encoding="utf-8", buffering=1)

    def close(self) -> None:
        """Let the folder go."""
        for held in (getattr(self, "_reasons", None), getattr(self, "_database", None)):
            if held is not None:
                held.close()
        os.close(self._lock)

    def record(self, finding: Finding) -> None:
        """Keep a finding, and say it in `verdicts.jsonl`."""
        self._insert(finding)
        self._say_finding(finding)

    def _insert(self, finding: Finding) -> None:
        measures = dict(finding.verdict.measures or {})
        done = self._database.execute(
            "INSERT INTO findings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(finding.epoch, finding.uid, finding.generation, finding.kind),
                *(finding.verdict.score, finding.verdict.reason, json.dumps(measures), finding.charged, finding.at),
            ),
        )
        if finding.package:
            self._database.execute(
                "INSERT INTO packages VALUES (?, ?, ?)", (finding.epoch, done.lastrowid, finding.package)
            )

    def _say_finding(self, finding: Finding) -> None:
        line = asdict(finding) | asdict(finding.verdict) | {"measures": dict(finding.verdict.measures or {})}
        self.say("verdict", {key: value for key, value in line.items() if key not in _NOT_SAID})

    def say(self, event: str, line: Mapping[str, Any]) -> None:
        """Append one line to `verdicts.jsonl`."""
        self._reasons.write(json.dumps({"event": event, **line}) + "\n")

    def findings(self, epoch: int) -> list[Finding]:
        """All findings that count for `epoch`, oldest first."""
        rows = self._database.execute("SELECT * FROM findings WHERE epoch = ? ORDER BY rowid", (epoch,))
        return [_build_finding(row) for row in rows]

    def start_log(self, epoch: int, pool: int) -> list[tuple[Finding, bytes]]:
        """Fix the log of an epoch, once: what was found until now, each with its package. Later findings are not in it.

        Only what has a package can be in a log.
        """
        size = self._database.execute("SELECT count(*) FROM packages WHERE epoch = ?", (epoch,)).fetchone()[0]
        self._database.execute("INSERT OR IGNORE INTO logs VALUES (?, ?, ?)", (epoch, pool, size))
        return self.log(epoch)[1]

    def log(self, epoch: int) -> tuple[int, list[tuple[Finding, bytes]]]:
        """(pool, the log of an epoch); (0, []) when there is none."""
        row = self._database.execute("SELECT pool, size FROM logs WHERE epoch = ?", (epoch,)).fetchone()
        if row is None:
            return 0, []
        query = (
            "SELECT f.*, package FROM packages JOIN findings f ON f.rowid = finding "
            "WHERE packages.epoch = ? ORDER BY finding LIMIT ?"
        )
        rows = self._database.execute(query, (epoch, row[1]))
        return row[0], [(_build_finding(found[:-1]), found[-1]) for found in rows]

    def taken(self, epoch: int) -> Counter[tuple[int, int]]:
        """How many findings there are of each (uid, generation)."""
        counts = self._database.execute(
            "SELECT uid, generation, count(*) FROM findings WHERE epoch = ? GROUP BY uid, generation", (epoch,)
        )
        return Counter({(uid, generation): count for uid, generation, count in counts})

    def keep_answer(self, epoch: int, tenant: tuple[int, int], response: bytes) -> None:
        """Keep what a contender of a round sent until the round is judged; on disk when this returns."""
        self._database.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)", (epoch, *tenant, response))

    def answered(self, epoch: int) -> list[tuple[int, int]]:
        """Whose answers in a round wait for its judgement, in order of uid."""
        query = "SELECT uid, generation FROM answers WHERE epoch = ? ORDER BY uid, generation"
        return [(uid, generation) for uid, generation in self._database.execute(query, (epoch,))]

    def answer(self, epoch: int, tenant: tuple[int, int]) -> bytes:
        """One that `answered` names."""
        query = "SELECT response FROM answers WHERE epoch = ? AND uid = ? AND generation = ?"
        return bytes(self._database.execute(query, (epoch, *tenant)).fetchone()[0])

    def forget_answers(self, before: int) -> None:
        """Drop the answers of rounds that nobody will judge any more."""
        self._database.execute("DELETE FROM answers WHERE epoch < ?", (before,))

    def judge_round(self, epoch: int, findings: Sequence[Finding]) -> None:
        """Put findings in the place of a round's answers, and of all before: all of it or, with a crash, nothing."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            for finding in findings:
                self._insert(finding)
            self._database.execute("DELETE FROM answers WHERE epoch <= ?", (epoch,))
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")
        for finding in findings:
            self._say_finding(finding)

    def spend(self, epoch: int, units: int) -> None:
        """Count `units` of credit against the epoch's budget; negative gives back what was not charged."""
        self._database.execute(
            "INSERT INTO spending VALUES (?, ?) ON CONFLICT (epoch) DO UPDATE SET units = units + excluded.units",
            (epoch, units),
        )

    def spent(self, epoch: int) -> int:
        """Credit units counted against the epoch's budget so far."""
        row = self._database.execute("SELECT units FROM spending WHERE epoch = ?", (epoch,)).fetchone()
        return int(row[0]) if row else 0

    def pledge(self, pledge: Pledge) -> None:
        """Write down a row and its salt, on disk when this returns. Forgets what is long past."""
        self._database.execute(
            "INSERT OR REPLACE INTO pledges VALUES (?, ?, ?, ?, ?)",
            (pledge.epoch, pledge.as_of, pledge.salt, json.dumps(list(pledge.row)), pledge.evidence),
        )
        for table in ("findings", "spending", "pledges", "logs"):
            self._database.execute(f"DELETE FROM {table} WHERE epoch < ?", (pledge.epoch - KEPT_EPOCHS,))  # noqa: S608
        self._database.execute("DELETE FROM packages WHERE epoch < ?", (pledge.epoch - KEPT_PACKAGES,))

    def pledged(self, epoch: int) -> Pledge | None:
        """The row pledged for `epoch`."""
        query = "SELECT as_of, salt, weights, evidence FROM pledges WHERE epoch = ?"
        row = self._database.execute(query, (epoch,)).fetchone()
        return Pledge(epoch, row[0], row[1], json.loads(row[2]), row[3]) if row else None

    def _bind(self, folder: Path, origin: str) -> None:
        self._database.execute("INSERT OR IGNORE INTO origin VALUES (1, ?)", (origin,))
        with closing(self._database.execute("SELECT text FROM origin")) as rows:
            (known,) = rows.fetchone()
        if known != origin:
            raise StateMismatchError(
                f"The folder {str(folder)!r} holds the state of {known!r}, not of {origin!r}. "
                "Name another folder, or remove this one if that chain is gone."
            )


def _build_finding(row: Sequence[Any]) -> Finding:
    epoch, uid, generation, kind, score, reason, measures, charged, at = row
    return Finding(epoch, uid, generation, kind, Verdict(score, reason, json.loads(measures) or None), charged, at)


def _hold(folder: Path) -> int:
    """Take the folder's lock, which ends with the process however it ends; the open file descriptor."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 20, 0).decode(errors="replace") or "unknown"
        os.close(lock)
        raise StateLockedError(
            f"The folder {str(folder)!r} is in use by process {holder}: two validators on one state would commit "
            "twice and lose salts. Stop that process, or name another folder."
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock
