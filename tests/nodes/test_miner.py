"""The miner as a process: killed, restarted, stopped; it redeems once and continues its channels."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from tercet.chain import Key, Sender, channel_id
from tercet.errors import MinerMisbehaved, MinerRefused, MinerUnreachable, RefusalError, StateLockedError, UsageError
from tercet.market import Price, Task, Usage
from tercet.nodes.buyer import Buyer, Exchange
from tercet.nodes.directory import MinerEntry
from tercet.nodes.miner import Miner, run_miner
from tercet.nodes.miner_book import MinerBook
from tercet.nodes.paid_work import choose_price
from tercet.nodes.redeemer import Redeemer
from tercet.subnets import Piece
from tercet.subnets.echo import Echo

from .stage import PAID, PRICE, Child, Stage, buy, net, until


def child_config(stage: Stage, key: Key, name: str = "child", **options: Any) -> dict[str, Any]:
    """A miner for `actors.py`."""
    return {
        "url": stage.town.url,
        "deployment": asdict(stage.town.deployment),
        "market": stage.town.market,
        "key": key.secret.hex(),
        "state": str(stage.folder / name),
        "price": [PRICE.per_request, 0, 0],
        "options": {"register": True, **options},
    }


def entry_of(ready: dict[str, Any]) -> MinerEntry:
    """As a directory would have it."""
    me = ready["address"]
    return MinerEntry(1, 1, me, me, ready["endpoint"], 0.0, proven=False, price=PRICE)


def charged_in(path: Path) -> tuple[int, int]:
    """(charged, best) in a miner's file."""
    db = sqlite3.connect(path / "vouchers.sqlite")
    found = db.execute("SELECT coalesce(sum(charged), 0), coalesce(sum(best), 0) FROM channels").fetchone()
    db.close()
    return int(found[0]), int(found[1])


@pytest.mark.slow
async def test_a_killed_miner_continues_its_channels_and_loses_at_most_what_was_in_flight(stage: Stage) -> None:
    """Kill -9 under load, again and again; both books agree afterwards."""
    key = await stage.key(stake=10**18)
    config = child_config(stage, key)
    async with stage.buyer() as buyer:
        answered = 0
        for _ in range(3):
            with Child("miner", **config) as child:
                entry = entry_of(await child.line())
                bought: list[int] = []
                running = [asyncio.create_task(_buy_until_it_fails(buyer, entry, bought)) for _ in range(4)]
                await until(lambda: len(bought) >= 40)  # noqa: B023 - awaited in this turn
                child.kill()
                await asyncio.gather(*running)
                answered += len(bought)
        charged, best = charged_in(stage.folder / "child")
        (account,) = buyer.channels.book.accounts()
        assert answered * PAID <= charged <= best <= account.debt.signed
        assert charged <= (answered + 3 * 4) * PAID
        with Child("miner", **config) as child:
            last = await buy(buyer, entry_of(await child.line()))
            assert last.answer.charged_total == charged + PAID == account.debt.charged
            assert account.debt.lost == 0


async def _buy_until_it_fails(buyer: Buyer, entry: MinerEntry, bought: list[int]) -> None:
    with contextlib.suppress(MinerUnreachable):
        while True:
            bought.append((await buy(buyer, entry)).charged)


@pytest.mark.slow
async def test_a_killed_buyer_owes_no_more_than_it_signed_and_comes_back(stage: Stage) -> None:
    """Kill -9 of the buyer's process under load."""
    key = await stage.key(credit=10**8)
    async with stage.miner() as (miner, entry):
        config = {
            **child_config(stage, key),
            "entry": asdict(entry),
            "state": str(stage.folder / "buyer.sqlite"),
            "deposit": 10**6,
        }
        told = 0
        for _ in range(3):
            with Child("buyer", **config) as child:
                for _ in range(20):
                    await child.line()
                    told += 1
                child.kill()
        # What the dead left in the sockets is served first, and then found to be nobody's.
        server = miner.server
        await until(lambda: not server._server.door._guards and not server._admission.in_flight)
        charged = miner.book.earned()[0]
        async with stage.buyer(key, deposit=10**6) as buyer:
            (account,) = buyer.channels.book.accounts()
            assert told * PAID <= charged <= account.debt.signed
            again = await buy(buyer, entry)
            assert again.answer.charged_total == charged + PAID == account.debt.charged
            assert (account.debt.lost, account.debt.in_flight) == (0, 0)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
async def test_a_miner_redeems_when_it_is_told_to_stop(stage: Stage, number: int, code: int) -> None:
    """Everything, below the threshold too; the chain and the books agree."""
    key = await stage.key(stake=10**18)
    async with stage.buyer() as buyer:
        with Child("miner", **child_config(stage, key)) as child:
            entry = entry_of(await child.line())
            for _ in range(3):
                await buy(buyer, entry)
            assert await asyncio.to_thread(child.kill, number) == code
    assert await stage.ledger.credit.balance(key.address) == net(3 * PAID)


