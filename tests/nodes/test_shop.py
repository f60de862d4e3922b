"""One person's purchases against real echo miners on the embedded chain: chosen, paid, bounded, and kept over a kill."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from typing import Any

import pytest

from tercet.chain import Key
from tercet.client import Client
from tercet.errors import (
    BudgetError,
    NoMinerError,
    StateLockedError,
    SubnetError,
    TaskError,
)
from tercet.market import CREDIT, Amount, Price, Task, Usage
from tercet.nodes.directory import MinerEntry
from tercet.nodes.miner import Miner
from tercet.nodes.shop import Purchase, Shop
from tercet.subnets import Mechanism, Piece
from tercet.subnets.echo import Echo

from .stage import PAID, Child, Stage, until

HELLO: Task = {"text": "hello"}


class Broken(Echo):
    """Fails at its work."""

    async def answer(self, task: Task) -> AsyncIterator[Piece]:
        if task:
            raise SubnetError("the machine is on fire")
        yield {}


class Hanging(Echo):
    """Takes the request and says nothing."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def answer(self, task: Task) -> AsyncIterator[Piece]:
        self.asked.set()
        await asyncio.Event().wait()
        yield {}


class Picky(Echo):
    """Says that it cannot be asked this."""

    def limit(self, task: Task) -> Usage:
        raise TaskError("this text is too dull")


class Street:
    """Miners that are registered, and shops that see only these of the town's."""

    def __init__(self, stage: Stage, stack: contextlib.AsyncExitStack) -> None:
        self.stage, self.stack = stage, stack
        self.uids: set[int] = set()

    async def miner(self, mechanism: Mechanism | None = None, **options: Any) -> tuple[Miner, MinerEntry]:
        """A miner in a slot of its own."""
        key = await self.stage.key(stake=10**18)
        config = self.stage.config(key, f"miner{len(self.uids)}", mechanism, **options)
        miner, entry = await self.stack.enter_async_context(self.stage.miner(config))
        uid = (await self.stage.register(key, entry.endpoint)).uid
        self.uids.add(uid)
        return miner, replace(entry, uid=uid)

    async def strangers(self) -> set[int]:
        """Everybody else in this market."""
        slots = await self.stage.ledger.market(self.stage.town.market).miners()
        return {slot.uid for slot in slots} - self.uids

    @contextlib.asynccontextmanager
    async def shop(
        self, key: Key | None = None, *, deposit: int = 100_000, folder: str = "shop", kind: type[Shop] = Shop
    ) -> AsyncIterator[Shop]:
        stage, key = self.stage, key or await self.stage.key(credit=10**9)
        market = stage.ledger.market(stage.town.market)
        state = stage.folder / folder
        async with kind.open(Client(stage.ledger), market, Echo(), key, state, deposit=deposit) as shop:
            yield shop

    async def buy(self, shop: Shop, task: Task | None = None, *, budget: int = 10 * PAID, **options: Any) -> Any:
        """One answer of this street."""
        options = {"deadline_seconds": 20.0, **options}
        avoid = options.pop("avoid", set()) | await self.strangers()
        return await shop.buy(task or HELLO, budget=budget, avoid=avoid, **options)


@pytest.fixture
async def street(stage: Stage) -> AsyncIterator[Street]:
    async with contextlib.AsyncExitStack() as stack:
        yield Street(stage, stack)


def told(receipts: Any) -> list[tuple[str, int]]:
    """Status and charge of each, the oldest first."""
    return [(receipt.status, receipt.charged) for receipt in reversed(receipts)]


async def test_one_answer_is_bought_paid_and_written_down(street: Street) -> None:
    """Signed, judged by the subnet's own judge, on the miner's book and on the buyer's."""
    miner, entry = await street.miner()
    async with street.shop() as shop:
        bought = await street.buy(shop)
        assert (bought.uid, bought.operator, bought.charged) == (entry.uid, entry.operator, PAID)
        assert [piece["text"] for piece in bought.pieces] == ["hello"]
        assert 0 < bought.submission.first_seconds <= bought.seconds
        (verdict,) = await Echo().judge(HELLO, [bought.submission])
        assert verdict.score == 1.0
        (receipt,) = shop.receipts()
        assert receipt.answer is not None
        assert receipt.answer.signature == bought.submission.evidence
        assert receipt.answer.signer == entry.operator
    assert miner.book.earned()[0] == PAID


async def test_the_next_shop_goes_on_with_the_same_channel(street: Street) -> None:
    """One deposit for both."""
    _, _ = await street.miner()
    key = await street.stage.key(credit=10**6)
    for _ in range(2):
        async with street.shop(key) as shop:
            await street.buy(shop)
    assert await street.stage.ledger.credit.balance(key.address) == 10**6 - 100_000
    async with street.shop(key) as shop:
        assert told(shop.receipts()) == [("complete", PAID)] * 2


