"""The chain: takes raw transactions, makes one block of each, answers questions about them.

Everything here is synchronous and belongs to one thread (the server's EVM thread). A block is one
SQLite transaction, so opening a chain again is reading its newest row.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import rlp

from tercet.chain.devnet.accounts import Accounts
from tercet.chain.devnet.evm import (
    CallTransaction,
    Evm,
    InvalidTransactionError,
    NonceTooHighError,
    Outcome,
    Slot,
    decode_transaction,
    next_base_fee,
)
from tercet.chain.devnet.store import Block, LogRow, Mined, Store
from tercet.chain.files import make_folder, write_atomic
from tercet.chain.keys import Key, keccak, parse_address
from tercet.errors import ChainBusyError, ChainError, WrongChainError

DEFAULT_CHAIN_ID = 8_411_000_337
"""Ours alone, so that nothing signed here is good on a public chain."""
PUBLIC_CHAIN_IDS = frozenset(
    {1, 10, 25, 56, 100, 137, 250, 324, 1101, 5000, 8453, 17000, 42161, 42220, 43114, 59144, 80002, 84532, 534352}
    | {421614, 560048, 11155111, 11155420}
)
FAUCET_WEI = 10**9 * 10**18
_GENESIS_BASE_FEE = 1_142_857_142
"""Falls to exactly 1 gwei for the first block after an empty genesis, where anvil begins too."""
_MAX_WAITING = 1_000


@dataclass(frozen=True, slots=True)
class Settings:
    """What a chain is made with. Its id is fixed at genesis; the rest may differ at each start."""

    chain_id: int = DEFAULT_CHAIN_ID
    gas_limit: int = 30_000_000
    clock: Callable[[], float] = time.time
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A mined transaction in its block, with its logs."""

    mined: Mined
    block: Block
    logs: list[LogRow]