async def test_a_miner_redeems_at_the_threshold(stage: Stage) -> None:
    """In the background, while it serves."""
    key = await stage.key(stake=10**18)
    config = child_config(stage, key, redeem_threshold=2 * PAID, poll_seconds=0.1)
    async with stage.buyer() as buyer:
        with Child("miner", **config) as child:
            entry = entry_of(await child.line())
            await buy(buyer, entry)
            await buy(buyer, entry)

            async def redeemed() -> bool:
                return await stage.ledger.credit.balance(key.address) == net(2 * PAID)

            await until(redeemed)


async def test_a_death_between_sending_and_hearing_of_a_redemption_pays_once(stage: Stage) -> None:
    """The book that never heard looks at the chain before it sends again."""
    key = await stage.key()
    config = stage.config(key)
    async with stage.miner(config) as (miner, entry), stage.buyer() as buyer:
        await buy(buyer, entry)
        (due,) = miner.book.redemptions()
        sender = Sender(stage.ledger.rpc, key)
        await stage.ledger.escrow.redeem(sender, due.config, due.total, due.voucher)  # and then the process died
        await buy(buyer, entry)
    book = MinerBook(config.state / "vouchers.sqlite", stage.town.deployment.domain)
    redeemer = Redeemer(stage.ledger, Sender(stage.ledger.rpc, key), book, threshold=1, poll_seconds=1)
    assert await redeemer.redeem(1) == PAID
    assert await redeemer.redeem(1) == 0
    assert book.earned() == (2 * PAID, 2 * PAID)
    assert await stage.ledger.credit.balance(key.address) == 2 * net(PAID)
    book.close()


async def test_two_miners_on_one_state_are_refused(stage: Stage) -> None:
    """One book, one miner."""
    key = await stage.key(stake=10**18)
    with Child("miner", **child_config(stage, key)) as child:
        await child.line()
        with pytest.raises(StateLockedError, match="state folder of its own"):
            await run_miner(stage.config(key, name="child"))


async def test_a_taken_port_is_a_usage_error(stage: Stage) -> None:
    """With the way out in its words."""
    key = await stage.key(stake=10**18)
    async with stage.miner() as (_, entry):
        port = int(entry.endpoint.rsplit(":", 1)[1])
        with pytest.raises(UsageError, match=f"{port}.*another port"):
            await run_miner(stage.config(key, name="second", port=port, register=True))


async def test_a_key_without_a_slot_is_told_to_register(stage: Stage) -> None:
    """Serving where nobody can find you is no use."""
    with pytest.raises(UsageError, match="Register it first"):
        await run_miner(stage.config(await stage.key()))


def test_an_unproven_miner_works_for_the_probation_price() -> None:
    """A proven one for its ask only; an offer of more is charged at the ask."""
    ask, probation = Price(2000), Price(100)
    assert choose_price(Price(100), ask, probation, proven=False) == probation
    assert choose_price(Price(5000), ask, probation, proven=False) == ask
    assert choose_price(Price(2000), ask, probation, proven=True) == ask
    for offer, proven in ((Price(99), False), (Price(1999), True)):
        with pytest.raises(RefusalError, match="price_too_low"):
            choose_price(offer, ask, probation, proven=proven)


class Fair(Echo):
    """An echo below whose floor nobody works."""

    def least_price(self) -> Price:
        return Price(per_request=300)


async def test_a_miner_neither_asks_nor_takes_less_than_the_floor(stage: Stage) -> None:
    """On probation it is paid the floor, and an ask below it does not start."""
    async with stage.miner(mechanism=Fair(), price=Price(per_request=5_000)) as (_, entry), stage.buyer() as buyer:
        task, use = {"text": "hi"}, Usage(2, 2)
        with pytest.raises(MinerRefused, match="price_too_low"):
            async with buyer.ask(entry, task, use, deadline_seconds=10, price=Price(299)):
                pass
        fair = replace(entry, floor=Price(per_request=300))
        async with buyer.ask(fair, task, use, deadline_seconds=10) as exchange:
            assert [piece async for piece in exchange]
        assert exchange.charged == 300
    with pytest.raises(UsageError, match="under the pay floor"):
        async with stage.miner(mechanism=Fair(), price=Price(per_request=299)):
            pass


class Clerk(Echo):
    """An echo that notes what it is paid."""

    def __init__(self) -> None:
        self.paid: list[int] = []

    def answer_for(self, task: Task, price: Price) -> AsyncIterator[Piece]:
        self.paid.append(price.per_request)
        return self.answer(task)


