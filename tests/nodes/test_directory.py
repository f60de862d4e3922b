"""The picture of a market: who is there, how proven, at what price."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tercet.chain.market import MinerSlot
from tercet.market import Price
from tercet.nodes.buyer import offer_price
from tercet.nodes.directory import Directory, build_entries, parse_price

from .stage import PRICE, Stage, until


def slot(uid: int, consensus: int) -> MinerSlot:
    """A registered miner with that consensus weight."""
    return MinerSlot(uid, f"owner {uid}", f"operator {uid}", uid, 0, 0, consensus, 0, "http://127.0.0.1:1")


def test_a_miner_is_proven_from_a_tenth_of_the_best() -> None:
    """In the last closed epoch; before the first one nobody is."""
    entries = build_entries([slot(1, 50_000), slot(2, 5_000), slot(3, 4_999), slot(4, 0)])
    assert [(entry.share, entry.proven) for entry in entries] == [
        (1.0, True),
        (0.1, True),
        (0.09998, False),
        (0.0, False),
    ]
    assert not any(entry.proven for entry in build_entries([slot(1, 0), slot(2, 0)]))


@pytest.mark.parametrize(
    "value", [None, [], {}, {"per_request": 1}, {"per_request": -1, "prompt_per_1k": 0, "completion_per_1k": 0}]
)
def test_a_malformed_price_is_no_price(value: object) -> None:
    """The miner is then not bought from."""
    assert parse_price(value) is None


async def test_the_directory_shows_registered_miners_with_their_signed_prices(stage: Stage) -> None:
    """A silent miner is listed without a price, and a price appears once it speaks."""
    key, silent = await stage.key(stake=10**18), await stage.key(stake=10**18)
    async with stage.miner(stage.config(key)) as (_, entry):
        await stage.register(key, entry.endpoint)
        await stage.register(silent, "http://127.0.0.1:1")
        async with stage.directory() as directory:
            shown = {one.operator: one for one in directory.miners()}
            assert shown[key.address].price == PRICE
            assert shown[key.address].endpoint == entry.endpoint
            assert shown[silent.address].price is None
            assert directory.entry(shown[key.address].uid) == shown[key.address]
            assert directory.entry(200) is None
            assert directory.status.epoch == directory.epoch


async def test_a_directory_that_runs_sees_who_comes(stage: Stage) -> None:
    """Within a poll or two, until it is cancelled."""
    directory = Directory(stage.ledger, stage.town.market, 0.05)
    await directory.refresh()
    running = asyncio.create_task(directory.run())
    key = await stage.key(stake=10**18)
    await stage.register(key, "http://127.0.0.1:1")
    await until(lambda: key.address in [one.operator for one in directory.miners()])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_nobody_is_offered_less_than_the_floor() -> None:
    """Neither on probation nor by asking for too little; without a floor probation pays a fiftieth."""
    floor = Price(prompt_per_1k=3_000)
    (entry,) = build_entries([slot(1, 0)])
    ask = replace(entry, price=Price(per_request=1_000, prompt_per_1k=4_000))
    assert offer_price(ask) == Price(per_request=20, prompt_per_1k=80)
    assert offer_price(replace(ask, floor=floor)) == Price(per_request=20, prompt_per_1k=3_000)
    cheap = replace(entry, price=Price(prompt_per_1k=7), proven=True, floor=floor)
    assert offer_price(cheap) == floor
    assert offer_price(entry) is None


async def test_a_directory_knows_its_markets_floor(stage: Stage) -> None:
    key = await stage.key(stake=10**18)
    async with stage.miner(stage.config(key)) as (_, entry):
        await stage.register(key, entry.endpoint)
        directory = Directory(stage.ledger, stage.town.market, floor=Price(per_request=999))
        await directory.refresh()
        await directory.close()
    (shown,) = [one for one in directory.miners() if one.operator == key.address]
    assert offer_price(shown) == Price(per_request=999)