class Chain:
    """A chain in a folder: `chain.sqlite`, `faucet.key`, `lock`."""

    def __init__(self, folder: Path, settings: Settings | None = None) -> None:
        self.folder, self.settings = folder, settings or Settings()
        if self.settings.chain_id in PUBLIC_CHAIN_IDS or self.settings.chain_id < 1:
            raise WrongChainError(
                f"Chain id {self.settings.chain_id} belongs to a public chain, where what is signed here would be "
                f"good too. Use another one, such as {DEFAULT_CHAIN_ID}."
            )
        make_folder(folder, mode=0o700)
        self._lock = _lock(folder)
        self._waiting: dict[tuple[bytes, int], Any] = {}
        try:
            self.store = Store(folder / "chain.sqlite")
            self.accounts = Accounts(self.store)
            self.evm = Evm(self.accounts)
            head = self.store.head()
            self.faucet = _load_faucet(folder, fresh=head is None)
            self.head = head or self._genesis()
            self._check_id()
            self._drift = int(self.store.meta("drift") or 0)
            self._next_timestamp: int | None = None
            self._ancestors = self.store.hashes_before(self.head.number, 255)
        except BaseException:
            self._lock.close()
            raise

    def close(self) -> None:
        """Release the folder for another process."""
        self.store.close()
        self._lock.close()

    def _check_id(self) -> None:
        stored = self.store.meta("chain_id")
        if stored != str(self.settings.chain_id):
            raise WrongChainError(
                f"The chain in {self.folder} has id {stored}, not {self.settings.chain_id}. "
                f"Start it with its own id, or use another folder for a new chain."
            )

    def _genesis(self) -> Block:
        now = int(self.settings.clock())
        block = _seal(bytes(32), 0, now, _GENESIS_BASE_FEE, self.settings.gas_limit, 0)
        with self._undone_on_failure(), self.store.transaction():
            self.accounts.set_balance(parse_address(self.faucet.address), FAUCET_WEI)
            self.accounts.lock_changes()
            self.accounts.flush()
            self.store.set_meta("chain_id", str(self.settings.chain_id))
            self.store.add_block(block, None, [])
        self.accounts.flushed()
        return block

    # time

    def now(self) -> int:
        """The timestamp that a block mined now would get: never before its parent's."""
        if self._next_timestamp is not None:
            return self._next_timestamp
        return max(self.head.timestamp, int(self.settings.clock()) + self._drift)

    def increase_time(self, seconds: int) -> int:
        """Move the chain's clock ahead for good; returns the whole drift in seconds."""
        if seconds < 0:
            raise InvalidTransactionError("time only moves forward: give 0 seconds or more")
        self._drift += seconds
        with self.store.transaction():
            self.store.set_meta("drift", str(self._drift))
        return self._drift

    def set_next_timestamp(self, timestamp: int) -> None:
        """Give the next block exactly this timestamp, and let time run on from there."""
        if timestamp < self.head.timestamp:
            raise InvalidTransactionError(
                f"Timestamp error: {timestamp} is lower than the head's {self.head.timestamp}"
            )
        self.increase_time(max(0, timestamp - int(self.settings.clock()) - self._drift))
        self._next_timestamp = timestamp

    # running

    def pending(self) -> Slot:
        """The place of the next block."""
        head = self.head
        return Slot(
            number=head.number + 1,
            timestamp=self.now(),
            base_fee=next_base_fee(head.base_fee, head.gas_used, head.gas_limit),
            gas_limit=self.settings.gas_limit,
            mix=keccak(head.hash),
            ancestors=[head.hash, *self._ancestors],
            chain_id=self.settings.chain_id,
        )

    def send(self, raw: bytes) -> bytes:
        """Mine a raw transaction, and those that waited for it; returns its hash. Sending it twice is harmless.

        A transaction whose nonce is ahead waits in memory (at most 1,000 of them) until the gap is filled.

        Raises:
            InvalidTransactionError: no block may contain it.
        """
        digest = keccak(raw)
        if self.store.mined(digest) is not None:
            return digest
        transaction = decode_transaction(raw)
        try:
            self._mine(raw, transaction)
        except NonceTooHighError:
            if len(self._waiting) >= _MAX_WAITING:
                raise
            self._waiting[transaction.sender, transaction.nonce] = (raw, transaction)
            return digest
        self._mine_successors(transaction.sender, transaction.nonce + 1)
        return digest

    def _mine_successors(self, sender: bytes, nonce: int) -> None:
        while (found := self._waiting.pop((sender, nonce), None)) is not None:
            with contextlib.suppress(InvalidTransactionError):  # nobody waits for its answer any more
                self._mine(*found)
            nonce += 1

    def _mine(self, raw: bytes, transaction: Any) -> None:
        slot = self.pending()
        with self._undone_on_failure():
            self.evm.validate(transaction, slot)
            outcome = self.evm.apply(transaction, slot)
            self.accounts.lock_changes()
            block = _seal(
                self.head.hash, slot.number, slot.timestamp, slot.base_fee, slot.gas_limit, outcome.gas_used, raw
            )
            mined = Mined(
                hash=keccak(raw),
                block=block.number,
                raw=raw,
                sender=transaction.sender,
                status=0 if outcome.error else 1,
                gas_used=outcome.gas_used,
                gas_price=min(transaction.max_fee_per_gas, slot.base_fee + transaction.max_priority_fee_per_gas),
                created=outcome.created,
                revert=outcome.output if outcome.reverted else b"",
            )
            self._append(block, mined, _log_rows(block.number, outcome))

    def mine_empty(self, timestamp: int | None = None) -> Block:
        """Mine a block without a transaction."""
        if timestamp is not None:
            self.set_next_timestamp(timestamp)
        slot = self.pending()
        block = _seal(self.head.hash, slot.number, slot.timestamp, slot.base_fee, slot.gas_limit, 0)
        with self._undone_on_failure():
            self._append(block, None, [])
        return block

    def _append(self, block: Block, mined: Mined | None, logs: list[LogRow]) -> None:
        with self.store.transaction():
            self.accounts.flush()
            self.store.add_block(block, mined, logs)
        self.accounts.flushed()
        self._ancestors = [self.head.hash, *self._ancestors[:254]]
        self.head = block
        self._next_timestamp = None

    @contextlib.contextmanager
    def _undone_on_failure(self) -> Iterator[None]:
        try:
            yield
        except InvalidTransactionError:
            self.accounts.rollback()
            raise
        except BaseException:
            self.accounts.forget()  # the store kept the last whole block
            raise

    def call(self, transaction: CallTransaction) -> Outcome:
        """Run a call on the pending block and undo it."""
        return self.evm.call(transaction, self.pending())

    def estimate(self, transaction: CallTransaction) -> tuple[int, Outcome]:
        """The least gas limit, within 1.5 %, and the outcome at the highest limit; a failed outcome says why.

        Tries exactly what the first run needed, since that holds unless a called contract is given 63/64 of
        what is left and needs it; only then searches.
        """
        slot = self.pending()
        outcome = self.evm.call(transaction, slot)
        low, high = outcome.gas_peak, transaction.gas
        if outcome.error is not None or self.evm.call(replace(transaction, gas=low), slot).error is None:
            return low, outcome
        while high - low > high // 64:
            guess = min((low + high) // 2, 2 * low)
            if self.evm.call(replace(transaction, gas=guess), slot).error is None:
                high = guess
            else:
                low = guess
        return high, outcome

    # reading

    def receipt(self, digest: bytes) -> Receipt | None:
        """A transaction's receipt by its hash."""
        mined = self.store.mined(digest)
        if mined is None:
            return None
        block = self.store.block(mined.block)
        assert block is not None
        return Receipt(mined, block, self.store.block_logs(mined.block))


def _seal(
    parent: bytes, number: int, timestamp: int, base_fee: int, gas_limit: int, gas_used: int, raw: bytes = b""
) -> Block:
    """A block with its hash: over the parent and all it holds, so that equal histories have equal hashes."""
    fields = [number, timestamp, base_fee, gas_limit, gas_used]
    digest = keccak(rlp.encode([parent, *fields, keccak(raw)]))
    return Block(number, digest, parent, timestamp, base_fee, gas_limit, gas_used, keccak(parent))


def _log_rows(number: int, outcome: Outcome) -> list[LogRow]:
    rows = []
    for position, (address, topics, data) in enumerate(outcome.logs):
        words = [topic.to_bytes(32, "big") for topic in topics]
        one, two, three, four = [*words, None, None, None, None][:4]
        rows.append(LogRow(number, position, address, one, two, three, four, data))
    return rows


def _lock(folder: Path) -> io.TextIOWrapper:
    file = (folder / "lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise ChainBusyError(
            f"Another process runs the chain in {folder}. Use its URL, stop it, or choose another folder."
        ) from error
    return file


def _load_faucet(folder: Path, *, fresh: bool) -> Key:
    path = folder / "faucet.key"
    if not path.exists():
        if not fresh:
            raise ChainError(
                f"The faucet key {path} is gone. Restore it from a copy, or start a chain in a new folder."
            )
        write_atomic(path, Key.generate().secret.hex().encode(), mode=0o600, replace=False)
    return Key.from_hex(path.read_text())
