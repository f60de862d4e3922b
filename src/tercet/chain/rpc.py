"""A thin JSON-RPC client: any EVM endpoint, one pooled session, a time limit on every call.

Knows the wire and its errors. Does not know contracts, keys or nonces.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp

from tercet.chain.keys import checksum_address
from tercet.chain.reasons import decode_reason
from tercet.chain.reverts import build_revert
from tercet.errors import ChainUnreachableError, InsufficientFundsError, RpcError, WrongChainError

DEFAULT_TIMEOUT = 15.0
"""Seconds for one call; an embedded chain may be busy with a large page."""
_MAX_ANSWER = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Head:
    """The newest block, as far as a client needs it."""

    number: int
    hash: bytes
    timestamp: int
    """Unix seconds."""
    base_fee: int
    """Wei a gas."""


@dataclass(frozen=True, slots=True)
class Log:
    """One event as the chain stores it."""

    address: str
    topics: tuple[bytes, ...]
    data: bytes
    block: int
    position: int
    """Index of the log in its block."""
    transaction: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """A mined transaction."""

    transaction: bytes
    block: int
    status: int
    """1 done, 0 reverted."""
    gas_used: int
    gas_price: int
    """Wei a gas actually paid."""
    contract: str | None
    """Address of the contract that it created."""
    logs: tuple[Log, ...]
    revert: bytes
    """Return data of a revert, where the node tells it."""


class Rpc:
    """A connection to one endpoint; use it as an async context manager, or `close` it."""

    def __init__(self, url: str, *, chain_id: int | None = None, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Nothing is sent yet.

        Args:
            url: such as http://127.0.0.1:8545.
            chain_id: the id that `check` insists on; None takes what is there.
            timeout: seconds for each call.
        """
        self.url, self._timeout = url, timeout
        self._chain_id, self._checked = chain_id, False
        self._session: aiohttp.ClientSession | None = None
        self._ids = itertools.count(1)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Drop the pooled connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(self, method: str, *params: Any) -> Any:
        """One JSON-RPC call.

        Raises:
            ChainUnreachableError: no answer in time, or none that is JSON-RPC.
            RevertedError: a contract refused; the class tells why.
            RpcError: the node refused.
        """
        name = next(self._ids)
        body = {"jsonrpc": "2.0", "id": name, "method": method, "params": params}
        answer = await self._post(body, method)
        if not isinstance(answer, dict) or not ("result" in answer or "error" in answer):
            raise ChainUnreachableError(f"{self.url} answers, but not with JSON-RPC. Check the URL of the chain.")
        if answer.get("error") is not None:
            raise build_rpc_error(answer["error"], method)
        return answer.get("result")

    async def _post(self, body: Mapping[str, Any], method: str) -> Any:
        session = self._session or self._open()
        data = json.dumps(body).encode()
        for attempt in (1, 2):
            try:
                async with session.post(self.url, data=data, headers={"content-type": "application/json"}) as reply:
                    content = await self._read_bounded(reply)
                return json.loads(content)
            except aiohttp.ServerDisconnectedError as error:
                # A pooled connection that the node had closed; all we send can be sent twice.
                if attempt == 2:
                    raise self._unreachable(method, error) from error
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise self._unreachable(method, error) from error
            except ValueError as error:
                raise ChainUnreachableError(
                    f"{self.url} answers {method} with something that is not JSON. Check the URL of the chain."
                ) from error
        raise AssertionError("the second attempt returns or raises")

    async def _read_bounded(self, reply: aiohttp.ClientResponse) -> bytes:
        content = bytearray()
        async for chunk in reply.content.iter_chunked(2**16):
            content += chunk
            if len(content) > _MAX_ANSWER:
                raise RpcError(
                    f"{self.url} answers with more than {_MAX_ANSWER >> 20} MiB. Ask for fewer blocks at a time."
                )
        return bytes(content)

    def _open(self) -> aiohttp.ClientSession:
        limit = aiohttp.ClientTimeout(total=self._timeout)
        self._session = aiohttp.ClientSession(timeout=limit, connector=aiohttp.TCPConnector(limit=32))
        return self._session

    def _unreachable(self, method: str, error: BaseException) -> ChainUnreachableError:
        why = f"no answer within {self._timeout:g} s" if isinstance(error, TimeoutError) else str(error)
        return ChainUnreachableError(
            f"The chain at {self.url} cannot be reached ({method}: {why or type(error).__name__}). "
            "Start it with: tercet chain start, or pass its URL with --chain."
        )

    async def chain_id(self) -> int:
        """The chain's id, asked once.

        Raises:
            WrongChainError: it is not the one that this client was made for.
        """
        if not self._checked:
            found = int(await self.call("eth_chainId"), 16)
            if self._chain_id not in (None, found):
                raise WrongChainError(
                    f"The chain at {self.url} has id {found}, but {self._chain_id} is expected. "
                    "Pass the URL of the right chain, or use another state folder."
                )
            self._chain_id, self._checked = found, True
        assert self._chain_id is not None
        return self._chain_id

    async def head(self) -> Head:
        """The newest block."""
        return await self.block("latest")

    async def block(self, number: int | str) -> Head:
        """A block by number or tag."""
        tag = hex(number) if isinstance(number, int) else number
        found = await self.call("eth_getBlockByNumber", tag, False)
        if found is None:
            raise RpcError(f"Block {number} is not there.")
        digest = bytes.fromhex(found["hash"][2:])
        return Head(
            int(found["number"], 16), digest, int(found["timestamp"], 16), int(found.get("baseFeePerGas", "0x0"), 16)
        )

    async def balance(self, address: str) -> int:
        """Wei."""
        return int(await self.call("eth_getBalance", address, "latest"), 16)

    async def nonce(self, address: str) -> int:
        """The next nonce, transactions that wait included."""
        return int(await self.call("eth_getTransactionCount", address, "pending"), 16)

    async def code(self, address: str) -> bytes:
        """A contract's code; empty where there is none."""
        return bytes.fromhex((await self.call("eth_getCode", address, "latest"))[2:])

    async def view(self, to: str, data: bytes, *, sender: str | None = None, block: int | str = "latest") -> bytes:
        """Run a call without a transaction; its return data."""
        call = _call_object(to, data, 0, sender)
        tag = hex(block) if isinstance(block, int) else block
        return bytes.fromhex((await self.call("eth_call", call, tag))[2:])

    async def estimate(self, sender: str, to: str | None, data: bytes, value: int = 0) -> int:
        """Gas that a transaction needs; raises as it would revert."""
        return int(await self.call("eth_estimateGas", _call_object(to, data, value, sender)), 16)

    async def tip(self) -> int:
        """The node's suggestion, wei a gas."""
        return int(await self.call("eth_maxPriorityFeePerGas"), 16)

    async def send_raw(self, raw: bytes) -> bytes:
        """Hand over a signed transaction; its hash."""
        return bytes.fromhex((await self.call("eth_sendRawTransaction", "0x" + raw.hex()))[2:])

    async def receipt(self, transaction: bytes) -> Receipt | None:
        """A receipt, None while it is not mined."""
        found = await self.call("eth_getTransactionReceipt", "0x" + transaction.hex())
        return None if found is None else _read_receipt(found)

    async def logs(
        self, first: int, last: int, addresses: Sequence[str] = (), topics: Sequence[Sequence[bytes]] = ()
    ) -> list[Log]:
        """Logs of the blocks `first` to `last` that match; see `tercet.chain.logs` for whole histories."""
        query: dict[str, Any] = {"fromBlock": hex(first), "toBlock": hex(last)}
        if addresses:
            query["address"] = list(addresses)
        if topics:
            query["topics"] = [["0x" + t.hex() for t in options] or None for options in topics]
        return [_read_log(entry) for entry in await self.call("eth_getLogs", query)]


