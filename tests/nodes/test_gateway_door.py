"""The gateway's own door: who dribbles is shown out, who waits for an answer is not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import cast

import aiohttp
import pytest

from tercet.chain import Key, Ledger
from tercet.errors import UsageError
from tercet.nodes.admission import Limits
from tercet.nodes.budgets import Budgets
from tercet.nodes.gateway import GatewayConfig, build_desk, serving
from tercet.nodes.gateway_market import Buying, Listing
from tercet.subnets.echo import Echo


class NoMarket:
    """A listing without miners and a buyer that is never asked."""

    def miners(self) -> list[object]:
        return []


def _config(folder: Path, port: int = 0) -> GatewayConfig:
    # The door is in front of everything that would need a ledger.
    return GatewayConfig(
        Key.generate(),
        cast("Ledger", None),
        market="",
        mechanism=Echo(),
        state=folder,
        port=port,
        grace_seconds=1,
        limits=Limits(header_seconds=2, idle_seconds=5),
    )


async def test_headers_that_dribble_are_cut_off(tmp_path: Path) -> None:
    """A slow-loris connection ends by itself; an honest client beside it is served."""
    config = _config(tmp_path)
    with Budgets(tmp_path / "gateway.db") as budgets:
        desk = build_desk(config, cast("Listing", NoMarket()), cast("Buying", NoMarket()), budgets)
        async with serving(config, desk) as url, aiohttp.ClientSession() as http:
            host, port = url.removeprefix("http://").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\nX-Never: ")
            async with http.get(url + "/health") as answer:
                assert answer.status in {200, 503}
            async with asyncio.timeout(20):
                with contextlib.suppress(ConnectionResetError):  # either way of closing will do
                    assert await reader.read() == b""
            writer.close()


async def test_a_taken_port_is_said_so(tmp_path: Path) -> None:
    """The message names the address and the mend."""
    with socket.socket() as taken, Budgets(tmp_path / "gateway.db") as budgets:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = _config(tmp_path, taken.getsockname()[1])
        desk = build_desk(config, cast("Listing", NoMarket()), cast("Buying", NoMarket()), budgets)
        with pytest.raises(UsageError, match=r"Cannot listen on 127.0.0.1:\d+: .* Choose another port"):
            async with serving(config, desk):
                pass
