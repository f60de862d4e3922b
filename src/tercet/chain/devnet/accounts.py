"""Accounts as py-evm wants them (its AccountDatabaseAPI), flat: no tries, no roots.

Values are cached in dictionaries over the store; every change leaves an undo entry, so a
checkpoint is a length of the undo list. `lock_changes` ends a transaction, `flush` writes the
block. The gas rules lean on three details: checkpoint ids are unique in the process because
transient storage shares them; warm marks are undone too; and `from_journal=False` reads the
value that a slot had when the transaction began.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eth.abc import AccountDatabaseAPI
from eth.constants import EMPTY_SHA3
from eth.db.journal import get_next_checkpoint

from tercet.chain.devnet.store import Store
from tercet.chain.keys import keccak

_Account = tuple[int, int, bytes]  # nonce, balance, code hash
_EMPTY: _Account = (0, 0, EMPTY_SHA3)
_CACHE_LIMIT = 500_000
"""Cached accounts and slots before the caches are dropped, some 100 MB."""


class Accounts(AccountDatabaseAPI):  # type: ignore[misc]  # py-evm is untyped for us
    """The world state of one chain."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.forget()

    def forget(self) -> None:
        """Drop everything not yet flushed, and all caches."""
        self._accounts: dict[bytes, _Account | None] = {}
        self._slots: dict[bytes, dict[int, int]] = {}
        self._codes: dict[bytes, bytes] = {EMPTY_SHA3: b""}
        self._new_codes: dict[bytes, bytes] = {}
        self._dirty_accounts: set[bytes] = set()
        self._dirty_slots: set[tuple[bytes, int]] = set()
        self._wiped: set[bytes] = set()
        self._original: dict[tuple[bytes, int], int] = {}
        self._warm: set[bytes | tuple[bytes, int]] = set()
        self._undo: list[Callable[[], object]] = []
        self._marks: dict[int, int] = {}
        self._cached = 0

    # checkpoints

    def record(self) -> int:
        """Open a checkpoint and return its id, unique in this process."""
        mark = int(get_next_checkpoint())  # py-evm's own counter: its transient storage uses it too
        self._marks[mark] = len(self._undo)
        return mark

    def discard(self, checkpoint: int) -> None:
        """Undo everything since the checkpoint."""
        self._rewind(self._marks.pop(checkpoint))

    def commit(self, checkpoint: int) -> None:
        """Keep the changes; an outer checkpoint can still undo them."""
        self._marks.pop(checkpoint, None)

    def rollback(self) -> None:
        """Undo everything since the last flush: what a call on the pending block needs."""
        self._rewind(0)
        self.lock_changes()
        self.flushed()

    def lock_changes(self) -> None:
        """End the transaction: its changes stand, its warm marks and original values are forgotten."""
        self._undo.clear()
        self._marks.clear()
        self._warm.clear()
        self._original.clear()

    def flush(self) -> None:
        """Write all standing changes. Call it inside the store's transaction, then `flushed`."""
        self._store.put_codes(self._new_codes.items())
        self._store.wipe_storage(self._wiped)
        self._store.put_accounts((address, self._accounts[address]) for address in self._dirty_accounts)
        self._store.put_slots((a, s, self._slots[a].get(s, 0)) for a, s in self._dirty_slots)

    def flushed(self) -> None:
        """The flush is on disk: nothing is dirty any more."""
        self._new_codes.clear()
        self._wiped.clear()
        self._dirty_accounts.clear()
        self._dirty_slots.clear()
        if self._cached > _CACHE_LIMIT:
            self.forget()

    def _rewind(self, length: int) -> None:
        while len(self._undo) > length:
            self._undo.pop()()

    # storage

    def get_storage(self, address: bytes, slot: int, from_journal: bool = True) -> int:
        """A storage word now, or as it was when the transaction began."""
        if not from_journal and (address, slot) in self._original:
            return self._original[address, slot]
        words = self._slots.get(address)
        if words is None:
            words = self._slots[address] = {}
        value = words.get(slot)
        if value is None:
            value = 0 if address in self._wiped else self._store.slot(address, slot)
            words[slot] = value
            self._cached += 1
        return value

    def set_storage(self, address: bytes, slot: int, value: int) -> None:
        """Write a storage word."""
        old, words = self.get_storage(address, slot), self._slots[address]
        self._original.setdefault((address, slot), old)
        self._undo.append(lambda: words.__setitem__(slot, old))
        self._dirty_slots.add((address, slot))
        words[slot] = value

    def delete_storage(self, address: bytes) -> None:
        """Forget all words of an account."""
        old, was_wiped = self._slots.get(address), address in self._wiped
        if was_wiped and not old:
            return

        def undo() -> None:
            if old is None:
                self._slots.pop(address, None)
            else:
                self._slots[address] = old
            if not was_wiped:
                self._wiped.discard(address)

        self._undo.append(undo)
        self._slots[address] = {}
        self._wiped.add(address)

    # accounts

    def _get(self, address: bytes) -> _Account | None:
        try:
            return self._accounts[address]
        except KeyError:
            self._cached += 1
            account = self._accounts[address] = self._store.account(address)
            return account

    def _set(self, address: bytes, account: _Account | None) -> None:
        old = self._get(address)
        self._undo.append(lambda: self._accounts.__setitem__(address, old))
        self._dirty_accounts.add(address)
        self._accounts[address] = account

    def get_balance(self, address: bytes) -> int:
        """Wei."""
        return (self._get(address) or _EMPTY)[1]

    def set_balance(self, address: bytes, balance: int) -> None:
        """Set wei."""
        nonce, _, code = self._get(address) or _EMPTY
        self._set(address, (nonce, balance, code))

    def get_nonce(self, address: bytes) -> int:
        """Transactions sent, or contracts created."""
        return (self._get(address) or _EMPTY)[0]

    def set_nonce(self, address: bytes, nonce: int) -> None:
        """Set the nonce."""
        _, balance, code = self._get(address) or _EMPTY
        self._set(address, (nonce, balance, code))

    def increment_nonce(self, address: bytes) -> None:
        """Count one more."""
        self.set_nonce(address, self.get_nonce(address) + 1)

    def get_code_hash(self, address: bytes) -> bytes:
        """Keccak of the code."""
        return (self._get(address) or _EMPTY)[2]

    def get_code(self, address: bytes) -> bytes:
        """The code, empty for an ordinary account."""
        digest = self.get_code_hash(address)
        code = self._codes.get(digest)
        if code is None:
            code = self._codes[digest] = self._store.code(digest)
        return code

    def set_code(self, address: bytes, code: bytes) -> None:
        """Install code. Code of a reverted creation stays in the table unused, which harms nobody."""
        nonce, balance, _ = self._get(address) or _EMPTY
        digest = keccak(code)
        self._codes[digest] = self._new_codes[digest] = code
        self._set(address, (nonce, balance, digest))

    def delete_code(self, address: bytes) -> None:
        """Make it an ordinary account again."""
        self.set_code(address, b"")

    def delete_account(self, address: bytes) -> None:
        """Remove the account and its storage."""
        self.delete_storage(address)
        self._set(address, None)

    def account_has_code_or_nonce(self, address: bytes) -> bool:
        """Whether a creation at this address would collide."""
        nonce, _, code = self._get(address) or _EMPTY
        return nonce != 0 or code != EMPTY_SHA3

    def account_exists(self, address: bytes) -> bool:
        """Whether the account is there, empty or not."""
        return self._get(address) is not None

    def touch_account(self, address: bytes) -> None:
        """Make it exist."""
        self._set(address, self._get(address) or _EMPTY)

    def account_is_empty(self, address: bytes) -> bool:
        """EIP-161's empty: no nonce, no balance, no code."""
        return (self._get(address) or _EMPTY) == _EMPTY

    # warm marks (EIP-2929)

    def is_storage_warm(self, address: bytes, slot: int) -> bool:
        """Whether this transaction has touched the slot."""
        return (address, slot) in self._warm

    def mark_storage_warm(self, address: bytes, slot: int) -> None:
        """Remember the touch, until undone."""
        self._mark((address, slot))

    def is_address_warm(self, address: bytes) -> bool:
        """Whether this transaction has touched the account."""
        return address in self._warm

    def mark_address_warm(self, address: bytes) -> None:
        """Remember the touch, until undone."""
        self._mark(address)

    def _mark(self, key: bytes | tuple[bytes, int]) -> None:
        if key not in self._warm:
            self._warm.add(key)
            self._undo.append(lambda: self._warm.discard(key))

    # what a flat store has not: roots and witnesses

    @property
    def state_root(self) -> bytes:
        """A constant, since there is no trie; so there is no eth_getProof."""
        return bytes(32)

    @state_root.setter
    def state_root(self, value: bytes) -> None:
        assert value == bytes(32)

    def has_root(self, state_root: bytes) -> bool:
        """Every root is the constant one."""
        return state_root == bytes(32)

    def make_state_root(self) -> bytes:
        """The constant root."""
        return bytes(32)

    def persist(self) -> Any:
        """Blocks are written by `flush`; py-evm's own way is never taken."""
        raise AssertionError("flush() writes blocks")
