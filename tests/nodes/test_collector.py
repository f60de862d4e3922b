"""Money that waits outside a market is brought in by its validators, by turns, on the embedded chain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tercet.chain import Award, Key, Ledger, MarketContract, MarketParams, Rpc, Sender, deploy, sign_voucher
from tercet.chain.devnet import serve
from tercet.chain.ledger import FEE_BPS, FORWARD_BPS
from tercet.market import ChannelConfig
from tercet.nodes.collector import Collector, Due, choose_due
from tercet.nodes.seat import ChainSeat

TCT = 10**18
PERIOD = 3_600
PAID = 1_000_000


@dataclass(frozen=True, slots=True)
class Site:
    """A market that pays in credit, in which two validators sit."""

    ledger: Ledger
    market: MarketContract
    bank: Sender
    seats: tuple[Sender, Sender]

    @property
    def collectors(self) -> list[Collector]:
        return [Collector(self.ledger, self.market, sender) for sender in self.seats]

    async def pass_time(self, seconds: int) -> None:
        await self.ledger.rpc.call("evm_increaseTime", hex(seconds))
        await self.ledger.rpc.call("evm_mine")

    async def sell_work(self) -> None:
        """A miner of the market redeems a voucher."""
        ledger, bank = self.ledger, self.bank
        await ledger.credit.mint(bank, bank.address, PAID)
        await ledger.credit.approve(bank, ledger.escrow.address)
        await ledger.escrow.declare_market(bank, self.market.address)
        ends = bank.address, bank.address, bank.address, bank.address
        config = ChannelConfig(*ends, ledger.credit.address, 60, b"\1" * 32)
        channel = await ledger.escrow.open(bank, config, PAID)
        voucher = sign_voucher(ledger.deployment.domain, bank.key, channel, PAID)
        await ledger.escrow.redeem(bank, config, PAID, voucher)

    async def nonces(self) -> list[int]:
        return [await self.ledger.rpc.nonce(sender.address) for sender in self.seats]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with serve(tmp_path / "chain", time_travel=True) as server, Rpc(server.url) as rpc:
        bank = Sender(rpc, Key.from_hex((tmp_path / "chain" / "faucet.key").read_text()))
        ledger = Ledger(rpc, await deploy(bank, period_seconds=PERIOD))
        await ledger.token.approve(bank, ledger.registry.address)
        params = MarketParams("echo", commit_seconds=100, reveal_seconds=50)
        market = ledger.market(await ledger.registry.open_market(bank, ledger.credit.address, "echo", params))
        await ledger.token.approve(bank, (await market.stakes()).address)
        senders = Sender(rpc, Key.generate()), Sender(rpc, Key.generate())
        for sender in senders:
            await bank.send(sender.address, value=10**18)
            await market.register_validator(bank, sender.address, TCT)
        yield Site(ledger, market, bank, senders)


async def test_fees_reach_the_next_epoch(site: Site) -> None:
    """The market's part of a redeemed voucher's fee is in its treasury after one look; a second look sends nothing."""
    await site.sell_work()
    (first, _), share = site.collectors, PAID * FEE_BPS // 10_000 * FORWARD_BPS // 10_000
    treasury = (await site.market.treasury()).address
    assert await site.ledger.fees.pending(site.market.address) == share
    assert await first.bring_in() == 1
    assert await site.ledger.fees.pending(site.market.address) == 0
    assert await site.ledger.credit.balance(treasury) == share
    nonces = await site.nonces()
    assert await first.bring_in() == 0
    assert await site.nonces() == nonces


async def test_emission_that_fell_due_is_minted(site: Site) -> None:
    """Half of what was burned, once its period and the next one are over."""
    await site.ledger.token.approve(site.bank, site.ledger.fees.address)
    await site.ledger.fees.burn_for(site.bank, site.market.address, 10 * TCT)
    first, _ = site.collectors
    assert await first.bring_in() == 0
    await site.pass_time(2 * PERIOD)
    assert await first.bring_in() == 1
    assert await site.ledger.emission.minted() == 5 * TCT


async def test_two_at_once_are_harmless(site: Site) -> None:
    """The fees arrive once, and the slower one makes no noise."""
    await site.sell_work()
    sent = await asyncio.gather(*(collector.bring_in() for collector in site.collectors))
    assert sum(sent) == 1
    assert await site.ledger.fees.pending(site.market.address) == 0


async def test_looking_at_a_new_epoch_brings_money_in(site: Site) -> None:
    """A validator that does nothing but follow the epochs: one transaction, of the one whose turn it is."""
    await site.sell_work()
    seats = [ChainSeat(site.ledger, site.market, sender) for sender in site.seats]
    await asyncio.gather(*(seat.look() for seat in seats))
    await seats[0].collector.done()
    assert await site.ledger.fees.pending(site.market.address) == 0
    assert await site.nonces() == [1, 0]
    for _ in range(3):
        await seats[0].look()  # the same epoch: nothing more to do in it
    await seats[0].collector.done()
    assert await site.nonces() == [1, 0]


async def test_without_gas_the_epoch_goes_on(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Who cannot pay for it says so, and sits as before."""
    await site.sell_work()
    poor = Sender(site.ledger.rpc, Key.generate())
    await site.market.set_validator_operator(site.bank, 0, poor.address)
    seat = ChainSeat(site.ledger, site.market, poor)
    await seat.look()
    await seat.collector.done()
    assert "collect.postponed" in caplog.text
    assert (await seat.look()).epoch == 0
    assert await site.ledger.fees.pending(site.market.address) > 0


@pytest.mark.parametrize(
    ("pending", "reward", "awards", "due"),
    [
        (0, 0, {}, Due(0, ())),
        (1, 0, {}, Due(1, ())),
        (999, 10**6, {}, Due(0, ())),
        (1_000, 10**6, {}, Due(1_000, ())),
        (0, 0, {3: Award(240, 0, 9)}, Due(0, ())),
        (0, 0, {3: Award(240, 0, 10), 4: Award(240, 200, 0)}, Due(0, (3,))),
        (0, 0, {3: Award(240, 235, 5)}, Due(0, (3,))),
    ],
)
def test_only_what_is_worth_the_gas_is_brought(pending: int, reward: int, awards: dict[int, Award], due: Due) -> None:
    """A thousandth of an epoch's reward, a twenty-fourth of an award, or its rest."""
    assert choose_due(pending, reward, awards) == due


async def test_turns_go_round(site: Site) -> None:
    """In each epoch another seat is first; all have had their turn before half of it is over."""
    waited: list[float] = []

    class Watch(Collector):
        async def _wait_and_bring(self, seconds: float) -> None:
            waited.append(seconds)

    watch = Watch(site.ledger, site.market, site.seats[0])
    for epoch in (0, 1, 2, 2, 3):
        watch.notice(epoch, 1, 3, 60.0)
        await watch.done()
    assert waited == [10.0, 0.0, 20.0, 10.0]
