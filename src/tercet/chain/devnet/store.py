"""The chain on disk: accounts, storage, code, blocks, transactions and logs in one SQLite file.

Knows tables, nothing of the EVM. The chain writes each block inside one `transaction()`, so a
kill at any instant leaves whole blocks: the file is in WAL mode with synchronous=NORMAL.
Only the thread that opened a store may use it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tercet.errors import ChainError

MAX_LOGS = 20_000
"""Most logs one query returns; more is refused, so that no caller can make the node read everything."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS account (
  address BLOB PRIMARY KEY, nonce INTEGER NOT NULL, balance TEXT NOT NULL, code_hash BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS code (hash BLOB PRIMARY KEY, code BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS storage (
  address BLOB NOT NULL, slot BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY (address, slot)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS block (
  number INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, parent BLOB NOT NULL, timestamp INTEGER NOT NULL,
  base_fee INTEGER NOT NULL, gas_limit INTEGER NOT NULL, gas_used INTEGER NOT NULL, mix BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS tx (
  hash BLOB PRIMARY KEY, block INTEGER NOT NULL, raw BLOB NOT NULL, sender BLOB NOT NULL, status INTEGER NOT NULL,
  gas_used INTEGER NOT NULL, gas_price INTEGER NOT NULL, created BLOB, revert BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tx_block ON tx (block);
CREATE TABLE IF NOT EXISTS log (
  block INTEGER NOT NULL, position INTEGER NOT NULL, address BLOB NOT NULL, topic0 BLOB, topic1 BLOB, topic2 BLOB,
  topic3 BLOB, data BLOB NOT NULL, PRIMARY KEY (block, position)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS log_address_topic ON log (address, topic0, block);
CREATE INDEX IF NOT EXISTS log_address ON log (address, block);
CREATE INDEX IF NOT EXISTS log_topic ON log (topic0, block);
"""


@dataclass(frozen=True, slots=True)
class Block:
    """A mined block; it holds one transaction, or none when it was mined empty."""

    number: int
    hash: bytes
    parent: bytes
    timestamp: int
    base_fee: int
    gas_limit: int
    gas_used: int
    mix: bytes
    """PREVRANDAO of the block: keccak of the parent's hash. Predictable, as on any development chain."""


@dataclass(frozen=True, slots=True)
class Mined:
    """A transaction with its outcome."""

    hash: bytes
    block: int
    raw: bytes
    sender: bytes
    status: int
    gas_used: int
    gas_price: int
    """Effective price in wei a gas."""
    created: bytes | None
    """Address of the contract that a creation made, reverted or not."""
    revert: bytes
    """Return data of a reverted transaction."""


@dataclass(frozen=True, slots=True)
class LogRow:
    """One event as the EVM emitted it."""

    block: int
    position: int
    address: bytes
    topic0: bytes | None
    topic1: bytes | None
    topic2: bytes | None
    topic3: bytes | None
    data: bytes

    @property
    def topics(self) -> list[bytes]:
        """The topics that are there, in order."""
        return [t for t in (self.topic0, self.topic1, self.topic2, self.topic3) if t is not None]


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Which logs: blocks `first` to `last`, any of `addresses`, and for each topic position any of the values."""

    first: int
    last: int
    addresses: tuple[bytes, ...] = ()
    topics: tuple[tuple[bytes, ...], ...] = ()
    """An empty tuple at a position matches anything there."""


class TooManyLogsError(ChainError):
    """A log query matches more than `MAX_LOGS`."""


def _insert(table: str, kind: type) -> str:
    names = [f.name for f in fields(kind)]
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608  # constants


def _row(value: Block | Mined | LogRow) -> tuple[Any, ...]:
    # dataclasses.astuple copies deeply, which costs more here than the insert.
    return tuple(getattr(value, name) for name in value.__slots__)


_INSERT_BLOCK = _insert("block", Block)
_INSERT_TX = _insert("tx", Mined)
_INSERT_LOG = _insert("log", LogRow)


class Store:
    """The tables of one chain."""

    def __init__(self, path: Path) -> None:
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=5)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise ChainError(
                f"Cannot open the chain's store {path}: {error}. Move the folder away to start a new chain."
            ) from error

    def close(self) -> None:
        """Give the file back; a store is not used after this."""
        self._db.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside come to be together, or not at all.

        Raises:
            ChainError: the disk refused, for instance because it is full. Nothing was written.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise ChainError(f"The chain's store refused the block: {error}. Nothing was written.") from error
            raise

    def meta(self, name: str) -> str | None:
        """A named fact about the chain."""
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, name: str, value: str) -> None:
        """Remember a named fact."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def account(self, address: bytes) -> tuple[int, int, bytes] | None:
        """Nonce, balance in wei, code hash."""
        row = self._db.execute("SELECT nonce, balance, code_hash FROM account WHERE address = ?", (address,)).fetchone()
        return None if row is None else (row[0], int(row[1]), row[2])

    def code(self, digest: bytes) -> bytes:
        """The code with this keccak hash."""
        row = self._db.execute("SELECT code FROM code WHERE hash = ?", (digest,)).fetchone()
        return b"" if row is None else bytes(row[0])

    def slot(self, address: bytes, slot: int) -> int:
        """A storage word; 0 where nothing was written."""
        key = (address, slot.to_bytes(32, "big"))
        row = self._db.execute("SELECT value FROM storage WHERE address = ? AND slot = ?", key).fetchone()
        return 0 if row is None else int.from_bytes(row[0], "big")

    def put_accounts(self, rows: Iterable[tuple[bytes, tuple[int, int, bytes] | None]]) -> None:
        """Write accounts; None deletes."""
        for address, account in rows:
            if account is None:
                self._db.execute("DELETE FROM account WHERE address = ?", (address,))
            else:
                nonce, balance, digest = account
                values = (address, nonce, str(balance), digest)
                self._db.execute("INSERT OR REPLACE INTO account VALUES (?, ?, ?, ?)", values)

    def put_codes(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Write code by its hash."""
        self._db.executemany("INSERT OR IGNORE INTO code VALUES (?, ?)", rows)

    def wipe_storage(self, addresses: Iterable[bytes]) -> None:
        """Forget all storage of these accounts."""
        self._db.executemany("DELETE FROM storage WHERE address = ?", [(a,) for a in addresses])

    def put_slots(self, rows: Iterable[tuple[bytes, int, int]]) -> None:
        """Write storage words; 0 deletes."""
        kept, gone = [], []
        for address, slot, value in rows:
            key = slot.to_bytes(32, "big")
            if value:
                kept.append((address, key, value.to_bytes((value.bit_length() + 7) // 8, "big")))
            else:
                gone.append((address, key))
        self._db.executemany("INSERT OR REPLACE INTO storage VALUES (?, ?, ?)", kept)
        self._db.executemany("DELETE FROM storage WHERE address = ? AND slot = ?", gone)

    def add_block(self, block: Block, mined: Mined | None, logs: Sequence[LogRow]) -> None:
        """Append a block with its transaction and logs."""
        self._db.execute(_INSERT_BLOCK, _row(block))
        if mined is not None:
            self._db.execute(_INSERT_TX, _row(mined))
        self._db.executemany(_INSERT_LOG, [_row(row) for row in logs])

    def head(self) -> Block | None:
        """The newest block."""
        return self._block("ORDER BY number DESC LIMIT 1", ())

    def block(self, number: int) -> Block | None:
        """A block by number."""
        return self._block("WHERE number = ?", (number,))

    def block_by_hash(self, digest: bytes) -> Block | None:
        """A block by hash."""
        return self._block("WHERE hash = ?", (digest,))

    def hashes_before(self, number: int, count: int) -> list[bytes]:
        """Hashes of up to `count` blocks below `number`, newest first."""
        sql = "SELECT hash FROM block WHERE number < ? ORDER BY number DESC LIMIT ?"
        return [row[0] for row in self._db.execute(sql, (number, count))]

    def _block(self, where: str, values: tuple[object, ...]) -> Block | None:
        row = self._db.execute(f"SELECT * FROM block {where}", values).fetchone()  # noqa: S608  # constants above
        return None if row is None else Block(*row)

    def mined(self, digest: bytes) -> Mined | None:
        """A transaction by hash."""
        row = self._db.execute("SELECT * FROM tx WHERE hash = ?", (digest,)).fetchone()
        return None if row is None else Mined(*row)

    def mined_in(self, number: int) -> Mined | None:
        """The transaction of a block."""
        row = self._db.execute("SELECT * FROM tx WHERE block = ?", (number,)).fetchone()
        return None if row is None else Mined(*row)

    def block_logs(self, number: int) -> list[LogRow]:
        """All logs of a block."""
        return [
            LogRow(*row) for row in self._db.execute("SELECT * FROM log WHERE block = ? ORDER BY position", (number,))
        ]

    def logs(self, query: LogQuery) -> list[tuple[LogRow, bytes, bytes]]:
        """Matching logs in chain order, each with its transaction's and its block's hash.

        Raises:
            TooManyLogsError: more than `MAX_LOGS` match.
        """
        where, values = _conditions(query)
        sql = (  # only placeholders and column names are put in
            "SELECT l.*, t.hash, b.hash FROM log l JOIN tx t ON t.block = l.block JOIN block b ON b.number = l.block "  # noqa: S608
            f"WHERE l.block BETWEEN ? AND ?{where} ORDER BY l.block, l.position LIMIT ?"
        )
        rows = self._db.execute(sql, (query.first, query.last, *values, MAX_LOGS + 1)).fetchall()
        if len(rows) > MAX_LOGS:
            raise TooManyLogsError(f"More than {MAX_LOGS} logs match. Ask for fewer blocks at a time.")
        return [(LogRow(*row[:8]), row[8], row[9]) for row in rows]


def _conditions(query: LogQuery) -> tuple[str, list[bytes]]:
    where, values = "", list[bytes]()
    columns = [("address", query.addresses)]
    columns += [(f"topic{i}", wanted) for i, wanted in enumerate(query.topics)]
    for column, wanted in columns:
        if wanted:
            where += f" AND l.{column} IN ({', '.join('?' * len(wanted))})"
            values += wanted
    if query.topics:  # a shorter log does not match even a wildcard at a position it lacks
        where += f" AND l.topic{len(query.topics) - 1} IS NOT NULL"
    return where, values
