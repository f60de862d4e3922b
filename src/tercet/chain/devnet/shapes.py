"""Between JSON-RPC's shapes and ours: hex quantities in, blocks, receipts and logs out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import rlp

from tercet.chain.devnet.chain import Receipt
from tercet.chain.devnet.evm import COINBASE, decode_transaction
from tercet.chain.devnet.store import Block, LogRow, Mined
from tercet.chain.keys import keccak

Json = dict[str, Any]


class ParamsError(ValueError):
    """A parameter is missing or malformed; JSON-RPC code -32602."""


def read_quantity(value: object, name: str) -> int:
    """A hex quantity such as 0x1f; a JSON integer is taken as well."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    try:
        if isinstance(value, str) and value.startswith("0x"):
            return int(value, 16)
    except ValueError:
        pass
    raise ParamsError(f"{name} must be a quantity such as '0x1f', not {value!r:.80}")


def read_bytes(value: object, name: str, length: int | None = None) -> bytes:
    """Hex bytes such as 0x00ff, of a given length or any."""
    try:
        if isinstance(value, str) and value.startswith("0x"):
            raw = bytes.fromhex(value[2:])
            if length is None or len(raw) == length:
                return raw
    except ValueError:
        pass
    wanted = "hex bytes" if length is None else f"{length} hex bytes"
    raise ParamsError(f"{name} must be {wanted} after 0x, not {value!r:.80}")


def read_access_list(value: object) -> list[tuple[bytes, list[int]]]:
    """EIP-2930's list of addresses and slots."""
    if not isinstance(value, list):
        raise ParamsError("accessList must be a list")
    result = []
    for entry in value:
        if not isinstance(entry, Mapping):
            raise ParamsError("accessList holds objects with address and storageKeys")
        keys = [int.from_bytes(read_bytes(k, "storageKeys", 32), "big") for k in entry.get("storageKeys", [])]
        result.append((read_bytes(entry.get("address"), "accessList.address", 20), keys))
    return result


def show_address(raw: bytes | None) -> str | None:
    """Lower-case hex, as nodes answer."""
    return None if not raw else "0x" + raw.hex()


def show_hash(raw: bytes) -> str:
    """0x and hex."""
    return "0x" + raw.hex()


def bloom_of(logs: list[LogRow]) -> bytes:
    """The 2048-bit filter over the logs' addresses and topics."""
    bits = 0
    for log in logs:
        for value in [log.address, *log.topics]:
            digest = keccak(value)
            for i in (0, 2, 4):
                bits |= 1 << (int.from_bytes(digest[i : i + 2], "big") & 2047)
    return bits.to_bytes(256, "big")


def show_log(log: LogRow, transaction: bytes, block: bytes) -> Json:
    """A log as eth_getLogs answers."""
    return {
        "address": show_address(log.address),
        "topics": [show_hash(t) for t in log.topics],
        "data": show_hash(log.data),
        "blockHash": show_hash(block),
        "blockNumber": hex(log.block),
        "transactionHash": show_hash(transaction),
        "transactionIndex": "0x0",
        "logIndex": hex(log.position),
        "removed": False,
    }


def show_receipt(receipt: Receipt) -> Json:
    """A receipt; `revertReason` is the return data of a reverted transaction, as in Besu."""
    mined, block = receipt.mined, receipt.block
    transaction = decode_transaction(mined.raw)
    shown: Json = {
        "transactionHash": show_hash(mined.hash),
        "transactionIndex": "0x0",
        "blockHash": show_hash(block.hash),
        "blockNumber": hex(block.number),
        "from": show_address(mined.sender),
        "to": show_address(transaction.to),
        "cumulativeGasUsed": hex(mined.gas_used),
        "gasUsed": hex(mined.gas_used),
        "effectiveGasPrice": hex(mined.gas_price),
        "contractAddress": show_address(mined.created),
        "logs": [show_log(log, mined.hash, block.hash) for log in receipt.logs],
        "logsBloom": show_hash(bloom_of(receipt.logs)),
        "type": hex(_type_of(mined.raw)),
        "status": hex(mined.status),
    }
    if mined.revert:
        shown["revertReason"] = show_hash(mined.revert)
    return shown


def show_transaction(mined: Mined, block: Block) -> Json:
    """A transaction as eth_getTransactionByHash answers."""
    transaction, kind = decode_transaction(mined.raw), _type_of(mined.raw)
    shown: Json = {
        "hash": show_hash(mined.hash),
        "type": hex(kind),
        "nonce": hex(transaction.nonce),
        "from": show_address(mined.sender),
        "to": show_address(transaction.to),
        "value": hex(transaction.value),
        "gas": hex(transaction.gas),
        "gasPrice": hex(mined.gas_price),
        "input": show_hash(transaction.data),
        "blockHash": show_hash(block.hash),
        "blockNumber": hex(block.number),
        "transactionIndex": "0x0",
        "r": hex(transaction.r),
        "s": hex(transaction.s),
        "v": hex(transaction.v if kind == 0 else transaction.y_parity),
    }
    if transaction.chain_id is not None:
        shown["chainId"] = hex(transaction.chain_id)
    if kind:
        shown["yParity"] = hex(transaction.y_parity)
        shown["accessList"] = [
            {"address": show_address(a), "storageKeys": [show_hash(s.to_bytes(32, "big")) for s in slots]}
            for a, slots in transaction.access_list
        ]
    if kind >= 2:
        shown["maxFeePerGas"] = hex(transaction.max_fee_per_gas)
        shown["maxPriorityFeePerGas"] = hex(transaction.max_priority_fee_per_gas)
    return shown


def show_block(block: Block, mined: Mined | None, bloom: bytes, *, full: bool) -> Json:
    """A block as eth_getBlockByNumber answers; roots are constants, since the store has no tries."""
    empty = show_hash(bytes(32))
    transactions: list[Any] = []
    if mined is not None:
        transactions = [show_transaction(mined, block) if full else show_hash(mined.hash)]
    return {
        "number": hex(block.number),
        "hash": show_hash(block.hash),
        "parentHash": show_hash(block.parent),
        "timestamp": hex(block.timestamp),
        "baseFeePerGas": hex(block.base_fee),
        "gasLimit": hex(block.gas_limit),
        "gasUsed": hex(block.gas_used),
        "miner": show_address(COINBASE),
        "difficulty": "0x0",
        "totalDifficulty": "0x0",
        "extraData": "0x",
        "mixHash": show_hash(block.mix),
        "nonce": "0x0000000000000000",
        "sha3Uncles": show_hash(keccak(rlp.encode([]))),
        "stateRoot": empty,
        "transactionsRoot": empty,
        "receiptsRoot": empty,
        "logsBloom": show_hash(bloom),
        "size": hex(600 + (len(mined.raw) if mined else 0)),
        "transactions": transactions,
        "uncles": [],
        "withdrawals": [],
    }


def _type_of(raw: bytes) -> int:
    return raw[0] if raw[0] < 0x80 else 0
