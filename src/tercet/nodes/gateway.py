"""The gateway as a role that stays up: puts its parts together, serves, and leaves when told to."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from tercet.chain.keys import Key
from tercet.chain.ledger import Ledger
from tercet.errors import UsageError
from tercet.nodes.admission import Limits
from tercet.nodes.budgets import Budgets
from tercet.nodes.buyer import Buyer
from tercet.nodes.directory import Directory
from tercet.nodes.gateway_calls import Desk, Terms
from tercet.nodes.gateway_http import Face, Kind, build_app
from tercet.nodes.gateway_keys import gateway_db
from tercet.nodes.gateway_market import Buying, Listing
from tercet.nodes.gateway_metrics import Metrics
from tercet.nodes.guard import Door, Guard
from tercet.nodes.role import announce, held, told_to_stop
from tercet.subnets import Mechanism, least_price
from tercet.turns import FairQueue

__all__ = ["GatewayConfig", "run_gateway"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """What a gateway needs to know."""

    key: Key = field(repr=False)
    """Pays the miners: its address needs credit for channels, and gas to open them."""
    ledger: Ledger
    market: str
    """Address of the market."""
    mechanism: Mechanism
    state: Path
    """Keys, budgets, receipts and vouchers; one gateway at a time."""
    host: str = "127.0.0.1"
    port: int = 4180
    """0 takes any free one."""
    deposit: int = 1_000_000
    """Credit units put into a channel when it is opened, and again when it is used up."""
    models: Mapping[str, Kind] | None = None
    """Names to ask by; None takes the mechanism's model, and minilm for embeddings."""
    terms: Terms = Terms()  # noqa: RUF009 - frozen
    slots: int = 64
    """Calls in flight."""
    longest_queue: int = 512
    poll_seconds: float = 2.0
    """How often the ledger is looked at."""
    grace_seconds: float = 10.0
    """How long calls in flight may go on when the gateway is told to stop."""
    limits: Limits = Limits()  # noqa: RUF009 - frozen
    """Connections, and how long each may take over its headers."""


async def run_gateway(config: GatewayConfig) -> int:
    """Serve until SIGTERM (returns 0) or SIGINT (returns 130). Prints one `ready` line when it serves.

    Raises:
        StateLockedError: another gateway works on the same state.
        UsageError: somebody listens there already.
        ChainError, UnreachableError: the ledger cannot be read at the start.

    """
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(held(config.state, "gateway"))
        told = stack.enter_context(told_to_stop())
        budgets = stack.enter_context(Budgets(gateway_db(config.state)))
        for receipt in budgets.recover():
            log.warning("gateway.lost id=%s key=%s miner=%d", receipt.id, receipt.key, receipt.uid)
        await config.ledger.check()
        await config.mechanism.open("gateway")
        stack.push_async_callback(config.mechanism.close)
        directory = Directory(config.ledger, config.market, config.poll_seconds, floor=least_price(config.mechanism))
        buyer = Buyer(config.key, config.ledger, config.market, config.state / "buyer.db", deposit=config.deposit)
        stack.push_async_callback(buyer.close)
        await directory.refresh()
        stack.push_async_callback(_end, asyncio.create_task(directory.run()))
        desk = build_desk(config, directory, buyer, budgets)
        async with serving(config, desk) as url:
            announce("gateway", endpoint=url, address=config.key.address)
            await told
        return told.result()


def build_desk(config: GatewayConfig, listing: Listing, buying: Buying, budgets: Budgets) -> Desk:
    """The desk of this configuration."""
    queue = FairQueue(config.slots, config.longest_queue)
    return Desk(listing, buying, budgets, Metrics(), queue, terms=config.terms)


@contextlib.asynccontextmanager
async def serving(config: GatewayConfig, desk: Desk) -> AsyncIterator[str]:
    """Listen while the block runs; yields the address. At its end calls in flight get `grace_seconds`."""
    models = default_models(config.mechanism) if config.models is None else config.models
    door = Door(config.limits)
    app = build_app(Face(desk, config.mechanism.limit, models))
    app.middlewares.insert(0, _timed(door))
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=config.grace_seconds)
    await runner.setup()
    assert runner.server is not None
    listener = await _listen(runner.server, door, config)
    sweeper = asyncio.create_task(door.sweep_forever())
    try:
        host, port = listener.sockets[0].getsockname()[:2]
        yield f"http://{f'[{host}]' if ':' in host else host}:{port}"
    finally:
        desk.stopping = True
        listener.close()
        await runner.cleanup()
        await _end(sweeper)


def _timed(door: Door) -> Middleware:
    """From complete headers to the end of the answer a handler keeps its own time; the door keeps the rest."""

    @web.middleware
    async def timed(request: web.Request, handler: Handler) -> web.StreamResponse:
        guard = door.guard(request.protocol)
        if guard is None:
            raise ConnectionResetError
        guard.begin_work()
        try:
            return await handler(request)
        finally:
            guard.end_work()

    return timed


async def _listen(server: web.Server, door: Door, config: GatewayConfig) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    try:
        return await loop.create_server(lambda: Guard(door, server()), config.host, config.port, backlog=512)
    except OSError as error:
        raise UsageError(
            f"Cannot listen on {config.host}:{config.port}: {error.strerror or error}."
            " Choose another port, or 0 for any free one."
        ) from error


def default_models(mechanism: Mechanism) -> dict[str, Kind]:
    """What a mechanism's market sells, by name."""
    promised = getattr(mechanism, "model", None)
    if not isinstance(promised, str):
        return {mechanism.name: "chat"}
    return {Path(promised).name: "chat", "minilm": "embed"}


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
