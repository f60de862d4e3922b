"""Payment channels through the typed client, on both nodes."""

from __future__ import annotations

import runpy
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import pytest

from tercet.chain import Claim, EscrowContract, Key, Ledger, Sender, channel_id, deploy, sign_voucher
from tercet.chain.artifacts import load_artifact
from tercet.chain.ledger import FEE_BPS
from tercet.errors import AlreadyDoneError, NotAllowedError, VoucherRefusedError, WrongPhaseError
from tercet.market import ChannelConfig

from .conftest import Node, put

compile_source = runpy.run_path(str(Path(__file__).parent / "contracts" / "sources.py"))["compile_source"]
PAYER, MINER = Key(b"\x31" * 32), Key(b"\x32" * 32)


@dataclass(frozen=True, slots=True)
class Shop:
    """A funded payer, a miner, an escrow and an open channel of 1,000 units."""

    ledger: Ledger
    payer: Sender
    miner: Sender
    config: ChannelConfig
    channel: bytes


def config_of(ledger: Ledger, salt: int) -> ChannelConfig:
    """A channel from the payer to the miner."""
    owner, receiver = PAYER.address, MINER.address
    return ChannelConfig(owner, owner, receiver, receiver, ledger.credit.address, 60, salt.to_bytes(32, "big"))


@pytest.fixture
async def shop(chain: Node) -> Shop:
    opener = chain.sender
    ledger = Ledger(chain.rpc, await deploy(opener))
    payer, miner = await chain.fund(PAYER, MINER)
    await ledger.credit.mint(opener, PAYER.address, 10_000)
    await ledger.credit.ensure_allowance(payer, ledger.escrow.address, 10_000)
    config = config_of(ledger, 1)
    return Shop(ledger, payer, miner, config, await ledger.escrow.open(payer, config, 1_000))


async def test_the_channel_id_is_the_contracts(shop: Shop) -> None:
    """The id computed off chain is the one on chain, and so is the voucher's digest."""
    domain = shop.ledger.deployment.domain
    assert shop.channel == channel_id(domain, shop.config)
    assert await shop.ledger.escrow.domain() == domain
    assert (await shop.ledger.escrow.channel(shop.channel)).balance == 1_000


async def test_vouchers_are_cumulative_and_replays_pay_nothing(shop: Shop) -> None:
    """Each redemption pays the difference; a stale, forged, overspent or foreign voucher changes nothing."""
    escrow, domain = shop.ledger.escrow, shop.ledger.deployment.domain
    first = sign_voucher(domain, PAYER, shop.channel, 300)
    better = sign_voucher(domain, PAYER, shop.channel, 800)
    greedy = sign_voucher(domain, PAYER, shop.channel, 5_000)
    forged = replace(greedy, signature=sign_voucher(domain, MINER, shop.channel, 5_000).signature)
    foreign = sign_voucher(replace(domain, chain_id=1), PAYER, shop.channel, 900)
    assert await escrow.redeem(shop.miner, shop.config, 250, first) == 250
    assert await escrow.redeem(shop.miner, shop.config, 700, better) == 450
    with pytest.raises(AlreadyDoneError, match="Nothing is lost"):
        await escrow.redeem(shop.miner, shop.config, 250, first)
    for bad, total in ((forged, 900), (foreign, 900), (better, 900), (greedy, 1_001)):
        with pytest.raises(VoucherRefusedError):
            await escrow.redeem(shop.miner, shop.config, total, bad)
    with pytest.raises(NotAllowedError):
        await escrow.redeem(shop.payer, shop.config, 800, better)
    assert await shop.ledger.credit.balance(MINER.address) == 700 - 2 - 4  # a hundredth of each, rounded down


async def test_a_signed_deposit_needs_no_gas_of_the_payer(shop: Shop, chain: Node) -> None:
    """Somebody else submits the payer's EIP-3009 permission, for opening and for topping up, once each."""
    escrow, config = shop.ledger.escrow, config_of(shop.ledger, 2)
    opening = await escrow.authorize_deposit(PAYER, config, 400, salt=b"\1" * 32)
    channel = await escrow.open_authorized(chain.sender, config, 400, opening)
    more = await escrow.authorize_deposit(PAYER, config, 50, salt=b"\2" * 32)
    await escrow.top_up_authorized(chain.sender, config, 50, more)
    with pytest.raises(AlreadyDoneError):
        await escrow.top_up_authorized(chain.sender, config, 50, more)
    assert (await escrow.channel(channel)).balance == 450


