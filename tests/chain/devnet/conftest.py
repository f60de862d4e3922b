"""A chain served in this process, driven by synchronous clients from a thread."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tercet.chain.devnet import Server, serve
from tercet.chain.keys import Key


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "chain"


@pytest.fixture
async def server(folder: Path) -> AsyncIterator[Server]:
    async with serve(folder, time_travel=True) as running:
        yield running


@pytest.fixture
def faucet(server: Server, folder: Path) -> Key:
    return Key.from_hex((folder / "faucet.key").read_text())
