"""Signed transactions: EIP-1559, the only kind we send.

Nine fields over rlp; eth-account does the same and takes a second to import.
"""

from __future__ import annotations

from dataclasses import dataclass

import rlp

from tercet.chain.keys import Key, keccak, parse_address

_TYPE = b"\x02"


@dataclass(frozen=True, slots=True)
class Transaction:
    """An unsigned EIP-1559 transaction."""

    chain_id: int
    nonce: int
    max_priority_fee: int
    """Tip, wei a gas."""
    max_fee: int
    """Most that is paid, base fee included, wei a gas."""
    gas: int
    to: str | None
    """None creates a contract."""
    value: int
    """Wei."""
    data: bytes


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """Wire bytes and their hash. Sending the same bytes again is harmless on any chain."""

    raw: bytes
    hash: bytes


def sign_transaction(transaction: Transaction, key: Key) -> SignedTransaction:
    """Sign with the sender's key."""
    fields = _fields(transaction)
    signature = key.sign(keccak(_TYPE + rlp.encode(fields)))
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    raw = _TYPE + rlp.encode([*fields, signature[64] - 27, r, s])
    return SignedTransaction(raw, keccak(raw))


def _fields(transaction: Transaction) -> list[int | bytes | list[bytes]]:
    return [
        transaction.chain_id,
        transaction.nonce,
        transaction.max_priority_fee,
        transaction.max_fee,
        transaction.gas,
        parse_address(transaction.to) if transaction.to else b"",
        transaction.value,
        transaction.data,
        [],
    ]


def contract_address(sender: str, nonce: int) -> bytes:
    """Where a creation by `sender` at `nonce` lands: 20 bytes."""
    return keccak(rlp.encode([parse_address(sender), nonce]))[12:]
