"""Paid requests against a real miner on the embedded chain: channels, top-ups, books that agree."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tercet.errors import BudgetError, MinerRefused, MinerUnreachable
from tercet.market import Price, Usage

from .stage import PAID, PRICE, Stage, buy, until


async def test_a_request_opens_a_channel_and_pays(stage: Stage) -> None:
    """The first one waits for the chain, the second does not touch it."""
    async with stage.miner() as (miner, entry), stage.buyer() as buyer:
        first = await buy(buyer, entry)
        head = (await stage.ledger.rpc.head()).number
        second = await buy(buyer, entry, "again")
        assert (await stage.ledger.rpc.head()).number == head
        assert (first.charged, second.answer.charged_total) == (PAID, 2 * PAID)
        assert 0 < second.first_seconds <= second.total_seconds
        assert len(second.request_hash) == 32
        assert miner.book.earned() == (2 * PAID, 0)
        (account,) = buyer.channels.book.accounts()
        assert (account.debt.charged, account.debt.lost, account.debt.in_flight) == (2 * PAID, 0, 0)


async def test_many_at_once_share_one_channel_and_the_books_agree(stage: Stage) -> None:
    """Thirty-two in flight, answered in any order."""
    async with stage.miner() as (miner, entry), stage.buyer() as buyer:
        exchanges = await asyncio.gather(*(buy(buyer, entry, f"text {n}") for n in range(32)))
        assert sum(one.charged for one in exchanges) == 32 * PAID == miner.book.earned()[0]
        (account,) = buyer.channels.book.accounts()
        assert (account.debt.charged, account.debt.in_flight, account.debt.lost) == (32 * PAID, 0, 0)


async def test_a_channel_is_topped_up_before_it_runs_dry(stage: Stage) -> None:
    """Nobody notices, the miner takes vouchers on the new deposit at once."""
    async with stage.miner() as (miner, entry), stage.buyer(deposit=10 * PAID) as buyer:
        for _ in range(8):
            await asyncio.gather(*(buy(buyer, entry) for _ in range(8)))
        (account,) = buyer.channels.book.accounts()
        assert account.debt.charged == 64 * PAID == miner.book.earned()[0]
        assert account.deposit >= 64 * PAID


async def test_a_buyer_without_credit_is_told_so(stage: Stage) -> None:
    """And nothing hangs."""
    key = await stage.key()
    async with stage.miner() as (_, entry), stage.buyer(key) as buyer:
        with pytest.raises(BudgetError, match="cannot pay"):
            await buy(buyer, entry)


async def test_a_request_above_a_whole_deposit_is_refused_at_once(stage: Stage) -> None:
    """Topping up for ever would not help."""
    async with stage.miner() as (_, entry), stage.buyer(deposit=PAID // 2) as buyer:
        with pytest.raises(BudgetError, match="Raise the deposit"):
            await buy(buyer, entry)


async def test_an_offer_below_the_price_is_refused_and_costs_nothing(stage: Stage) -> None:
    """The miner signs that it did not work, so nothing counts as lost."""
    async with stage.miner() as (miner, entry), stage.buyer() as buyer:
        with pytest.raises(MinerRefused) as caught:
            await buy(buyer, entry, price=Price(per_request=PAID - 1))
        assert caught.value.code == "price_too_low"
        (account,) = buyer.channels.book.accounts()
        assert (account.debt.lost, account.debt.in_flight) == (0, 0)
        assert miner.book.earned() == (0, 0)
        assert (await buy(buyer, entry, price=PRICE)).charged == PRICE.per_request


async def test_reserving_less_than_a_task_may_use_is_refused(stage: Stage) -> None:
    """With the limit that would do."""
    async with stage.miner() as (_, entry), stage.buyer() as buyer:
        exchange = buyer.ask(entry, {"text": "hello"}, Usage(5, 4), deadline_seconds=10)
        with pytest.raises(MinerRefused) as caught:
            await exchange.__aenter__()
        assert (caught.value.code, caught.value.facts) == ("limit_too_low", {"limit": {"prompt": 5, "completion": 5}})


async def test_a_buyer_that_comes_back_uses_its_channel_again(stage: Stage) -> None:
    """Same key, same book, no new deposit."""
    key = await stage.key(credit=10**6)
    async with stage.miner() as (_, entry):
        async with stage.buyer(key) as buyer:
            await buy(buyer, entry)
        async with stage.buyer(key) as buyer:
            assert (await buy(buyer, entry)).answer.charged_total == 2 * PAID
            assert len(buyer.channels.book.accounts()) == 1
    assert await stage.ledger.credit.balance(key.address) == 10**6 - 100_000


async def test_a_buyer_with_an_old_copy_of_its_book_finds_its_place(stage: Stage) -> None:
    """The miner shows the buyer's own voucher, and the buyer goes on from there."""
    key = await stage.key(credit=10**6)
    async with stage.miner() as (miner, entry):
        async with stage.buyer(key) as buyer:
            await buy(buyer, entry)
        old = (stage.folder / "buyer.sqlite").read_bytes()
        async with stage.buyer(key) as buyer:
            for _ in range(5):
                await buy(buyer, entry)
        (stage.folder / "old.sqlite").write_bytes(old)
        async with stage.buyer(key, name="old") as buyer:
            assert (await buy(buyer, entry)).answer.charged_total == 7 * PAID == miner.book.earned()[0]


async def test_a_dead_miner_is_unreachable_and_nothing_is_lost(stage: Stage) -> None:
    """There was no connection, so it cannot have worked."""
    async with stage.miner() as (_, entry), stage.buyer() as buyer:
        await buy(buyer, entry)
        gone = replace(entry, endpoint="http://127.0.0.1:1")
        for _ in range(3):
            with pytest.raises(MinerUnreachable):
                await buy(buyer, gone)
        (account,) = buyer.channels.book.accounts()
        assert account.debt.lost == 0


async def test_an_answer_past_the_deadline_counts_as_lost_until_the_miner_says(stage: Stage) -> None:
    """The next answer's total settles it: the late one was abandoned unpaid."""
    async with stage.miner(throttle=2.5) as (miner, entry), stage.buyer() as buyer:
        await buy(buyer, entry)
        with pytest.raises(MinerUnreachable):
            await buy(buyer, entry, seconds=1.2)
        (account,) = buyer.channels.book.accounts()
        assert account.debt.lost == PAID
        await until(lambda: not miner.server._admission.in_flight)
        await buy(buyer, entry)
        assert (account.debt.lost, account.debt.charged) == (0, 2 * PAID)
        assert miner.book.earned()[0] == 2 * PAID


async def test_a_buyer_takes_its_rest_back_after_the_notice(stage: Stage) -> None:
    """The miner notices the notice and redeems first."""
    key = await stage.key(credit=10**6)
    config = stage.config(await stage.key())
    async with stage.miner(config) as (miner, entry), stage.buyer(key) as buyer:
        await buy(buyer, entry)
        assert await buyer.request_close() == 1
        await miner.redeemer.look()
        assert await miner.redeemer.redeem(10**9) == PAID
        await stage.ledger.rpc.call("evm_increaseTime", "0x5")
        await stage.ledger.rpc.call("evm_mine")
        assert await buyer.withdraw() == 100_000 - PAID
        assert await stage.ledger.credit.balance(key.address) == 10**6 - PAID
        await buy(buyer, entry)
        assert len(buyer.channels.book.accounts()) == 2