def build_rpc_error(error: Any, method: str) -> Exception:
    """The typed error for a JSON-RPC error object; nodes differ in code and place of a revert's data."""
    if not isinstance(error, dict):
        return RpcError(f"{method} failed: {error!r:.200}")
    message, code, data = str(error.get("message", "")), error.get("code", 0), error.get("data")
    if isinstance(data, dict):  # some nodes wrap it
        data = data.get("data") or data.get("result")
    if code == 3 or "revert" in message.lower():
        returned = bytes.fromhex(data[2:]) if isinstance(data, str) and data.startswith("0x") else b""
        _, _, told = message.partition("reverted: ")
        return build_revert(decode_reason(returned) or told.strip())
    if "insufficient funds" in message.lower():
        return InsufficientFundsError(
            f"The sender cannot pay for gas and value ({message}). Fund it with: tercet wallet fund NAME",
            reason=message,
        )
    return RpcError(f"The chain refuses {method}: {message}", code=code if isinstance(code, int) else 0, data=data)


async def poll_delays(deadline: float) -> AsyncIterator[None]:
    """Sleep ever longer (5 ms to 0.25 s) until the loop's time passes `deadline`."""
    loop, delay = asyncio.get_running_loop(), 0.005
    while loop.time() < deadline:
        yield
        await asyncio.sleep(min(delay, max(deadline - loop.time(), 0)))
        delay = min(delay * 1.5, 0.25)


def _call_object(to: str | None, data: bytes, value: int, sender: str | None) -> dict[str, str]:
    call = {"data": "0x" + data.hex()}
    if to:
        call["to"] = to
    if sender:
        call["from"] = sender
    if value:
        call["value"] = hex(value)
    return call


def _read_receipt(found: Mapping[str, Any]) -> Receipt:
    contract = found.get("contractAddress")
    return Receipt(
        transaction=bytes.fromhex(found["transactionHash"][2:]),
        block=int(found["blockNumber"], 16),
        status=int(found["status"], 16),
        gas_used=int(found["gasUsed"], 16),
        gas_price=int(found.get("effectiveGasPrice", "0x0"), 16),
        contract=checksum_address(bytes.fromhex(contract[2:])) if contract else None,
        logs=tuple(_read_log(entry) for entry in found["logs"]),
        revert=bytes.fromhex(found.get("revertReason", "0x")[2:]),
    )


def _read_log(entry: Mapping[str, Any]) -> Log:
    return Log(
        address=checksum_address(bytes.fromhex(entry["address"][2:])),
        topics=tuple(bytes.fromhex(topic[2:]) for topic in entry["topics"]),
        data=bytes.fromhex(entry["data"][2:]),
        block=int(entry["blockNumber"], 16),
        position=int(entry["logIndex"], 16),
        transaction=bytes.fromhex(entry["transactionHash"][2:]),
    )
