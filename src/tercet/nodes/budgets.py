"""API keys' budgets and the journal of receipts, in one SQLite file so that both always agree.

A call *reserves* what it can cost at most, then is *settled* by its receipt: the charge moves from reserved to spent,
the rest is free again, and the receipt is written, all in one transaction. Whatever kills the process in between leaves
a reservation without a receipt; `recover` turns it into a receipt that says "lost" and charges nothing.

Invariants, checked by the database itself or by `check`: spent + reserved <= budget; spent is the sum of the receipts;
reserved is the sum of the reservations. Several processes may work on the file at once (a gateway and the commands that
manage keys); writers take turns.

A client may give a call a name, its idempotency key. A name is charged once at most: it may be used again only where its
call cost nothing, and never once the client gave it up. So who lost an answer can ask what it cost, and be sure of it.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self, TypeAlias

from tercet.errors import BudgetSpentError, UnknownKeyError, UsageError
from tercet.market import CREDIT, Amount, Receipt

__all__ = ["ApiKey", "Budgets", "KeyState", "NamedCall", "budget_spent"]

KeyState: TypeAlias = Literal["live", "expired", "revoked"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS keys (
    id TEXT PRIMARY KEY, hash BLOB NOT NULL UNIQUE, name TEXT NOT NULL, weight INTEGER NOT NULL CHECK (weight >= 1),
    budget INTEGER NOT NULL, spent INTEGER NOT NULL DEFAULT 0 CHECK (spent >= 0),
    reserved INTEGER NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    created_ms INTEGER NOT NULL, expires_ms INTEGER, revoked_ms INTEGER,
    CHECK (spent + reserved <= budget)
) STRICT;
CREATE TABLE IF NOT EXISTS reservations (
    id TEXT PRIMARY KEY, key TEXT NOT NULL REFERENCES keys (id), amount INTEGER NOT NULL CHECK (amount >= 0),
    draft TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS receipts (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, key TEXT NOT NULL REFERENCES keys (id),
    charged INTEGER NOT NULL CHECK (charged >= 0), body TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS receipts_by_key ON receipts (key, seq);
CREATE TABLE IF NOT EXISTS names (
    key TEXT NOT NULL REFERENCES keys (id), name TEXT NOT NULL, call TEXT NOT NULL,
    given_up INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (key, name)
) STRICT, WITHOUT ROWID;
"""
_KEYS = "SELECT id, name, weight, budget, spent, reserved, created_ms, expires_ms, revoked_ms FROM keys "


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of an API key; its secret is not. Money in credit units, times in Unix milliseconds."""

    id: str
    name: str
    weight: int
    """Its share of the queue when the gateway is full, relative to other keys; 1 or more."""
    budget: int
    spent: int
    reserved: int
    created_ms: int
    expires_ms: int | None
    revoked_ms: int | None

    @property
    def left(self) -> int:
        """Credit units that a call may still reserve."""
        return self.budget - self.spent - self.reserved

    def state(self, now_ms: int) -> KeyState:
        """Whether the key opens anything at `now_ms`."""
        if self.revoked_ms is not None:
            return "revoked"
        return "expired" if self.expires_ms is not None and self.expires_ms <= now_ms else "live"


@dataclass(frozen=True, slots=True)
class NamedCall:
    """What became of a call that its client named. Nothing is charged for it any more once it was given up."""

    name: str
    receipt: Receipt | None
    """None where nothing was ever sent to a miner, which costs nothing."""
    given_up: bool

    @property
    def charged(self) -> int:
        """Credit units."""
        return 0 if self.receipt is None else self.receipt.charged


def budget_spent(needed: int, left: int) -> BudgetSpentError:
    """What a key is told that has too little for a call; both in credit units."""
    return BudgetSpentError(
        f"The budget of this API key is out: the call needs {Amount(needed, CREDIT)}, {Amount(left, CREDIT)} is left."
        " Ask for fewer tokens, or raise the budget: tercet key budget.",
        needed=needed,
        left=left,
    )


class Budgets:
    """The file of keys, reservations and receipts. One instance belongs to one thread."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it (readable by its owner only)."""
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self.path = path
        self._db = sqlite3.connect(path, timeout=10, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        # A killed process loses nothing that was committed; a power cut may lose the last moments, never half of one.
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("PRAGMA foreign_keys=ON")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Give the file back."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it, or none of it."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # keys

    def add_key(self, key: ApiKey, secret_hash: bytes) -> None:
        """Write a new key down; only the hash of its secret is kept."""
        with self._writing() as db:
            db.execute(
                "INSERT INTO keys (id, hash, name, weight, budget, created_ms, expires_ms) VALUES (?,?,?,?,?,?,?)",
                (key.id, secret_hash, key.name, key.weight, key.budget, key.created_ms, key.expires_ms),
            )

    def keys(self) -> list[ApiKey]:
        """All keys ever made, the oldest first."""
        return [ApiKey(*row) for row in self._db.execute(_KEYS + "ORDER BY created_ms, id")]

    def key(self, key_id: str) -> ApiKey:
        """The key with this id.

        Raises:
            UsageError: there is none.

        """
        row = self._db.execute(_KEYS + "WHERE id = ?", (key_id,)).fetchone()
        if row is None:
            raise UsageError(f"No API key has the id {key_id!r}. tercet key list shows those there are.")
        return ApiKey(*row)

    def find(self, secret_hash: bytes) -> ApiKey:
        """The live key whose secret has this hash.

        Raises:
            UnknownKeyError: no key has it, or the key expired or was revoked.

        """
        row = self._db.execute(_KEYS + "WHERE hash = ?", (secret_hash,)).fetchone()
        if row is None:
            raise UnknownKeyError("unknown")
        key = ApiKey(*row)
        if (state := key.state(_now_ms())) != "live":
            raise UnknownKeyError(state)
        return key

    def revoke(self, key_id: str) -> ApiKey:
        """End a key now. Calls in flight are settled; revoking twice changes nothing."""
        with self._writing() as db:
            db.execute(
                "UPDATE keys SET revoked_ms = ? WHERE id = ? AND revoked_ms IS NULL", (_now_ms(), self.key(key_id).id)
            )
        return self.key(key_id)

    def set_budget(self, key_id: str, budget: int) -> ApiKey:
        """Give a key a new total budget, in credit units.

        Raises:
            UsageError: the key has spent or reserved more than that already.

        """
        with self._writing() as db:
            key = self.key(key_id)
            if budget < key.spent + key.reserved:
                spent, reserved = Amount(key.spent, CREDIT), Amount(key.reserved, CREDIT)
                raise UsageError(
                    f"Key {key_id!r} has spent {spent} and reserved {reserved}: its budget cannot be {Amount(budget, CREDIT)}."
                    f" Set at least {spent + reserved}, or revoke the key."
                )
            db.execute("UPDATE keys SET budget = ? WHERE id = ?", (budget, key_id))
        return self.key(key_id)

    # calls

    def reserve(self, draft: Receipt, amount: int) -> None:
        """Set `amount` credit units aside for the call that `draft` describes.

        The call's id is the idempotency key: reserving again for the same call replaces its reservation (a retry with
        a dearer miner), so that asking twice never holds twice.

        Raises:
            BudgetSpentError: the key has not that much left; what was reserved before stays.
            UnknownKeyError: the key was revoked or has expired.

        """
        with self._writing() as db:
            if self._receipt(draft.id) is not None:
                return
            key, held = self.key(draft.key), self._held(draft.id)
            if (state := key.state(_now_ms())) != "live":
                raise UnknownKeyError(state)
            if amount > key.left + held:
                raise budget_spent(amount, key.left + held)
            db.execute("UPDATE keys SET reserved = reserved + ? WHERE id = ?", (amount - held, key.id))
            db.execute(
                "INSERT INTO reservations VALUES (?,?,?,?) ON CONFLICT (id) DO UPDATE SET amount=excluded.amount,"
                " draft=excluded.draft",
                (draft.id, draft.key, amount, json.dumps(draft.to_json())),
            )

    def settle(self, receipt: Receipt) -> None:
        """End a call: charge the receipt, free the rest of its reservation, write the receipt. Twice changes nothing.

        Raises:
            ValueError: the charge is above the reservation.

        """
        with self._writing() as db:
            if self._receipt(receipt.id) is not None:
                return
            held = self._held(receipt.id)
            if not 0 <= receipt.charged <= held:
                raise ValueError(f"call {receipt.id} charges {receipt.charged} of {held} reserved credit units")
            db.execute("DELETE FROM reservations WHERE id = ?", (receipt.id,))
            db.execute(
                "UPDATE keys SET reserved = reserved - ?, spent = spent + ? WHERE id = ?",
                (held, receipt.charged, receipt.key),
            )
            db.execute(
                "INSERT INTO receipts (id, key, charged, body) VALUES (?,?,?,?)",
                (receipt.id, receipt.key, receipt.charged, json.dumps(receipt.to_json())),
            )

    def release(self, call_id: str) -> None:
        """Free what a call reserved, without a receipt: it never went out. Twice changes nothing."""
        with self._writing() as db:
            row = db.execute("DELETE FROM reservations WHERE id = ? RETURNING key, amount", (call_id,)).fetchone()
            if row is not None:
                db.execute("UPDATE keys SET reserved = reserved - ? WHERE id = ?", (row[1], row[0]))

    def recover(self) -> list[Receipt]:
        """At start: end every call that a killed process left open, charging nothing. Returns their receipts."""
        lost = [
            replace(Receipt.from_json(json.loads(draft)), status="lost", charged=0, detail="the gateway stopped")
            for (draft,) in self._db.execute("SELECT draft FROM reservations ORDER BY rowid").fetchall()
        ]
        for receipt in lost:
            self.settle(receipt)
        return lost

    # names of calls

    def name_call(self, key_id: str, name: str, call_id: str) -> NamedCall | None:
        """Let `name` mean this call from now on; or what it means already, where it cannot be used again."""
        with self._writing() as db:
            before = self.named_call(key_id, name)
            if before is not None and (before.given_up or before.charged):
                return before
            db.execute(
                "INSERT INTO names (key, name, call) VALUES (?,?,?) ON CONFLICT (key, name) DO UPDATE SET call=excluded.call",
                (key_id, name, call_id),
            )
        return None

    def give_up(self, key_id: str, name: str) -> NamedCall:
        """Close `name` for good, whether its call came, is under way or never arrives; what it cost. Twice is fine."""
        with self._writing() as db:
            db.execute(
                "INSERT INTO names VALUES (?,?,'',1) ON CONFLICT (key, name) DO UPDATE SET given_up=1", (key_id, name)
            )
            found = self.named_call(key_id, name)
        assert found is not None
        return found

    def named_call(self, key_id: str, name: str) -> NamedCall | None:
        """The call that this key named so; None where it named none."""
        row = self._db.execute("SELECT call, given_up FROM names WHERE key = ? AND name = ?", (key_id, name)).fetchone()
        return None if row is None else NamedCall(name, self.receipt(row[0]), bool(row[1]))

    # receipts

    def receipt(self, receipt_id: str) -> Receipt | None:
        """The receipt of that id, or None."""
        body = self._receipt(receipt_id)
        return None if body is None else Receipt.from_json(json.loads(body))

    def receipts(self, key_id: str | None = None, *, after: str | None = None, limit: int = 20) -> Sequence[Receipt]:
        """Receipts, the newest first: of one key or (None) of all, `limit` of them, from behind the id `after`."""
        rows = self._db.execute(
            "SELECT body FROM receipts WHERE (:key IS NULL OR key = :key)"
            " AND (:after IS NULL OR seq < (SELECT seq FROM receipts WHERE id = :after))"
            " ORDER BY seq DESC LIMIT :limit",
            {"key": key_id, "after": after, "limit": limit},
        )
        return [Receipt.from_json(json.loads(body)) for (body,) in rows]

    def check(self) -> list[str]:
        """What does not balance, a sentence each; empty when every unit is accounted for."""
        rows = self._db.execute(
            "SELECT id, budget, spent, reserved,"
            " (SELECT coalesce(sum(charged), 0) FROM receipts WHERE key = keys.id),"
            " (SELECT coalesce(sum(amount), 0) FROM reservations WHERE key = keys.id) FROM keys"
        ).fetchall()
        faults = []
        for key_id, budget, spent, reserved, charged, held in rows:
            if spent != charged:
                faults.append(f"key {key_id} has spent {spent}, its receipts say {charged}")
            if reserved != held:
                faults.append(f"key {key_id} has reserved {reserved}, its calls hold {held}")
            if spent + reserved > budget:
                faults.append(f"key {key_id} has spent and reserved {spent + reserved} of {budget}")
        return faults

    def _receipt(self, receipt_id: str) -> str | None:
        row = self._db.execute("SELECT body FROM receipts WHERE id = ?", (receipt_id,)).fetchone()
        return None if row is None else str(row[0])

    def _held(self, call_id: str) -> int:
        row = self._db.execute("SELECT amount FROM reservations WHERE id = ?", (call_id,)).fetchone()
        return 0 if row is None else int(row[0])


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
