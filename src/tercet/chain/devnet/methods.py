"""The JSON-RPC methods: one function a name, from parameters to a JSON value.

Knows the protocol's words and errors. Does not know HTTP. Runs on the EVM's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tercet.chain.devnet import shapes
from tercet.chain.devnet.chain import Chain
from tercet.chain.devnet.evm import (
    MAX_TRANSACTION_GAS,
    CallTransaction,
    InvalidTransactionError,
    Outcome,
    minimum_gas,
    next_base_fee,
)
from tercet.chain.devnet.filters import Filters
from tercet.chain.devnet.shapes import Json, ParamsError, read_bytes, read_quantity, show_hash
from tercet.chain.devnet.store import Block, LogQuery, TooManyLogsError
from tercet.chain.keys import keccak
from tercet.chain.reasons import decode_reason
from tercet.errors import ChainError, RpcError

TIP = 10**9
"""Suggested priority fee, wei a gas, as anvil suggests."""
_MAX_ADDRESSES = 1_000


@dataclass(frozen=True, slots=True)
class Node:
    """What the methods act on."""

    chain: Chain
    filters: Filters
    time_travel: bool
    """Whether evm_* methods are served."""


def answer(node: Node, method: str, params: Sequence[Any]) -> Any:
    """The result of one call.

    Raises:
        RpcError: with JSON-RPC's code; whatever went wrong inside.
    """
    handler = _METHODS.get(method) or (_TIME_TRAVEL.get(method) if node.time_travel else None)
    if handler is None:
        hint = ". Start the chain with time travel allowed to use it" if method in _TIME_TRAVEL else ""
        raise RpcError(f"the method {method!r:.80} does not exist here{hint}", code=-32601)
    try:
        return handler(node, list(params))
    except (ParamsError, IndexError) as error:
        text = "a parameter is missing" if isinstance(error, IndexError) else str(error)
        raise RpcError(f"{method}: {text}", code=-32602) from error
    except TooManyLogsError as error:
        raise RpcError(str(error), code=-32005) from error
    except InvalidTransactionError as error:
        raise RpcError(str(error), code=-32003) from error
    except RpcError:
        raise
    except ChainError as error:
        raise RpcError(str(error), code=-32000) from error


# blocks


def _block_at(node: Node, tag: Any) -> Block | None:
    if tag in (None, "latest", "pending", "safe", "finalized"):
        return node.chain.head
    if tag == "earliest":
        return node.chain.store.block(0)
    return node.chain.store.block(read_quantity(tag, "block"))


def _need_state(node: Node, params: list[Any], position: int) -> None:
    """Only the newest state is kept; older ones are refused rather than answered wrongly."""
    tag = params[position] if len(params) > position else "latest"
    if isinstance(tag, dict):  # EIP-1898
        digest = read_bytes(tag["blockHash"], "blockHash", 32) if "blockHash" in tag else None
        block = node.chain.store.block_by_hash(digest) if digest else _block_at(node, tag.get("blockNumber"))
    else:
        block = _block_at(node, tag)
    if block is None:
        raise RpcError("header not found", code=-32001)
    if block.number != node.chain.head.number:
        raise RpcError(
            f"the state of block {block.number} is not kept, only the latest, {node.chain.head.number}", code=-32000
        )


def _show_block(node: Node, block: Block | None, params: list[Any]) -> Json | None:
    if block is None:
        return None
    full = bool(params[1]) if len(params) > 1 else False
    bloom = shapes.bloom_of(node.chain.store.block_logs(block.number))
    return shapes.show_block(block, node.chain.store.mined_in(block.number), bloom, full=full)


def _fee_history(node: Node, params: list[Any]) -> Json:
    newest = _block_at(node, params[1]) or node.chain.head
    count = min(read_quantity(params[0], "blockCount"), newest.number + 1, 1_024)
    blocks = [b for n in range(newest.number + 1 - count, newest.number + 1) if (b := node.chain.store.block(n))]
    fees = [b.base_fee for b in blocks] + [next_base_fee(newest.base_fee, newest.gas_used, newest.gas_limit)]
    history: Json = {
        "oldestBlock": hex(newest.number + 1 - count),
        "baseFeePerGas": [hex(fee) for fee in fees],
        "gasUsedRatio": [b.gas_used / b.gas_limit for b in blocks],
    }
    percentiles = params[2] if len(params) > 2 and params[2] else []
    if percentiles:
        history["reward"] = [[hex(TIP) for _ in percentiles] for _ in blocks]
    return history


# accounts


def _balance(node: Node, params: list[Any]) -> str:
    _need_state(node, params, 1)
    return hex(node.chain.accounts.get_balance(read_bytes(params[0], "address", 20)))


def _nonce(node: Node, params: list[Any]) -> str:
    _need_state(node, params, 1)
    return hex(node.chain.accounts.get_nonce(read_bytes(params[0], "address", 20)))


def _code(node: Node, params: list[Any]) -> str:
    _need_state(node, params, 1)
    return show_hash(node.chain.accounts.get_code(read_bytes(params[0], "address", 20)))


def _storage(node: Node, params: list[Any]) -> str:
    _need_state(node, params, 2)
    address, slot = read_bytes(params[0], "address", 20), read_quantity(params[1], "slot")
    return show_hash(node.chain.accounts.get_storage(address, slot).to_bytes(32, "big"))


# running code


def _read_call(node: Node, given: Any) -> CallTransaction:
    if not isinstance(given, dict):
        raise ParamsError("the call must be an object")
    price = given.get("maxFeePerGas", given.get("gasPrice"))
    fee = 0 if price is None else read_quantity(price, "gasPrice")
    tip = (
        read_quantity(given["maxPriorityFeePerGas"], "maxPriorityFeePerGas") if "maxPriorityFeePerGas" in given else fee
    )
    limit = min(node.chain.settings.gas_limit, MAX_TRANSACTION_GAS)
    gas = given.get("gas")
    data = given.get("input", given.get("data"))
    return CallTransaction(
        sender=read_bytes(given["from"], "from", 20) if given.get("from") else bytes(20),
        to=read_bytes(given["to"], "to", 20) if given.get("to") else b"",
        gas=limit if gas is None else min(read_quantity(gas, "gas"), limit),
        max_fee_per_gas=fee,
        max_priority_fee_per_gas=min(tip, fee),
        value=read_quantity(given["value"], "value") if given.get("value") is not None else 0,
        data=b"" if data is None else read_bytes(data, "data"),
        access_list=shapes.read_access_list(given["accessList"]) if given.get("accessList") else [],
    )


def _call(node: Node, params: list[Any]) -> str:
    _need_state(node, params, 1)
    if len(params) > 2 and params[2]:
        raise ParamsError("state overrides are not supported")
    outcome = node.chain.call(_affordable(node, _read_call(node, params[0])))
    _raise_if_failed(outcome)
    return show_hash(outcome.output)


def _estimate(node: Node, params: list[Any]) -> str:
    _need_state(node, params, 1)
    call = _affordable(node, _read_call(node, params[0]))
    gas, outcome = node.chain.estimate(call)
    _raise_if_failed(outcome)
    return hex(max(gas, minimum_gas(call)))


def _affordable(node: Node, call: CallTransaction) -> CallTransaction:
    """With a gas price, no more gas than the sender can pay for."""
    if not call.max_fee_per_gas:
        return call
    left = node.chain.accounts.get_balance(call.sender) - call.value
    return replace(call, gas=min(call.gas, max(left, 0) // call.max_fee_per_gas))


def _raise_if_failed(outcome: Outcome) -> None:
    if outcome.error is None:
        return
    if not outcome.reverted:
        name = "out of gas" if outcome.out_of_gas else f"EVM error {type(outcome.error).__name__}"
        raise RpcError(f"{name}: {outcome.error}", code=-32603 if outcome.out_of_gas else -32003)
    reason = decode_reason(outcome.output)
    text = f"execution reverted: {reason}" if reason else "execution reverted"
    raise RpcError(text, code=3, data=show_hash(outcome.output))


def _send(node: Node, params: list[Any]) -> str:
    return show_hash(node.chain.send(read_bytes(params[0], "transaction")))


def _receipt(node: Node, params: list[Any]) -> Json | None:
    receipt = node.chain.receipt(read_bytes(params[0], "hash", 32))
    return None if receipt is None else shapes.show_receipt(receipt)


def _transaction(node: Node, params: list[Any]) -> Json | None:
    receipt = node.chain.receipt(read_bytes(params[0], "hash", 32))
    return None if receipt is None else shapes.show_transaction(receipt.mined, receipt.block)


# logs and filters


def _read_log_query(node: Node, given: Any) -> LogQuery:
    if not isinstance(given, dict):
        raise ParamsError("the filter must be an object")
    if "blockHash" in given:
        block = node.chain.store.block_by_hash(read_bytes(given["blockHash"], "blockHash", 32))
        if block is None:
            raise RpcError("header not found", code=-32001)
        first = last = block.number
    else:
        first = _number(node, given.get("fromBlock"))
        last = _number(node, given.get("toBlock"))
    addresses = given.get("address") or []
    topics = given.get("topics") or []
    if not isinstance(topics, list) or len(topics) > 4:
        raise ParamsError("topics must be a list of at most 4")
    return LogQuery(
        first,
        last,
        tuple(read_bytes(a, "address", 20) for a in _several(addresses)),
        tuple(tuple(read_bytes(t, "topic", 32) for t in _several(position or [])) for position in topics),
    )


def _number(node: Node, tag: Any) -> int:
    if tag in (None, "latest", "pending", "safe", "finalized"):
        return node.chain.head.number
    return 0 if tag == "earliest" else min(read_quantity(tag, "block"), 2**62)


def _several(value: Any) -> list[Any]:
    values = value if isinstance(value, list) else [value]
    if len(values) > _MAX_ADDRESSES:
        raise ParamsError(f"more than {_MAX_ADDRESSES} alternatives in a filter")
    return values


def _logs(node: Node, params: list[Any]) -> list[Json]:
    return _show_logs(node, _read_log_query(node, params[0]))


def _show_logs(node: Node, query: LogQuery) -> list[Json]:
    return [shapes.show_log(*found) for found in node.chain.store.logs(query)]


def _new_filter(node: Node, params: list[Any]) -> str:
    given = params[0]
    query = _read_log_query(node, given)
    open_ended = given.get("toBlock") in (None, "latest", "pending")
    start = query.first if given.get("fromBlock") not in (None, "latest", "pending") else node.chain.head.number + 1
    last = 2**62 if open_ended else query.last
    return node.filters.add(LogQuery(start, last, query.addresses, query.topics), start)


def _new_block_filter(node: Node, _params: list[Any]) -> str:
    return node.filters.add(None, node.chain.head.number + 1)


def _filter_changes(node: Node, params: list[Any]) -> list[Any]:
    head = node.chain.head.number
    query, first = node.filters.advance(str(params[0]), head)
    if query is None:
        blocks = (node.chain.store.block(n) for n in range(first, head + 1))
        return [show_hash(block.hash) for block in blocks if block is not None]
    last = min(query.last, head)
    if first > last:
        return []
    return _show_logs(node, LogQuery(max(first, query.first), last, query.addresses, query.topics))


def _filter_logs(node: Node, params: list[Any]) -> list[Json]:
    query = node.filters.query(str(params[0]))
    if query is None:
        raise ParamsError("a block filter has no logs; use eth_getFilterChanges")
    return _show_logs(node, query)


# time travel, only where allowed


def _increase_time(node: Node, params: list[Any]) -> str:
    return hex(node.chain.increase_time(read_quantity(params[0], "seconds")))


def _set_timestamp(node: Node, params: list[Any]) -> None:
    node.chain.set_next_timestamp(read_quantity(params[0], "timestamp"))


def _mine(node: Node, params: list[Any]) -> str:
    given = params[0] if params else None
    if isinstance(given, dict):
        given = given.get("timestamp")
    node.chain.mine_empty(None if given is None else read_quantity(given, "timestamp"))
    return "0x0"


_Handler = Callable[[Node, list[Any]], Any]

_METHODS: dict[str, _Handler] = {
    "web3_clientVersion": lambda _n, _p: "tercet/devnet",
    "web3_sha3": lambda _n, p: show_hash(keccak(read_bytes(p[0], "data"))),
    "net_version": lambda n, _p: str(n.chain.settings.chain_id),
    "net_listening": lambda _n, _p: True,
    "eth_chainId": lambda n, _p: hex(n.chain.settings.chain_id),
    "eth_syncing": lambda _n, _p: False,
    "eth_accounts": lambda _n, _p: [],
    "eth_blockNumber": lambda n, _p: hex(n.chain.head.number),
    "eth_gasPrice": lambda n, _p: hex(n.chain.pending().base_fee + TIP),
    "eth_maxPriorityFeePerGas": lambda _n, _p: hex(TIP),
    "eth_feeHistory": _fee_history,
    "eth_getBalance": _balance,
    "eth_getTransactionCount": _nonce,
    "eth_getCode": _code,
    "eth_getStorageAt": _storage,
    "eth_call": _call,
    "eth_estimateGas": _estimate,
    "eth_sendRawTransaction": _send,
    "eth_getTransactionReceipt": _receipt,
    "eth_getTransactionByHash": _transaction,
    "eth_getBlockByNumber": lambda n, p: _show_block(n, _block_at(n, p[0]), p),
    "eth_getBlockByHash": lambda n, p: _show_block(n, n.chain.store.block_by_hash(read_bytes(p[0], "hash", 32)), p),
    "eth_getLogs": _logs,
    "eth_newFilter": _new_filter,
    "eth_newBlockFilter": _new_block_filter,
    "eth_getFilterChanges": _filter_changes,
    "eth_getFilterLogs": _filter_logs,
    "eth_uninstallFilter": lambda n, p: n.filters.remove(str(p[0])),
}

_TIME_TRAVEL: dict[str, _Handler] = {
    "evm_increaseTime": _increase_time,
    "evm_setNextBlockTimestamp": _set_timestamp,
    "evm_mine": _mine,
}