async def test_the_rest_comes_back_after_the_notice(shop: Shop, chain: Node) -> None:
    """The payer waits for the notice, the miner can redeem meanwhile; the receiver can release at once."""
    escrow = shop.ledger.escrow
    voucher = sign_voucher(shop.ledger.deployment.domain, PAYER, shop.channel, 400)
    due = await escrow.request_close(shop.payer, shop.config)
    with pytest.raises(WrongPhaseError, match="notice"):
        await escrow.withdraw(shop.payer, shop.config)
    assert await escrow.redeem(shop.miner, shop.config, 400, voucher) == 400
    await chain.pass_time(61)
    assert (await chain.rpc.head()).timestamp >= due
    assert await escrow.withdraw(shop.payer, shop.config) == 600
    assert not (await escrow.channel(shop.channel)).is_open
    other = config_of(shop.ledger, 3)
    await escrow.open(shop.payer, other, 70)
    assert await escrow.release(shop.miner, other) == 70


async def test_many_channels_are_redeemed_in_one_transaction(shop: Shop) -> None:
    """Three vouchers in one go pay their sum; one bad among them pays nothing."""
    escrow, domain, claims = shop.ledger.escrow, shop.ledger.deployment.domain, []
    for salt in (5, 6, 7):
        config = config_of(shop.ledger, salt)
        channel = await escrow.open(shop.payer, config, 100)
        claims.append(Claim(config, 60, sign_voucher(domain, PAYER, channel, 80)))
    with pytest.raises(VoucherRefusedError):
        await escrow.redeem_many(shop.miner, [*claims[:2], replace(claims[2], total=90)])
    assert await shop.ledger.credit.balance(MINER.address) == 0
    await escrow.redeem_many(shop.miner, claims)
    assert await shop.ledger.credit.balance(MINER.address) == 180  # fees of less than a unit stay with the miner


async def test_whoever_estimates_gas_leaves_enough_for_the_sink(shop: Shop, chain: Node) -> None:
    """A sink that fails stops nobody, so the least gas that "works" would be one at which the sink is not told."""
    opener = chain.sender
    sink = await put(opener, compile_source("sink"))
    escrow = EscrowContract(chain.rpc, await put(opener, load_artifact("Escrow"), 60, 500, sink, MINER.address))
    await shop.ledger.credit.ensure_allowance(shop.payer, escrow.address, 1_000)
    await escrow.open(shop.payer, shop.config, 1_000)
    domain = await escrow.domain()
    voucher = sign_voucher(domain, PAYER, channel_id(domain, shop.config), 1_000)
    call = ("redeem", astuple(shop.config), 1_000, 1_000, voucher.signature)
    receipt = await escrow.write(shop.miner, *call)
    assert [log.address for log in receipt.logs].count(sink) == 1
    assert await shop.ledger.credit.balance(sink) == 50


async def test_the_fee_and_the_market_it_counts_for_can_be_read(shop: Shop, chain: Node) -> None:
    """The fees contract gets it, the deployer may change it; a receiver names its market."""
    escrow, market = shop.ledger.escrow, Key.generate().address
    fee = await escrow.fee()
    assert (fee.bps, fee.sink, fee.owner) == (FEE_BPS, shop.ledger.fees.address, chain.sender.address)
    assert fee.effective_at == 0
    await escrow.declare_market(shop.miner, market)
    assert await escrow.market_of(MINER.address) == market
    before = await shop.ledger.credit.balance(fee.sink)
    voucher = sign_voucher(shop.ledger.deployment.domain, PAYER, shop.channel, 900)
    assert await escrow.redeem(shop.miner, shop.config, 900, voucher) == 900
    assert await shop.ledger.credit.balance(MINER.address) == 891
    assert await shop.ledger.credit.balance(fee.sink) - before == 9
