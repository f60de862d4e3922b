"""The HTTP front of the embedded chain: JSON-RPC over POST /, the EVM on a thread of its own.

Bound to 127.0.0.1 unless told otherwise. No CORS: only `application/json` bodies are read, which a
web page of another origin cannot send without a preflight, and nothing answers preflights; and on a
loopback address only loopback names are taken in `Host`, against DNS rebinding.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import json
import logging
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from tercet.chain.devnet.chain import Chain, Settings
from tercet.chain.devnet.filters import Filters
from tercet.chain.devnet.methods import Node, answer
from tercet.errors import PortTakenError, RpcError

MAX_BODY = 4 * 2**20
"""Bytes of one HTTP body: room for a batch of deployments."""
MAX_BATCH = 1_000
_STACK = 256 * 2**20
"""Stack of the EVM thread: py-evm recurses a dozen Python frames for each of 1,024 nested calls."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Server:
    """A running endpoint."""

    url: str
    chain_id: int
    faucet: str
    """Address of the account that holds all money at genesis; its key is `faucet.key` in the folder."""


@contextlib.asynccontextmanager
async def serve(
    folder: Path,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    settings: Settings | None = None,
    time_travel: bool = False,
) -> AsyncIterator[Server]:
    """Run the chain in `folder` until the block is left.

    Args:
        folder: made if missing; holds the chain and its faucet key.
        host: address to listen on.
        port: 0 takes a free one, told by the yielded `Server.url`.
        settings: chain id, gas limit, clock.
        time_travel: serve evm_increaseTime, evm_setNextBlockTimestamp and evm_mine.

    Raises:
        PortTakenError: somebody listens there already.
        ChainBusyError: another process runs the chain in this folder.
        WrongChainError: the folder's chain has another id, or the id is a public chain's.
    """
    async with _evm_thread(folder, settings, time_travel=time_travel) as (node, thread):
        application = web.Application(client_max_size=MAX_BODY)
        front = _Front(node, thread, _host_names(host))
        application.router.add_post("/", front.handle)
        runner = web.AppRunner(application, access_log=None, keepalive_timeout=75, shutdown_timeout=2)
        await runner.setup()
        try:
            bound = await _listen(runner, host, port)
            shown = f"[{host}]" if ":" in host else host
            yield Server(f"http://{shown}:{bound}", node.chain.settings.chain_id, node.chain.faucet.address)
        finally:
            await runner.cleanup()


@contextlib.asynccontextmanager
async def _evm_thread(
    folder: Path, settings: Settings | None, *, time_travel: bool
) -> AsyncIterator[tuple[Node, ThreadPoolExecutor]]:
    loop, thread = asyncio.get_running_loop(), ThreadPoolExecutor(1, thread_name_prefix="evm")
    before = threading.stack_size(_STACK)
    try:
        opening = loop.run_in_executor(thread, Chain, folder, settings)  # starts the thread, hence its stack
    finally:
        threading.stack_size(before)
    try:
        chain = await opening
        try:
            yield Node(chain, Filters(), time_travel), thread
        finally:
            await loop.run_in_executor(thread, chain.close)
    finally:
        thread.shutdown(wait=True)


async def _listen(runner: web.AppRunner, host: str, port: int) -> int:
    site = web.TCPSite(runner, host, port)
    try:
        await site.start()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise PortTakenError(
                f"Cannot listen on {host}:{port}: {error.strerror}. Choose another address."
            ) from error
        raise PortTakenError(
            f"Port {port} on {host} is taken. Stop what listens there, or choose another port (0 takes a free one)."
        ) from error
    return int(runner.addresses[0][1])


def _host_names(host: str) -> frozenset[str] | None:
    """Names that a request's Host may carry; None means any, when the address is not loopback."""
    with contextlib.suppress(ValueError):
        if not ipaddress.ip_address(host).is_loopback:
            return None
    return frozenset({"localhost", "127.0.0.1", "[::1]", host})


class _Front:
    """Turns HTTP into calls and their results into HTTP."""

    def __init__(self, node: Node, thread: ThreadPoolExecutor, names: frozenset[str] | None) -> None:
        self._node, self._thread, self._names = node, thread, names

    async def handle(self, request: web.Request) -> web.Response:
        """One POST: a call or a batch."""
        name = request.host.rpartition(":")[0] if not request.host.endswith("]") else request.host
        if self._names is not None and (name or request.host) not in self._names:
            return web.Response(status=403, text="This chain answers to loopback names only.")
        if request.content_type != "application/json":
            return web.Response(status=415, text="Send JSON-RPC with content-type application/json.")
        try:
            parsed = json.loads(await request.read())
        except ValueError:
            return _reply(_failure(None, RpcError("the body is not JSON", code=-32700)))
        loop = asyncio.get_running_loop()
        return _reply(await loop.run_in_executor(self._thread, self._answer_all, parsed))

    def _answer_all(self, parsed: Any) -> Any:
        if not isinstance(parsed, list):
            return self._answer(parsed)
        if not 0 < len(parsed) <= MAX_BATCH:
            return _failure(None, RpcError(f"a batch holds 1 to {MAX_BATCH} calls", code=-32600))
        return [shown for call in parsed if (shown := self._answer(call)) is not None]

    def _answer(self, call: Any) -> dict[str, Any] | None:
        if not isinstance(call, dict) or not isinstance(call.get("method"), str):
            return _failure(None, RpcError("a call is an object with method and params", code=-32600))
        name, params = call.get("id"), call.get("params") or []
        try:
            if not isinstance(params, Sequence) or isinstance(params, str):
                raise RpcError("params must be a list", code=-32602)
            result = answer(self._node, call["method"], params)
        except RpcError as error:
            return _failure(name, error)
        except Exception:  # noqa: BLE001  # one call's accident must not stop the chain
            _log.exception("chain.rpc_failed", extra={"method": call["method"]})
            return _failure(name, RpcError("internal error; the chain's log tells more", code=-32603))
        return {"jsonrpc": "2.0", "id": name, "result": result} if "id" in call else None


def _failure(name: Any, error: RpcError) -> dict[str, Any]:
    shown: dict[str, Any] = {"code": error.code, "message": str(error)}
    if error.data is not None:
        shown["data"] = error.data
    return {"jsonrpc": "2.0", "id": name, "error": shown}


def _reply(content: Any) -> web.Response:
    return web.Response(body=json.dumps(content).encode(), content_type="application/json")
