"""`tercet market health` against two markets whose holders are known."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tercet.chain import Key, Ledger, MarketContract, MarketParams, Rpc, Sender, close_epoch, deploy, serve
from tercet.chain.market import build_commit_digest
from tercet.market import build_row
from tercet.market.epoch import pack_row

from .conftest import Shell, covers, fields_of
from .test_chain_commands import schema_of

TCT = 10**18
SALT = bytes(32)


class Street:
    """Two markets, and people who are in both of them."""

    def __init__(self, rpc: Rpc, ledger: Ledger, bank: Sender) -> None:
        self.rpc, self.ledger, self.bank = rpc, ledger, bank

    async def person(self) -> Sender:
        """Somebody with gas and stake token."""
        key = Key.generate()
        await self.bank.send(key.address, value=10**18, gas=21_000)
        await self.ledger.token.transfer(self.bank, key.address, 1_000 * TCT)
        return Sender(self.rpc, key, deadline=20)

    async def open(self, name: str, stakes: dict[Sender, int], miners: list[Sender]) -> MarketContract:
        """A market with validators and miners."""
        params = MarketParams("echo", commit_seconds=60, reveal_seconds=60, validator_share_bps=5_000)
        await self.ledger.token.approve(self.bank, self.ledger.registry.address)
        address = await self.ledger.registry.open_market(self.bank, self.ledger.token.address, name, params)
        market = self.ledger.market(address)
        doors = [contract.address for contract in await market.contracts()]
        for person in {*stakes, *miners, self.bank}:
            for door in doors:
                await self.ledger.token.approve(person, door)
        for person, stake in stakes.items():
            await market.register_validator(person, person.address, stake)
        for miner in miners:
            await market.register_miner(miner, miner.address, "http://127.0.0.1:1", 10 * TCT)
        return market

    async def play(self, market: MarketContract, validators: list[Sender], scores: dict[int, float]) -> None:
        """One epoch in which everybody says the same."""
        status = await market.status()
        words = tuple(pack_row(build_row(scores, status.columns)))
        for person in validators:
            digest = build_commit_digest(
                await self.rpc.chain_id(), market.address, status.epoch, person.address, SALT, status.generation, words
            )
            await market.commit(person, digest)
        await self._pass_time(60)
        for person in validators:
            await market.reveal(person, status.generation, SALT, words)
        await self._pass_time(60)
        await close_epoch(market, self.bank)

    async def _pass_time(self, seconds: int) -> None:
        await self.rpc.call("evm_increaseTime", hex(seconds))
        await self.rpc.call("evm_mine")


def find(rows: list[dict[str, Any]], market: str, measure: str) -> dict[str, Any]:
    """One row of the answer."""
    (row,) = [row for row in rows if (row["market"], row["measure"]) == (market, measure)]
    return row


@pytest.mark.slow
async def test_health_tells_the_figures_of_each_market_and_of_all(shell: Shell) -> None:
    """One who holds half of each of two markets holds half of all; pay and compute follow the votes."""
    folder: Path = shell.folder / "chain"
    async with serve(folder, time_travel=True) as server, Rpc(server.url) as rpc:
        bank = Sender(rpc, Key.from_hex((folder / "faucet.key").read_text()), deadline=20)
        ledger = Ledger(rpc, await deploy(bank))
        ledger.deployment.save(shell.folder / "deployment.json")
        street = Street(rpc, ledger, bank)
        whale, first, second, miner, other = [await street.person() for _ in range(5)]
        left = await street.open("left", {whale: 60 * TCT, first: 30 * TCT, second: 20 * TCT}, [miner, other])
        await street.open("right", {whale: 10 * TCT}, [miner])
        await (await left.treasury()).sponsor(bank, 8 * TCT, 2)
        pool = (await left.validators())[1].pool
        await (await left.stakes()).stake(second, pool, 10 * TCT)  # delegated to the first
        for _ in range(2):  # stake counts from the epoch after its own
            await street.play(left, [whale, first, second], {1: 3.0, 2: 1.0})
        options = ["--chain", server.url, "--json"]
        environment = {"TERCET_DEPLOYMENT": str(shell.folder / "deployment.json")}
        done = await asyncio.to_thread(shell.run, "market", "health", *options, environment=environment)
        alone = await asyncio.to_thread(shell.run, "market", "health", "left", *options, environment=environment)
        plain = await asyncio.to_thread(shell.run, "market", "health", *options[:2], environment=environment)
    assert done.code == 0, done.err
    assert covers(schema_of(["market", "health"]), fields_of(done.json))
    rows = done.json["rows"]
    stake = find(rows, "left", "stake by validator")
    assert (stake["holders"], stake["total"], stake["nakamoto"]) == (3, str(120 * TCT), 2), "exactly half is not more"
    assert (stake["hhi_bps"], stake["gini_bps"]) == (3_888, 2_222), "60, 40 and 20"
    staked = find(rows, "left", "stake by staker")
    assert (staked["total"], staked["hhi_bps"]) == (str(120 * TCT), 3_750), "60, 30 and 30"
    assert find(rows, "(all markets)", "stake by staker")["nakamoto"] == 1, "70 of 130"
    pay = find(rows, "(all markets)", "miners' pay")
    assert (pay["holders"], pay["nakamoto"], pay["hhi_bps"]) == (2, 1, 6_249), "three quarters and one quarter"
    assert find(rows, "left", "compute")["hhi_bps"] == pay["hhi_bps"]
    assert find(rows, "right", "miners' pay")["holders"] == 0
    assert alone.json["rows"] == [row for row in rows if row["market"] == "left"]
    assert plain.out.splitlines()[0].split() == ["MARKET", "MEASURE", "HOLDERS", "NAKAMOTO", "HHI", "GINI"]