async def test_a_broken_miner_makes_room_for_the_next(street: Street) -> None:
    """Its failure has a receipt; what it did not earn is not paid."""
    await street.miner(Broken())
    good, entry = await street.miner()
    async with street.shop() as shop:
        for _ in range(30):  # who is asked first is drawn by lot
            assert (await street.buy(shop)).uid == entry.uid
            if len({receipt.status for receipt in shop.receipts()}) == 2:
                break
        failed = [receipt for receipt in shop.receipts() if receipt.status == "failed"]
        assert failed
        assert failed[0].detail
    assert good.book.earned()[0] > 0


class Dear(Echo):
    """Below whose floor nobody works."""

    def least_price(self) -> Price:
        return Price(per_request=5_000)


async def test_who_offers_less_than_the_floor_hears_that_it_was_the_price(street: Street) -> None:
    """A buyer that does not know of a floor offers a new miner the price of probation."""
    await street.miner(Dear(), price=Price(per_request=5_000))
    async with street.shop() as shop:
        with pytest.raises(NoMinerError) as refused:
            await street.buy(shop)
    assert refused.value.refusals == {"price_too_low"}


async def test_a_miner_that_is_at_work_when_the_time_is_over_was_not_silent(street: Street) -> None:
    """Two ends, two words: only one of them is mended by waiting longer."""
    await street.miner(Hanging())
    async with street.shop() as shop:
        with pytest.raises(NoMinerError, match="not done when the time was over"):
            await street.buy(shop, deadline_seconds=5.0, patience_seconds=60.0)


async def test_what_a_silent_miner_may_take_stays_in_the_budget(street: Street) -> None:
    """Its voucher is out, so a budget for one answer does not pay a second one; with more, the other miner answers."""
    hanging = Hanging()
    _, mute = await street.miner(hanging)
    async with street.shop() as shop:
        with pytest.raises(NoMinerError, match="silent for too long"):
            await street.buy(shop, patience_seconds=2.0, budget=PAID)
        assert hanging.asked.is_set()
        assert told(shop.receipts()) == [("failed", PAID)]
        _, entry = await street.miner()
        await until(lambda: any(quote.miner.uid == entry.uid for quote in shop.quotes(HELLO)))
        assert (await street.buy(shop, avoid={mute.uid}, budget=PAID)).uid == entry.uid
    async with street.shop() as shop:

        async def until_the_mute_is_asked_first() -> None:
            for _ in range(30):  # it is drawn by lot
                await street.buy(shop, patience_seconds=2.0, budget=PAID)

        with pytest.raises(BudgetError, match=f"{Amount(PAID, CREDIT)} is spent or at risk"):
            await until_the_mute_is_asked_first()


async def test_half_of_the_time_is_left_for_the_next_miner(street: Street) -> None:
    """Without being told, a shop does not wait for a hanging miner until the deadline."""
    await street.miner(Hanging())
    _, entry = await street.miner()
    async with street.shop() as shop:
        for _ in range(30):
            assert (await street.buy(shop, deadline_seconds=8.0)).uid == entry.uid
            if any(receipt.status == "failed" for receipt in shop.receipts(100)):
                return
    pytest.fail("the silent miner was never asked first")


async def test_a_budget_below_the_price_sends_nothing(street: Street) -> None:
    """No channel, no receipt, the price in the message."""
    miner, _ = await street.miner()
    key = await street.stage.key(credit=10**6)
    async with street.shop(key) as shop:
        cost, budget = Amount(PAID, CREDIT), Amount(PAID - 1, CREDIT)
        with pytest.raises(BudgetError, match=f"can cost {cost} .* the budget is {budget}"):
            await street.buy(shop, budget=PAID - 1)
        assert shop.receipts() == []
    async with street.shop(key, deposit=PAID - 1) as shop:
        with pytest.raises(BudgetError, match="Raise the deposit"):
            await street.buy(shop)
    assert await street.stage.ledger.credit.balance(key.address) == 10**6
    assert miner.book.earned()[0] == 0


async def test_an_empty_wallet_is_told_so_at_once(street: Street) -> None:
    """Another miner could not be paid either."""
    await street.miner()
    await street.miner()
    async with street.shop(await street.stage.key()) as shop:
        with pytest.raises(BudgetError, match="cannot pay"):
            await street.buy(shop)
        assert told(shop.receipts()) == [("failed", 0)]


