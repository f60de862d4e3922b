"""Both nodes behind one fixture, so that every client test runs against the embedded chain and anvil."""

from __future__ import annotations

import asyncio
import contextlib
import re
import runpy
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tercet.chain.abi import encode, parse_interface
from tercet.chain.artifacts import Artifact
from tercet.chain.devnet import serve
from tercet.chain.devnet.chain import DEFAULT_CHAIN_ID, FAUCET_WEI
from tercet.chain.keys import Key
from tercet.chain.rpc import Rpc
from tercet.chain.sender import Sender

ROOT = Path(__file__).resolve().parents[2]
ANVIL: Path | None = runpy.run_path(str(ROOT / "scripts" / "fetch_anvil.py"))["anvil_path"]()
ANVIL_THERE = ANVIL is not None and ANVIL.exists()


@dataclass(frozen=True, slots=True)
class Node:
    """A running chain with a rich account."""

    kind: str
    url: str
    rpc: Rpc
    faucet: Key

    @property
    def sender(self) -> Sender:
        """The rich account, as a fresh sender."""
        return Sender(self.rpc, self.faucet, deadline=20)

    async def pass_time(self, seconds: int) -> None:
        """Let the chain's clock run ahead, and mine a block there."""
        await self.rpc.call("evm_increaseTime", hex(seconds))
        await self.rpc.call("evm_mine")

    async def fund(self, *keys: Key, wei: int = 10**20) -> list[Sender]:
        """Give keys money for gas; their senders."""
        for key in keys:
            await self.sender.send(key.address, value=wei, gas=21_000)
        return [Sender(self.rpc, key, deadline=20) for key in keys]


async def put(sender: Sender, artifact: Artifact, *arguments: object) -> str:
    """Deploy a contract; its address."""
    code = artifact.bytecode + encode(parse_interface(artifact.abi).constructor, arguments)
    receipt = await sender.send(None, code)
    assert receipt.contract is not None
    return receipt.contract


@contextlib.asynccontextmanager
async def run_embedded(folder: Path) -> AsyncIterator[Node]:
    """Our chain, in this process."""
    async with serve(folder, time_travel=True) as server, Rpc(server.url) as rpc:
        yield Node("embedded", server.url, rpc, Key.from_hex((folder / "faucet.key").read_text()))


@contextlib.asynccontextmanager
async def run_anvil() -> AsyncIterator[Node]:
    """Anvil as a child process on a free port, on our chain id and with a random rich account."""
    if ANVIL is None or not ANVIL_THERE:
        pytest.fail("anvil is not there. Fetch it with: python scripts/fetch_anvil.py, or run: pytest -m 'not anvil'")
    flags = ["--port", "0", "--chain-id", str(DEFAULT_CHAIN_ID), "--enable-tx-gas-limit", "--accounts", "0"]
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(ANVIL, *flags, stdout=pipe, stderr=asyncio.subprocess.DEVNULL)
    try:
        url = await asyncio.wait_for(_listening(child), 20)
        draining = asyncio.create_task(_drain(child))
        async with Rpc(url) as rpc:
            faucet = Key.generate()
            await rpc.call("anvil_setBalance", faucet.address, hex(FAUCET_WEI))
            yield Node("anvil", url, rpc, faucet)
        draining.cancel()
    finally:
        child.kill()
        await child.wait()


async def _listening(child: asyncio.subprocess.Process) -> str:
    assert child.stdout is not None
    async for line in child.stdout:
        if found := re.search(rb"Listening on (\S+)", line):
            return f"http://{found[1].decode()}"
    raise AssertionError("anvil ended before it listened")


async def _drain(child: asyncio.subprocess.Process) -> None:
    assert child.stdout is not None
    while await child.stdout.read(65_536):
        pass


@pytest.fixture(params=["embedded", pytest.param("anvil", marks=pytest.mark.anvil)])
async def chain(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Node]:
    """A fresh chain of each kind."""
    running = run_embedded(tmp_path / "chain") if request.param == "embedded" else run_anvil()
    async with running as node:
        yield node
