"""Running one transaction or one call on py-evm's Prague rules, over the flat accounts.

Knows gas, fees and what makes a transaction invalid. Does not know blocks on disk or JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from eth.constants import CREATE_CONTRACT_ADDRESS
from eth.exceptions import OutOfGas, VMError
from eth.vm.execution_context import ExecutionContext
from eth.vm.forks.berlin.transactions import calculate_txn_intrinsic_gas_berlin
from eth.vm.forks.prague import PragueVM
from eth.vm.forks.prague.state import PragueState
from eth_utils import ValidationError

from tercet.chain.devnet.accounts import Accounts
from tercet.chain.devnet.interpreter import FastComputation
from tercet.errors import ChainError

MAX_TRANSACTION_GAS = 2**24
"""EIP-7825's cap on one transaction. py-evm ends at Prague, but chains since Osaka enforce it."""
COINBASE = bytes(20)
"""Tips go to the zero address; the base fee goes nowhere (it is burnt)."""
MAX_INITCODE = 49_152
_BLOB = 3


class InvalidTransactionError(ChainError):
    """A transaction that no block may contain: wrong nonce, fee, funds, signature or chain."""


class NonceTooHighError(InvalidTransactionError):
    """Valid once the transactions before it are there."""


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of a block that is being made: what the opcodes can see of it."""

    number: int
    timestamp: int
    base_fee: int
    gas_limit: int
    mix: bytes
    ancestors: Sequence[bytes]
    """Hashes of the blocks before, newest first, at most 256."""
    chain_id: int


@dataclass(frozen=True, slots=True)
class CallTransaction:
    """The unsigned transaction behind eth_call and eth_estimateGas, with the attributes py-evm reads."""

    sender: bytes
    to: bytes
    gas: int
    max_fee_per_gas: int
    max_priority_fee_per_gas: int
    value: int
    data: bytes
    access_list: Sequence[tuple[bytes, Sequence[int]]]
    type_id: int = 2

    @property
    def gas_price(self) -> int:
        """py-evm's older name of the fee cap."""
        return self.max_fee_per_gas

    @property
    def intrinsic_gas(self) -> int:
        """Gas before the first opcode."""
        return int(calculate_txn_intrinsic_gas_berlin(self))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What running a transaction gave."""

    error: VMError | None
    output: bytes
    """Return data; for a revert, its encoded reason."""
    gas_used: int
    gas_peak: int
    """Gas used before refunds: what the limit must at least be."""
    logs: Sequence[tuple[bytes, Sequence[int], bytes]]
    created: bytes | None

    @property
    def reverted(self) -> bool:
        """Whether the code itself gave up, with or without a reason."""
        return type(self.error).__name__ == "Revert"

    @property
    def out_of_gas(self) -> bool:
        """Whether a higher limit might have helped."""
        return isinstance(self.error, OutOfGas)


class _State(PragueState):  # type: ignore[misc]  # py-evm is untyped for us
    """PragueState over given accounts instead of a trie, and with a faster loop."""

    computation_class = FastComputation

    @classmethod
    def get_account_db_class(cls) -> Any:
        """py-evm calls this with (db, root); the db it was given is the accounts already."""
        return lambda accounts, _root: accounts

    def set_system_contracts(self) -> None:
        """None: beacon roots and block-hash history belong to a consensus layer."""


@lru_cache(maxsize=128)  # a receipt is mostly asked for right after its transaction was sent
def decode_transaction(raw: bytes) -> Any:
    """A signed transaction from its wire bytes, legacy or typed, as py-evm's object.

    Raises:
        InvalidTransactionError: malformed, or carrying blobs.
    """
    if raw[:1] == bytes([_BLOB]):
        raise InvalidTransactionError("this chain takes no blob transactions")
    try:
        transaction = PragueVM.get_transaction_builder().decode(raw)
        assert len(transaction.sender) == 20
    except Exception as error:  # py-evm, rlp and eth-keys each have their own tree
        raise InvalidTransactionError(f"Failed to decode transaction: {error}") from error
    return transaction


class Evm:
    """Runs code on the world state; the caller keeps or undoes the changes."""

    def __init__(self, accounts: Accounts) -> None:
        self.accounts = accounts

    def validate(self, transaction: Any, slot: Slot) -> None:
        """Refuse what no block may contain; texts as in anvil, which clients match on.

        Raises:
            NonceTooHighError: fine, but too early.
            InvalidTransactionError: anything else.
        """
        if (transaction.chain_id if transaction.chain_id is not None else slot.chain_id) != slot.chain_id:
            raise InvalidTransactionError(
                f"invalid chain id for signer: have {transaction.chain_id} want {slot.chain_id}"
            )
        self._validate_gas(transaction, slot)
        sender = transaction.sender
        code = self.accounts.get_code(sender)
        if code and not code.startswith(b"\xef\x01\x00"):
            raise InvalidTransactionError("sender is not an EOA")
        cost = transaction.gas * transaction.max_fee_per_gas + transaction.value
        if self.accounts.get_balance(sender) < cost:
            raise InvalidTransactionError("Insufficient funds for gas * price + value")
        nonce = self.accounts.get_nonce(sender)
        if transaction.nonce < nonce:
            raise InvalidTransactionError("nonce too low")
        if transaction.nonce > nonce:
            raise NonceTooHighError(f"nonce too high: have {transaction.nonce}, the account is at {nonce}")

    def _validate_gas(self, transaction: Any, slot: Slot) -> None:
        limit = min(slot.gas_limit, MAX_TRANSACTION_GAS)
        if transaction.gas > limit:
            raise InvalidTransactionError(f"intrinsic gas too high: the limit of a transaction is {limit}")
        if transaction.gas < minimum_gas(transaction):
            raise InvalidTransactionError("intrinsic gas too low")
        if transaction.max_fee_per_gas < slot.base_fee:
            raise InvalidTransactionError("max fee per gas less than block base fee")
        if transaction.max_fee_per_gas >= 2**63:
            raise InvalidTransactionError(
                "max fee per gas too high: a chain of development money stays below 2**63 wei"
            )
        if transaction.max_priority_fee_per_gas > transaction.max_fee_per_gas:
            raise InvalidTransactionError("max priority fee per gas higher than max fee per gas")
        if transaction.to == CREATE_CONTRACT_ADDRESS and len(transaction.data) > MAX_INITCODE:
            raise InvalidTransactionError("max initcode size exceeded")

    def apply(self, transaction: Any, slot: Slot) -> Outcome:
        """Run a validated transaction: fees are charged, the nonce counts, the changes stand in the accounts."""
        try:
            computation = self._state(slot).apply_transaction(transaction)
        except ValidationError as error:
            raise InvalidTransactionError(str(error)) from error
        spent = transaction.gas - computation.get_gas_remaining()
        refund = min(computation.get_gas_refund(), spent // 5)
        created = computation.msg.storage_address if computation.msg.is_create else None
        return _outcome(computation, spent, spent - refund + computation.data_floor_gas, created)

    def call(self, transaction: CallTransaction, slot: Slot) -> Outcome:
        """Run a call and undo it: no nonce, signature or base fee is asked for, value must be there."""
        state = self._state(slot)
        try:
            if (
                self.accounts.get_balance(transaction.sender)
                < transaction.value + transaction.gas * transaction.gas_price
            ):
                raise InvalidTransactionError("Insufficient funds for gas * price + value")
            if transaction.gas < minimum_gas(transaction):
                raise InvalidTransactionError("intrinsic gas too low")
            executor = state.get_transaction_executor()
            message = executor.build_evm_message(transaction)
            computation = executor.build_computation(message, transaction)
        finally:
            self.accounts.rollback()
        spent = transaction.gas - computation.get_gas_remaining()
        refund = min(computation.get_gas_refund(), spent // 5)
        floor = executor.calc_data_floor_gas(transaction, spent, refund)
        return _outcome(computation, max(spent, spent - refund + floor), spent - refund + floor, None)

    def run(self, transaction: CallTransaction, slot: Slot, *, keep: bool = True) -> Outcome:
        """Run a call, and keep or undo what it did: for worlds without keys and fees, where nothing is flushed."""
        mark = None if keep else self.accounts.record()
        state = self._state(slot)
        executor = state.get_transaction_executor()
        computation = executor.build_computation(executor.build_evm_message(transaction), transaction)
        executor.finalize_computation(transaction, computation)
        if mark is not None:
            self.accounts.discard(mark)
        self.accounts.lock_changes()
        spent = transaction.gas - computation.get_gas_remaining()
        refund = min(computation.get_gas_refund(), spent // 5)
        created = computation.msg.storage_address if computation.msg.is_create else None
        return _outcome(computation, spent, spent - refund + computation.data_floor_gas, created)

    def _state(self, slot: Slot) -> _State:
        context = ExecutionContext(
            coinbase=COINBASE,
            timestamp=slot.timestamp,
            block_number=slot.number,
            difficulty=0,
            mix_hash=slot.mix,
            gas_limit=slot.gas_limit,
            prev_hashes=slot.ancestors,
            chain_id=slot.chain_id,
            base_fee_per_gas=slot.base_fee,
            excess_blob_gas=0,
        )
        return _State(self.accounts, context, bytes(32))


def minimum_gas(transaction: Any) -> int:
    """The least limit a transaction may carry: its intrinsic gas, or EIP-7623's floor for its data."""
    zeros = int(transaction.data.count(0))
    tokens = zeros + 4 * (len(transaction.data) - zeros)
    return max(int(transaction.intrinsic_gas), 21_000 + 10 * tokens)


def _outcome(computation: Any, peak: int, used: int, created: bytes | None) -> Outcome:
    return Outcome(
        error=computation.error if computation.is_error else None,
        output=bytes(computation.output),
        gas_used=used,
        gas_peak=peak,
        logs=computation.get_log_entries(),
        created=created,
    )


def next_base_fee(base_fee: int, gas_used: int, gas_limit: int) -> int:
    """The base fee after a block, by EIP-1559: at most an eighth up or down, level at half-full."""
    target = gas_limit // 2
    delta = base_fee * abs(gas_used - target) // target // 8
    return base_fee + max(delta, 1) if gas_used > target else base_fee - delta