async def test_who_works_is_told_what_the_buyer_pays(stage: Stage) -> None:
    """On probation that is not what the miner asks."""
    clerk = Clerk()
    async with stage.miner(mechanism=clerk, price=Price(per_request=5_000)) as (_, entry), stage.buyer() as buyer:
        for offer in (Price(5_000), Price(100)):
            async with buyer.ask(entry, {"text": "hi"}, Usage(2, 2), deadline_seconds=10, price=offer) as exchange:
                assert [piece async for piece in exchange]
            assert clerk.paid[-1] == exchange.charged == offer.per_request


class Junk(Echo):
    """Answers as told, through an honest server."""

    def __init__(self, way: str) -> None:
        self.way = way

    async def answer(self, task: Task) -> AsyncIterator[dict[str, Any]]:
        """One of the ways to let a buyer down."""
        match self.way:
            case "nothing":
                return
            case "forever":
                await asyncio.Event().wait()
            case "dribble":
                while True:
                    yield {"text": "."}
                    await asyncio.sleep(0.02)
            case "no usage":
                yield {"text": "x"}
            case "too much usage":
                yield {"text": "x", "usage": {"prompt": 10**6, "completion": 0}}
            case "a trailer of its own":
                yield {"answer": {}}
            case "crash":
                raise ZeroDivisionError


@pytest.mark.parametrize(
    "way", ["nothing", "forever", "dribble", "no usage", "too much usage", "a trailer of its own", "crash"]
)
async def test_work_that_goes_wrong_costs_the_buyer_nothing_it_did_not_get(stage: Stage, way: str) -> None:
    """And nothing hangs beyond the deadline."""
    async with stage.miner(mechanism=Junk(way)) as (miner, entry), stage.buyer() as buyer:
        began = asyncio.get_running_loop().time()
        exchange = buyer.ask(entry, {"text": "hello"}, Echo().limit({"text": "hello"}), deadline_seconds=1.5)
        with pytest.raises((MinerRefused, MinerUnreachable)):
            await _read(exchange)
        assert asyncio.get_running_loop().time() - began < 4
        await until(lambda: not miner.server._admission.in_flight)
        assert miner.book.earned()[0] <= (PAID if way == "dribble" else 0)


async def _read(exchange: Exchange) -> None:
    async with exchange:
        async for _ in exchange:
            pass


class Overcharging(Miner):
    """Charges what it likes in its signed trailers."""

    extra = 1
    charge = True

    async def _take_on(self, call: Any) -> Any:
        work = await super()._take_on(call)
        honest = work.settle

        def settle(usage: Any) -> tuple[int, int]:
            charged, total = honest(usage)
            return charged + (self.extra if self.charge else 0), total + self.extra

        work.settle = settle  # type: ignore[method-assign]  # a liar's server
        return work


@pytest.mark.parametrize("charge", [True, False])
async def test_an_overcharge_is_misbehaviour_with_the_signed_evidence(stage: Stage, charge: bool) -> None:
    """In the charge itself, or only in the running total."""
    config = stage.config(await stage.key())
    liar = Overcharging(config, config.key.address, 2)
    liar.charge = charge
    port = await liar.server.start("127.0.0.1", 0)
    me = config.key.address
    entry = MinerEntry(1, 1, me, me, f"http://127.0.0.1:{port}", 0.0, proven=False, price=PRICE)
    async with stage.buyer() as buyer:
        with pytest.raises(MinerMisbehaved) as caught:
            await buy(buyer, entry)
        assert b'"signature"' in caught.value.evidence
        (account,) = buyer.channels.book.accounts()
        assert account.debt.signed == PAID
    await liar.server.stop(0)
    await liar.close()


async def test_a_channel_that_pays_somebody_else_is_unknown(stage: Stage) -> None:
    """Also one of the wrong token, or with too short a notice."""
    async with stage.miner() as (miner, entry), stage.buyer() as buyer:
        await buy(buyer, entry)
        (account,) = buyer.channels.book.accounts()
        domain = stage.town.deployment.domain
        for change in (
            {"receiver": stage.town.faucet.address},
            {"token": stage.town.deployment.token},
            {"withdraw_delay": 1},
        ):
            config = replace(account.config, **change)
            assert not miner._pays_us(config, channel_id(domain, config))
        assert not miner._pays_us(account.config, b"\0" * 32)


async def test_the_price_is_told_and_signed(stage: Stage) -> None:
    """What a directory reads."""
    async with stage.miner() as (_, entry), stage.buyer() as buyer:
        peer = buyer.caller.peer(entry.endpoint, entry.operator)
        info = await buyer.caller.fetch_info(peer, deadline=asyncio.get_running_loop().time() + 5)
        assert (info["subnet"], info["price"]["per_request"]) == ("echo", PRICE.per_request)
