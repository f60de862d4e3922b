"""`tercet market health`: how concentrated stake, earnings and compute are, per market and over all of them.

Holders are told apart by address. What a person does with ten addresses looks like ten people: read the figures as the
best case.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import click

from tercet.chain.holdings import POSITION_EVENTS
from tercet.chain.market import MarketContract
from tercet.cli.connection import open_client
from tercet.cli.frame import State, TercetCommand, pass_state
from tercet.cli.output import print_json, print_table
from tercet.cli.settings import Settings
from tercet.client import Client
from tercet.market.concentration import BPS, Concentration, measure_concentration

__all__ = ["health"]

OVERALL = "(all markets)"
PAY_EVENTS = ("MinerRewarded", "Rewarded")
_Pay: TypeAlias = dict[str, Counter[str]]
"""By token, then by owner: different tokens do not add up."""


@dataclass(slots=True)
class _Spread:
    """Who holds how much of what, in one market or in several. By owner's address."""

    validators: Counter[str] = field(default_factory=Counter)
    """Stake that a validator votes with: its own and what was delegated to it."""
    stakers: Counter[str] = field(default_factory=Counter)
    """Stake by whose it is."""
    compute: Counter[str] = field(default_factory=Counter)
    """Miners' ranks in the last closed epoch. A rank is stake times weight, so markets add up by the stake that judged."""
    miners_pay: _Pay = field(default_factory=dict)
    validators_pay: _Pay = field(default_factory=dict)
    """By the validator's owner; its delegators' part is in it."""

    def add(self, other: _Spread) -> None:
        """Take another market in."""
        self.validators.update(other.validators)
        self.stakers.update(other.stakers)
        self.compute.update(other.compute)
        for mine, theirs in (
            (self.miners_pay, other.miners_pay),
            (self.validators_pay, other.validators_pay),
        ):
            for token, paid in theirs.items():
                mine.setdefault(token, Counter()).update(paid)

    def measures(self) -> list[tuple[str, str, Mapping[str, int]]]:
        """(measure, reward token or nothing, holdings) in the order they are shown in."""
        return [
            ("stake by validator", "", self.validators),
            ("stake by staker", "", self.stakers),
            *(("miners' pay", token, paid) for token, paid in self.miners_pay.items()),
            *(("validators' pay", token, paid) for token, paid in self.validators_pay.items()),
            ("compute", "", self.compute),
        ]


@click.command(
    "health",
    cls=TercetCommand,
    examples=("tercet market health", "tercet market health inference --epochs 20 --json"),
    schema={
        "epochs": "how many of each market's newest closed epochs the pay is of",
        "rows[].market": "its name, or `(all markets)`",
        "rows[].address": "its contract; empty for all markets",
        "rows[].measure": "`stake by validator`, `stake by staker`, `miners' pay`, `validators' pay` or `compute`",
        "rows[].token": "address of the reward token for pay, else empty",
        "rows[].holders": "addresses that hold something",
        "rows[].total": "base units, as text; for compute, stake units times weight",
        "rows[].nakamoto": "fewest holders with more than half",
        "rows[].hhi_bps": "Herfindahl-Hirschman index, ten-thousandths",
        "rows[].gini_bps": "Gini coefficient of the holders, ten-thousandths",
    },
)
@click.argument("market", required=False, metavar="[MARKET]")
@click.option("--epochs", default=100, show_default=True, type=click.IntRange(min=1), help="Of pay to look back on.")
@pass_state
def health(state: State, market: str | None, epochs: int, as_json: bool) -> None:
    """How concentrated stake, pay and compute are: in MARKET, or in every market and over all."""
    asyncio.run(_health(state.settings, market, epochs, as_json=as_json))


async def _health(settings: Settings, name: str | None, epochs: int, *, as_json: bool) -> None:
    async with open_client(settings) as client:
        listings = [await client.find_market(name)] if name else await client.ledger.registry.list_markets()
        spreads = [await _read_spread(client, client.ledger.market(m.market), epochs) for m in listings]
    rows = [
        row
        for listing, spread in zip(listings, spreads, strict=True)
        for row in _rows(listing.name, listing.market, spread)
    ]
    if len(spreads) > 1:
        overall = _Spread()
        for spread in spreads:
            overall.add(spread)
        rows += _rows(OVERALL, "", overall)
    if as_json:
        print_json({"epochs": epochs, "rows": rows})
    else:
        _print(rows)


def _rows(name: str, address: str, spread: _Spread) -> list[dict[str, Any]]:
    return [
        {"market": name, "address": address, "measure": measure, "token": token, **_figures(holdings)}
        for measure, token, holdings in spread.measures()
    ]


def _figures(holdings: Mapping[str, int]) -> dict[str, Any]:
    found: Concentration = measure_concentration(holdings.values())
    return {**asdict(found), "total": str(found.total)}


def _print(rows: Sequence[Mapping[str, Any]]) -> None:
    print_table(
        ["market", "measure", "holders", "nakamoto", "hhi", "gini"],
        [
            [
                row["market"],
                row["measure"],
                row["holders"],
                row["nakamoto"],
                f"{row['hhi_bps'] / BPS:.3f}",
                f"{row['gini_bps'] / BPS:.3f}",
            ]
            for row in rows
        ],
        "No market yet. Open one: tercet market create SUBNET",
    )


async def _read_spread(client: Client, market: MarketContract, epochs: int) -> _Spread:
    validators, stakers = await _read_stakes(client, market)
    miners_pay, validators_pay = await _read_pay(client, market, epochs)
    compute: Counter[str] = Counter()
    for slot in await market.miners():
        compute[slot.owner] += slot.rank
    return _Spread(validators, stakers, compute, miners_pay, validators_pay)


async def _read_stakes(client: Client, market: MarketContract) -> tuple[Counter[str], Counter[str]]:
    """Bonded stake in the pools of all seats: by the validator that votes with it, and by whom it belongs to."""
    stakes = await market.stakes()
    owners = {seat.pool: seat.owner for seat in await market.validators()}
    pools = dict(zip(owners, await asyncio.gather(*(stakes.pool(pool) for pool in owners)), strict=True))
    validators: Counter[str] = Counter()
    for pool, found in pools.items():
        validators[owners[pool]] += found.bonded
    told = [event async for event in client.events([stakes], names=POSITION_EVENTS)]
    places = sorted({(e.fields["pool"], e.fields["owner"]) for e in told if e.fields["pool"] in owners})
    positions = await asyncio.gather(*(stakes.position(pool, who) for pool, who in places))
    stakers: Counter[str] = Counter()
    for (_, who), position in zip(places, positions, strict=True):
        stakers[who] += position.bonded
    return validators, stakers


async def _read_pay(client: Client, market: MarketContract, epochs: int) -> tuple[_Pay, _Pay]:
    """What miners and validators (with their delegators) were paid in the newest closed epochs."""
    first = (await market.status()).epoch - epochs
    _, reward_token = await market.tokens()
    paid: dict[str, _Pay] = {name: {reward_token: Counter()} for name in PAY_EVENTS}
    contracts = [await market.treasury(), await market.stakes()]
    async for event in client.events(contracts, names=PAY_EVENTS):
        fields = event.fields
        if fields["epoch"] >= first:
            paid[event.name].setdefault(fields["token"], Counter())[fields["owner"]] += fields["amount"]
    return paid["MinerRewarded"], paid["Rewarded"]