async def test_several_answers_come_from_different_miners_within_one_budget(street: Street) -> None:
    """As many as there are miners, and no more than the budget pays for."""
    uids = {(await street.miner())[1].uid for _ in range(3)}
    avoid = await street.strangers()
    async with street.shop() as shop:
        bought = await shop.buy_many(HELLO, 5, budget=10 * PAID, deadline_seconds=20, avoid=avoid)
        assert {one.uid for one in bought} == uids
        assert len(bought) == 3
        few = await shop.buy_many(HELLO, 3, budget=2 * PAID, deadline_seconds=20, avoid=avoid)
        assert len({one.uid for one in few}) == 2


class Clumsy(Shop):
    """Stumbles over its own feet with one miner."""

    stumbles_at = 0

    async def _try(self, lane: Any, quote: Any) -> Purchase:
        if quote.miner.uid == self.stumbles_at:
            raise ZeroDivisionError("our own mistake")
        return await super()._try(lane, quote)


async def test_our_own_fault_on_one_way_is_told_and_spoils_no_other(
    street: Street, caplog: pytest.LogCaptureFixture
) -> None:
    """The other answer is kept; the traceback is in the log."""
    first, second = [(await street.miner())[1].uid for _ in range(2)]
    async with street.shop(kind=Clumsy) as shop:
        assert isinstance(shop, Clumsy)
        shop.stumbles_at = first
        avoid = await street.strangers()
        bought = await shop.buy_many(HELLO, 2, budget=10 * PAID, deadline_seconds=20, avoid=avoid)
    assert [one.uid for one in bought] == [second]
    assert "shop.lane_broke" in caplog.text
    assert "our own mistake" in caplog.text


async def test_who_was_found_out_is_asked_last(street: Street) -> None:
    """`reject` after a judge's verdict."""
    first, second = [(await street.miner())[1].uid for _ in range(2)]
    async with street.shop() as shop:
        bought = await street.buy(shop)
        shop.reject(bought)
        (other,) = {first, second} - {bought.uid}
        assert [(await street.buy(shop)).uid for _ in range(5)] == [other] * 5
        assert (await street.buy(shop, avoid={other})).uid == bought.uid


async def test_a_task_that_nobody_can_do_is_no_fault_of_the_miners(street: Street) -> None:
    """A malformed one is not even sent."""
    await street.miner(Picky())
    async with street.shop() as shop:
        with pytest.raises(SubnetError, match="no text"):
            await street.buy(shop, {"words": 1})
        assert shop.receipts() == []
        with pytest.raises(TaskError, match="No miner can do this"):
            await street.buy(shop)
        assert told(shop.receipts()) == [("failed", 0)]


async def test_an_empty_street_sells_nothing(street: Street) -> None:
    """And says why."""
    async with street.shop() as shop:
        with pytest.raises(NoMinerError, match="none is registered"):
            await street.buy(shop)


async def test_a_folder_belongs_to_one_shop(street: Street) -> None:
    """Two would overwrite each other's channels; another key has its own place."""
    key = await street.stage.key(credit=10**6)
    async with street.shop(key):
        with pytest.raises(StateLockedError):
            async with street.shop(key):
                pass
        async with street.shop():
            pass


async def test_a_purchase_that_is_cancelled_has_a_receipt(street: Street) -> None:
    """Ctrl-C: what the miner may take stands in it."""
    hanging = Hanging()
    await street.miner(hanging)
    async with street.shop() as shop:
        errand = asyncio.create_task(street.buy(shop))
        await asyncio.wait_for(hanging.asked.wait(), 20)
        errand.cancel()
        with pytest.raises(asyncio.CancelledError):
            await errand
        assert told(shop.receipts()) == [("client_gone", PAID)]


@pytest.mark.slow
async def test_kill_9_in_a_purchase_loses_no_channel(street: Street) -> None:
    """The next shop finds the channel and the receipts, and both sides agree on what was paid."""
    miner, _ = await street.miner()
    key, town = await street.stage.key(credit=10**6), street.stage.town
    config: dict[str, Any] = {
        "url": town.url,
        "deployment": asdict(town.deployment),
        "market": town.market,
        "key": key.secret.hex(),
        "state": str(street.stage.folder / "shop"),
        "deposit": 100_000,
        "avoid": sorted(await street.strangers()),
    }
    with Child("shop", **config) as child:
        heard = [await child.line() for _ in range(20)]
        child.kill()
    assert {line["charged"] for line in heard} == {PAID}
    async with street.shop(key) as shop:
        await street.buy(shop)
        receipts = shop.receipts(1000)
    assert await street.stage.ledger.credit.balance(key.address) == 10**6 - 100_000
    complete = [receipt for receipt in receipts if receipt.status == "complete"]
    assert len(complete) >= 21
    assert len(receipts) - len(complete) <= 1
    assert PAID * len(complete) <= miner.book.earned()[0] <= PAID * len(receipts)
