"""Fees and emission through the typed client, on the embedded chain and on anvil."""

from __future__ import annotations

import pytest

from tercet.chain import Award, Key, Ledger, MarketParams, Sale, deploy, sign_voucher
from tercet.chain.ledger import FEE_BPS, TOKEN_CAP, TOKEN_SUPPLY
from tercet.errors import AlreadyDoneError, LimitError, NotAllowedError, WrongPhaseError
from tercet.market import ChannelConfig

from .conftest import Node

TCT = 10**18
PERIOD = 3_600


async def open_ledger(node: Node) -> tuple[Ledger, str]:
    """A deployment with hours for periods, and a market in it."""
    ledger = Ledger(node.rpc, await deploy(node.sender, period_seconds=PERIOD))
    await ledger.token.approve(node.sender, ledger.registry.address)
    await ledger.token.approve(node.sender, ledger.fees.address)
    params = MarketParams("echo", commit_seconds=60, reveal_seconds=60)
    return ledger, await ledger.registry.open_market(node.sender, ledger.token.address, "Echo", params)


async def test_half_of_the_cap_is_there_at_first_and_half_is_for_emission(chain: Node) -> None:
    """Nobody but the emission can mint, not even the deployer."""
    ledger, _ = await open_ledger(chain)
    rules = await ledger.emission.schedule()
    assert await ledger.token.total_supply() == TOKEN_SUPPLY
    assert TOKEN_SUPPLY + rules.reserve == TOKEN_CAP
    with pytest.raises(NotAllowedError, match="tercet emission show"):
        await ledger.token.write(chain.sender, "mint", chain.sender.address, 1)


async def test_what_is_burned_in_one_period_is_due_in_the_next(chain: Node) -> None:
    """The budget, the burn and the award as the client tells them."""
    ledger, market = await open_ledger(chain)
    await ledger.fees.burn_for(chain.sender, market, 10 * TCT)
    assert await ledger.fees.burned(market, 0) == await ledger.fees.total_burned(0) == 10 * TCT
    assert await ledger.emission.budget(0) == (TOKEN_CAP - TOKEN_SUPPLY) // 200
    with pytest.raises(WrongPhaseError, match="period is not over"):
        await ledger.emission.collect(chain.sender, market, 0)
    await chain.pass_time(2 * PERIOD)
    assert await ledger.emission.period() == 2
    assert await ledger.emission.award(market, 0) == Award(5 * TCT, 0, 5 * TCT)


async def test_refusals_are_typed(chain: Node) -> None:
    """Nothing for sale, nothing to forward, no market, a stranger who brings a fee."""
    ledger, market = await open_ledger(chain)
    assert await ledger.fees.sale(ledger.credit.address, market) == Sale(0, 0)
    assert await ledger.fees.pending(market) == await ledger.emission.minted() == 0
    with pytest.raises(AlreadyDoneError, match="lot is empty"):
        await ledger.fees.buy(chain.sender, ledger.credit.address, market, min_amount=0, max_burn=TCT)
    with pytest.raises(AlreadyDoneError, match="nothing to forward"):
        await ledger.fees.forward(chain.sender, market)
    with pytest.raises(LimitError, match="tercet market list"):
        await ledger.fees.burn_for(chain.sender, chain.sender.address, 1)
    with pytest.raises(NotAllowedError, match="not a source"):
        await ledger.fees.write(chain.sender, "take", ledger.credit.address, market, 1)


async def test_the_fee_of_a_redeemed_voucher_is_for_sale_and_its_price_is_burned(chain: Node) -> None:
    """Buyer, miner, escrow, fees, bidder: the way of one hundredth of what the miner redeems."""
    ledger, market = await open_ledger(chain)
    payer, miner = await chain.fund(Key.generate(), Key.generate())
    await ledger.credit.mint(chain.sender, payer.address, 10_000)
    await ledger.credit.approve(payer, ledger.escrow.address)
    await ledger.escrow.declare_market(miner, market)
    ends = payer.address, payer.address, miner.address, miner.address
    config = ChannelConfig(*ends, ledger.credit.address, 60, b"\1" * 32)
    channel = await ledger.escrow.open(payer, config, 10_000)
    voucher = sign_voucher(ledger.deployment.domain, payer.key, channel, 10_000)
    await ledger.escrow.redeem(miner, config, 10_000, voucher)
    fee = 10_000 * FEE_BPS // 10_000
    sale = await ledger.fees.sale(ledger.credit.address, market)
    assert (sale.amount, await ledger.credit.balance(ledger.fees.address)) == (fee, fee)
    await chain.pass_time(30 * PERIOD)
    bought = await ledger.fees.buy(chain.sender, ledger.credit.address, market, min_amount=fee, max_burn=TCT)
    assert (bought.amount, await ledger.credit.balance(chain.sender.address)) == (fee, fee)
    assert 0 < bought.price < sale.price
    assert await ledger.fees.burned(market, await ledger.fees.period()) == bought.price
    assert await ledger.token.total_supply() == TOKEN_SUPPLY - bought.price
