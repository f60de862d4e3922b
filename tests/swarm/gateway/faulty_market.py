"""The market's own gateway on a free port, and in front of it a line that fails as a test wants."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import aiohttp
from aiohttp import web
from tests.nodes.test_gateway import FakeMarket, Stall, limit

from tercet.market import Taste
from tercet.nodes.budgets import Budgets
from tercet.nodes.gateway_calls import Desk, Terms
from tercet.nodes.gateway_http import Face, build_app
from tercet.nodes.gateway_keys import create_key, gateway_db
from tercet.nodes.gateway_metrics import Metrics
from tercet.swarm.gateway import HttpUpstream
from tercet.turns import FairQueue

Fault = Literal["none", "drop", "silent", "lose", "502", "502, then 401", "junk", "late"]
"""`drop`: hangs up when the answer is there and paid; `silent`: keeps it; `lose`: hangs up before the market heard of it;
`502`: says that somebody broke off, and in the end, or not, that the key is bad; `junk`: answers with something else;
`late`: keeps the question until `gate` is set.
"""
COST = 10 + 1 + 2 * 5
"""Of a call of five words."""


@dataclass
class Line:
    """Between the run and the market."""

    market: str
    books: Budgets
    key_id: str
    secret: str
    fault: Fault = "none"
    spared: int = 0
    """Questions that pass before the fault."""
    deaf: bool = False
    """Nobody can ask what a call cost."""
    mute: bool = False
    """Whoever asks that is heard, and hears nothing."""
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the market said what a call cost, to whoever hears it."""
    url: str = ""
    keys: list[str] = field(default_factory=list)
    """Idempotency keys of the questions that came."""
    bought: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when an answer was paid that nobody got."""
    came: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a question is kept."""
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def charged(self) -> int:
        """What the market took, by its own books."""
        return self.books.key(self.key_id).spent

    def upstream(self, seconds: float = 120.0) -> HttpUpstream:
        return HttpUpstream(self.url, self.secret, "fake", seconds=seconds)

    async def pass_on(self, request: web.Request) -> web.Response:
        """One request, there and back."""
        fault: Fault = "none"
        if request.method == "POST":
            fault = "none" if self.spared else self.fault
            self.spared = max(0, self.spared - 1)
            self.keys.append(request.headers["Idempotency-Key"])
        if fault == "502, then 401" and len(self.keys) > 1:
            return web.Response(status=401)
        if fault == "lose":
            return _hang_up(request)
        if fault == "late":
            self.came.set()
            await self.gate.wait()
        if request.method == "DELETE" and self.deaf:
            return web.Response(status=503)
        headers = {
            name: request.headers[name] for name in ("Authorization", "Idempotency-Key") if name in request.headers
        }
        async with aiohttp.ClientSession() as session:
            body = await request.read()
            async with session.request(
                request.method, self.market + request.path, data=body, headers=headers
            ) as answer:
                status, data = answer.status, await answer.read()
        if fault != "none":
            self.bought.set()
        if request.method == "DELETE":
            self.asked.set()
            if self.mute:
                await asyncio.sleep(60)
        if fault == "drop":
            return _hang_up(request)
        if fault == "silent":
            await asyncio.sleep(60)
        if fault.startswith("502"):
            return web.Response(status=502)
        return web.Response(body=b"<html>" if fault == "junk" else data, status=status, content_type="application/json")


def _hang_up(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@asynccontextmanager
async def faulty_market(folder: Path, *, budget: int = 10_000) -> AsyncIterator[Line]:
    """A market with one miner, a key for it, and the line to it; its books balance at the end."""
    secret, key = create_key(folder / "market", "run", budget)
    with Budgets(gateway_db(folder / "market")) as books:
        market = FakeMarket([Stall(1)])
        terms = Terms(taste=Taste(explore=0), stall_seconds=5)
        desk = Desk(market, market, books, Metrics(), FairQueue(8, longest=8), terms=terms, dice=random.Random(5))
        face = Face(desk, limit, {"fake": "chat"}, default_tokens=100)
        async with _served(build_app(face)) as url:
            line = Line(url, books, key.id, secret)
            front = web.Application()
            front.router.add_route("*", "/v1/{path:.*}", line.pass_on)
            async with _served(front) as line_url:
                line.url = f"{line_url}/v1"
                yield line
        assert books.check() == []


@asynccontextmanager
async def _served(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
