"""A market on the embedded chain, in a thread of its own for all tests; fresh actors for each."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tercet.chain import Deployment, Key, Ledger, MarketParams, Rpc, Sender, deploy
from tercet.chain.devnet import serve
from tercet.chain.ledger import FEE_BPS
from tercet.market import Price, Task, Usage
from tercet.nodes.admission import Limits
from tercet.nodes.buyer import Buyer, Exchange
from tercet.nodes.directory import Directory, MinerEntry
from tercet.nodes.miner import Miner, MinerConfig
from tercet.subnets.echo import Echo
from tercet.subnets.mechanism import Mechanism

PRICE = Price(per_request=5_000)
"""What miners ask here; unproven ones get 100."""
PAID = 100
PATIENT = Limits(stranger_rate=10_000)
"""All tests come from one address."""


@dataclass(frozen=True, slots=True)
class Town:
    """A running chain with the contracts and one echo market."""

    url: str
    deployment: Deployment
    market: str
    faucet: Key

    def ledger(self) -> Ledger:
        """A client in this event loop; its `rpc` wants closing."""
        return Ledger(Rpc(self.url), self.deployment)


@contextlib.contextmanager
def town(folder: Path) -> Iterator[Town]:
    """Run the chain until the block is left."""
    ready: Future[tuple[Town, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def live() -> None:
        try:
            async with serve(folder, time_travel=True) as server, Rpc(server.url) as rpc:
                faucet = Key.from_hex((folder / "faucet.key").read_text())
                sender = Sender(rpc, faucet)
                deployment = await deploy(sender, min_withdraw_delay=2)
                ledger = Ledger(rpc, deployment)
                await ledger.token.approve(sender, ledger.registry.address)
                params = MarketParams("echo", commit_seconds=60, reveal_seconds=60, max_price=10**18)
                market = await ledger.registry.open_market(sender, ledger.token.address, "Echo", params)
                stop = asyncio.Event()
                ready.set_result((Town(server.url, deployment, market, faucet), asyncio.get_running_loop(), stop))
                await stop.wait()
        except BaseException as error:
            if not ready.done():
                ready.set_exception(error)
            raise

    thread = threading.Thread(target=lambda: asyncio.run(live()))
    thread.start()
    there, loop, stop = ready.result(60)
    try:
        yield there
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)


class Stage:
    """One test's view of the town: its own connection, fresh and funded keys."""

    def __init__(self, there: Town, ledger: Ledger, folder: Path) -> None:
        self.town, self.ledger, self.folder = there, ledger, folder
        self.faucet = Sender(ledger.rpc, there.faucet)

    async def key(self, *, credit: int = 0, stake: int = 0) -> Key:
        """A fresh key with gas, credit and stake token."""
        key = Key.generate()
        await self.faucet.send(key.address, value=10**18, gas=21_000)
        if credit:
            await self.ledger.credit.mint(self.faucet, key.address, credit)
        if stake:
            await self.ledger.token.transfer(self.faucet, key.address, stake)
        return key

    async def register(self, key: Key, endpoint: str) -> MinerEntry:
        """A slot for a miner that the test plays itself."""
        sender = Sender(self.ledger.rpc, key)
        await self.ledger.token.approve(sender, self.town.market)
        market = self.ledger.market(self.town.market)
        uid = await market.register_miner(sender, key.address, endpoint, 2 * await market.price())
        return MinerEntry(uid, 1, key.address, key.address, endpoint, 0.0, proven=False, price=PRICE)

    def config(self, key: Key, name: str = "miner", mechanism: Mechanism | None = None, **options: Any) -> MinerConfig:
        """A miner of this market."""
        usual: dict[str, Any] = {"price": PRICE, "limits": PATIENT, "redeem_threshold": 10**9, "poll_seconds": 0.5}
        state = self.folder / name
        state.mkdir(exist_ok=True)
        return MinerConfig(key, self.ledger, self.town.market, mechanism or Echo(), state, **(usual | options))

    @contextlib.asynccontextmanager
    async def miner(self, config: MinerConfig | None = None, **options: Any) -> AsyncIterator[tuple[Miner, MinerEntry]]:
        """A miner in this process, with the entry that a directory would have of it."""
        config = config or self.config(await self.key(), **options)
        miner = Miner(config, config.key.address, 2)
        port = await miner.server.start("127.0.0.1", config.port)
        me, endpoint = config.key.address, f"http://127.0.0.1:{port}"
        try:
            yield miner, MinerEntry(1, 1, me, me, endpoint, 0.0, proven=False, price=config.price)
        finally:
            await miner.server.stop(1)
            await miner.close()

    @contextlib.asynccontextmanager
    async def buyer(
        self,
        key: Key | None = None,
        *,
        name: str = "buyer",
        deposit: int = 100_000,
        credit: int = 10**9,
        account: str = "",
    ) -> AsyncIterator[Buyer]:
        """A funded buyer, or one whose smart account pays."""
        key, path = key or await self.key(credit=credit), self.folder / f"{name}.sqlite"
        buyer = Buyer(key, self.ledger, self.town.market, path, deposit=deposit, account=account)
        try:
            yield buyer
        finally:
            await buyer.close()

    @contextlib.asynccontextmanager
    async def directory(self) -> AsyncIterator[Directory]:
        """A directory that was refreshed once."""
        directory = Directory(self.ledger, self.town.market)
        try:
            await directory.refresh()
            yield directory
        finally:
            await directory.close()


def net(units: int) -> int:
    """What one redemption of so many credit units brings: the network's fee is off."""
    return units - units * FEE_BPS // 10_000


async def buy(buyer: Buyer, miner: MinerEntry, text: str = "hello", seconds: float = 20, **options: Any) -> Exchange:
    """One paid echo, read to its end."""
    task: Task = {"text": text}
    exchange = buyer.ask(miner, task, Usage(len(text), len(text)), deadline_seconds=seconds, **options)
    async with exchange:
        assert [piece["text"] async for piece in exchange] == [text]
    return exchange


class Child:
    """An actor in a process of its own, to be killed."""

    def __init__(self, role: str, **config: Any) -> None:
        command = [sys.executable, str(Path(__file__).with_name("actors.py")), role, json.dumps(config)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.lines = self.process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    async def line(self, seconds: float = 30) -> dict[str, Any]:
        """The next JSON line that it prints."""
        text = await asyncio.wait_for(asyncio.to_thread(self.lines.readline), seconds)
        return dict(json.loads(text or "{}"))

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Send a signal and wait for the end; the exit code."""
        if self.process.poll() is None:
            os.kill(self.process.pid, number)
        code = self.process.wait(30)
        self.lines.close()
        return code


async def until(condition: Any, seconds: float = 15) -> None:
    """Poll until a condition (a function, sync or async) holds."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)
