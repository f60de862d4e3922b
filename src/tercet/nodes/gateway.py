"""The gateway as a role that stays up: puts its parts together, serves, and leaves when told to."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from tercet.chain.keys import Key
from tercet.chain.ledger import Ledger
from tercet.errors import StateLockedError, UsageError
from tercet.nodes.budgets import Budgets
from tercet.nodes.buyer import Buyer
from tercet.nodes.directory import Directory
from tercet.nodes.gateway_calls import Desk, Terms
from tercet.nodes.gateway_http import Face, Kind, build_app
from tercet.nodes.gateway_keys import gateway_db
from tercet.nodes.gateway_market import Buying, Listing
from tercet.nodes.gateway_metrics import Metrics
from tercet.nodes.gateway_queue import FairQueue
from tercet.subnets import Mechanism

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


async def run_gateway(config: GatewayConfig) -> int:
    """Serve until SIGTERM (returns 0) or SIGINT (returns 130). Prints one `ready` line when it serves.

    Raises:
        StateLockedError: another gateway works on the same state.
        UsageError: somebody listens there already.
        ChainError, UnreachableError: the ledger cannot be read at the start.

    """
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(_held(config.state))
        told = stack.enter_context(_told_to_stop())
        budgets = stack.enter_context(Budgets(gateway_db(config.state)))
        for receipt in budgets.recover():
            log.warning("gateway.lost id=%s key=%s miner=%d", receipt.id, receipt.key, receipt.uid)
        await config.ledger.check()
        await config.mechanism.open("gateway")
        stack.push_async_callback(config.mechanism.close)
        directory = Directory(config.ledger, config.market, config.poll_seconds)
        buyer = Buyer(config.key, config.ledger, config.market, config.state / "buyer.db", deposit=config.deposit)
        stack.push_async_callback(buyer.close)
        await directory.refresh()
        stack.push_async_callback(_end, asyncio.create_task(directory.run()))
        desk = build_desk(config, directory, buyer, budgets)
        async with serving(config, desk) as url:
            announce(config, url)
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
    app = build_app(Face(desk, config.mechanism.limit, models))
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=config.grace_seconds)
    await runner.setup()
    try:
        await _listen(runner, config)
        host, port = runner.addresses[0][:2]
        yield f"http://{f'[{host}]' if ':' in host else host}:{port}"
    finally:
        desk.stopping = True
        await runner.cleanup()


async def _listen(runner: web.AppRunner, config: GatewayConfig) -> None:
    try:
        await web.TCPSite(runner, config.host, config.port).start()
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


def announce(config: GatewayConfig, url: str) -> None:
    """The one line on stdout by which a parent knows that this role serves."""
    facts = {"ready": True, "role": "gateway", "endpoint": url, "address": config.key.address}
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@contextlib.contextmanager
def _held(state: Path) -> Iterator[None]:
    """Hold the state folder: a second gateway would take the first one's calls in flight for lost."""
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(state / "gateway.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StateLockedError(
                f"Another gateway works with {state}. Stop it, or give this one a state folder of its own."
            ) from None
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def _told_to_stop() -> Iterator[asyncio.Future[int]]:
    """Yields what becomes the exit code: 130 after SIGINT, 0 after SIGTERM. A second signal changes nothing."""
    loop = asyncio.get_running_loop()
    code: asyncio.Future[int] = loop.create_future()

    def tell(value: int) -> None:
        if not code.done():
            code.set_result(value)

    loop.add_signal_handler(signal.SIGINT, tell, 130)
    loop.add_signal_handler(signal.SIGTERM, tell, 0)
    try:
        yield code
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        loop.remove_signal_handler(signal.SIGTERM)
