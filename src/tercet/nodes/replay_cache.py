"""Nonces of signed requests, on disk: a request is good once, before a restart and after it."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

from tercet.errors import RefusalError

CAPACITY = 200_000
_PURGE_EVERY = 512


class ReplayCache:
    """Remembers (sender, nonce) until the request that carried it would be refused for its age.

    When it is full it refuses new signed requests (`busy`) and forgets nothing: forgetting would
    let an old request in again.
    """

    def __init__(self, path: Path | str, *, capacity: int = CAPACITY) -> None:
        self._capacity, self._adds = capacity, 0
        self._db = sqlite3.connect(path, isolation_level=None)
        # NORMAL: a commit survives kill -9; losing the last ones to a power cut costs at most
        # LIFE_MS of replays on a machine that was down for longer than that.
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("CREATE TABLE IF NOT EXISTS seen (id BLOB PRIMARY KEY, expires INTEGER) WITHOUT ROWID")
        self._db.execute("CREATE INDEX IF NOT EXISTS seen_expires ON seen (expires)")
        self._count = self._db.execute("SELECT count(*) FROM seen").fetchone()[0]

    def __len__(self) -> int:
        return int(self._count)

    def validate_new(self, sender: str, nonce: str) -> None:
        """Refuse with `replayed` a nonce that is known."""
        if self._db.execute("SELECT 1 FROM seen WHERE id = ?", (_name(sender, nonce),)).fetchone():
            raise RefusalError("replayed")

    def add(self, sender: str, nonce: str, expires: int, now_ms: int) -> None:
        """Remember a nonce; refuse with `replayed` one that is known."""
        self._adds += 1
        if self._adds % _PURGE_EVERY == 0 or self._count >= self._capacity:
            self._count -= self._db.execute("DELETE FROM seen WHERE expires < ?", (now_ms,)).rowcount
        if self._count >= self._capacity:
            raise RefusalError("busy", retry_after=5)
        try:
            self._db.execute("INSERT INTO seen VALUES (?, ?)", (_name(sender, nonce), expires))
        except sqlite3.IntegrityError:
            raise RefusalError("replayed") from None
        self._count += 1

    def close(self) -> None:
        """Let the file go."""
        self._db.close()


def _name(sender: str, nonce: str) -> bytes:
    return hashlib.sha256(f"{sender}\n{nonce}".encode()).digest()[:16]
