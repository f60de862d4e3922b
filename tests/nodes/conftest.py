"""Keys by role, and a wire server on a free port."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tercet.chain.keys import Key
from tercet.market import Usage
from tercet.nodes.admission import Limits
from tercet.nodes.caller import Caller
from tercet.nodes.server import Call, FreeWork, WireServer, read_object

from .stage import Stage, Town, town


def key_of(role: str) -> Key:
    """The same key for the same role in every test."""
    return Key(role.encode().rjust(32, b"\1"))


MINER, BUYER, STRANGER = key_of("miner"), key_of("buyer"), key_of("stranger")


def soon(seconds: float = 10.0) -> float:
    """A deadline in event-loop time."""
    return asyncio.get_running_loop().time() + seconds


class SlowWork(FreeWork):
    """Two pieces with a pause that the test ends."""

    def __init__(self, gate: asyncio.Event) -> None:
        super().__init__({})
        self.gate = gate
        self.ended = "no"
        self.over = asyncio.Event()

    async def pieces(self) -> AsyncIterator[Any]:
        yield {"text": "first"}
        await self.gate.wait()
        yield {"text": "second", "usage": {"prompt": 0, "completion": 0}}

    def settle(self, usage: Usage) -> tuple[int, int]:
        self.ended = "settled"
        self.over.set()
        return 0, 0

    def fail(self) -> None:
        self.ended = "failed"
        self.over.set()

    def abandon(self, pieces: int) -> None:
        self.ended = f"abandoned after {pieces}"
        self.over.set()


async def echo(call: Call) -> FreeWork:
    """A route that returns the JSON it got."""
    return FreeWork({"echo": read_object(call.body)})


class Served:
    """A running server and what a test needs to talk to it."""

    def __init__(self, server: WireServer, port: int) -> None:
        self.server, self.port = server, port
        self.endpoint = f"http://127.0.0.1:{port}"


@asynccontextmanager
async def serving(
    state: Path,
    *,
    routes: dict[str, Any] | None = None,
    limits: Limits | None = None,
    clock: Callable[[], float] = time.time,
    weigh: Callable[[str], float] = lambda sender: 1.0 if sender == BUYER.address else 0.0,
) -> AsyncIterator[Served]:
    """A wire server in this event loop."""
    routes = routes or {"echo": echo}
    server = WireServer(MINER, state, routes, info=lambda: {"hello": 1}, limits=limits, clock=clock, weigh=weigh)
    port = await server.start("127.0.0.1", 0)
    try:
        yield Served(server, port)
    finally:
        await server.stop(1.0)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as running:
        yield running


@pytest.fixture
async def caller() -> AsyncIterator[Caller]:
    async with Caller(BUYER) as running:
        yield running


@pytest.fixture(scope="session")
def market_town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """One chain with one echo market, for all tests that trade."""
    with town(tmp_path_factory.mktemp("town")) as there:
        yield there


@pytest.fixture
async def stage(market_town: Town, tmp_path: Path) -> AsyncIterator[Stage]:
    """One test's connection to it."""
    ledger = market_town.ledger()
    yield Stage(market_town, ledger, tmp_path)
    await ledger.rpc.close()
