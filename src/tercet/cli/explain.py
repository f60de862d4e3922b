"""`tercet explain`: why an address earned what it earned; what it has in a market and when it can take it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import click

from tercet.chain.history import PastEpoch, recompute_epochs
from tercet.chain.market import MarketContract
from tercet.cli.connection import open_market
from tercet.cli.frame import State, group, pass_state
from tercet.cli.money import reward_unit
from tercet.cli.options import market_option
from tercet.cli.output import print_json, say
from tercet.cli.pay import Explanation, MinerPay, SeatPay, StakePay, explain_pay, of_row, percent
from tercet.cli.pools import find_address
from tercet.cli.settings import Settings
from tercet.cli.withdraw import describe_holdings, sum_up
from tercet.client import Client
from tercet.errors import UsageError
from tercet.market import STAKE, Amount, Token

__all__ = ["command"]


@group(
    "explain",
    examples=(
        "tercet explain pay 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf --epoch 7 --market inference",
        "tercet explain stake judge --market inference",
    ),
)
def command() -> None:
    """Why an address earned what it earned in an epoch; what it has at stake in a market."""


@command.command(
    "pay",
    examples=(
        "tercet explain pay 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf --epoch 7 --market inference",
        "tercet explain pay miner --market inference --json",
    ),
    schema={
        "market": "its address",
        "epoch": "number",
        "address": "whose pay",
        "total": "what it earned, reward token base units, as text, as are all amounts here",
        "exact": "whether the contracts said what was recomputed here from their events",
        "pots.*": "reward, pokes, votes, agreed, for_miners, for_validators, returned; emission and emission_burned in stake token",
        "miners[].*": "uid, consensus, threshold (stake units), rank, ranks (of all miners), pay, emission",
        "miners[].votes[].*": "vid, units (of stake), revealed, weight (given), counted (after the clip)",
        "seats[].*": "vid, effective stake, units, weight (after permits and cap), total_weight, cap, committed, revealed, dividend, share, shares, pay, emission, take_bps, kept, held",
        "stakes[].*": "vid, pool, active (its stake that counted), whole (all of the pool's), take_bps, pay, emission",
        "steps": "of closing the epoch",
        "poked": "what those earned",
        "refunds[].*": "number of the sponsorship, rate, rates (of all sponsors), pay (what came back of it)",
    },
)
@click.argument("address", metavar="ADDRESS|WALLET")
@click.option("--epoch", type=click.IntRange(min=0), help="Which closed epoch (default: the newest).")
@market_option
@pass_state
def pay(state: State, *, address: str, epoch: int | None, as_json: bool) -> None:
    """Tell in words and numbers why ADDRESS earned what it earned in a closed epoch.

    Nothing but the contracts' events is asked for: the epoch is computed again from them, and compared.
    """
    asyncio.run(_pay(state.settings, find_address(state.settings, address), epoch, as_json))


async def _pay(settings: Settings, address: str, epoch: int | None, as_json: bool) -> None:
    async with open_market(settings) as (client, market):
        past = await _find_epoch(client, market, epoch)
        _, reward_token = await market.tokens()
        found = explain_pay(past, address, reward_token, await _find_grants(market, past.number))
        title, unit = await market.title(), await reward_unit(client, market)
    if as_json:
        print_json({"market": market.address, "total": str(found.total), **_to_json(asdict(found))})
        return
    for line in tell(found, past, title, unit):
        click.echo(line)
    if not found.exact:
        say(
            "The contracts said something else than their own events add up to. Report this, with the market's address."
        )


async def _find_epoch(client: Client, market: MarketContract, number: int | None) -> PastEpoch:
    newest: PastEpoch | None = None
    async for past in recompute_epochs(market, client.ledger.deployment.block):
        newest = past
        if past.number == number:
            return past
    if newest is None or number is not None:
        last = "none is closed yet" if newest is None else f"the newest closed one is {newest.number}"
        raise UsageError(f"Epoch {number if number is not None else ''} is not closed: {last}.".replace("  ", " "))
    return newest


async def _find_grants(market: MarketContract, epoch: int) -> dict[int, tuple[str, int]]:
    """Sponsorship to sponsor and rate: those that paid into the epoch."""
    treasury, found = await market.treasury(), {}
    for number in range(await treasury.sponsorship_count()):
        grant = await treasury.sponsorship(number)
        if grant.first_epoch <= epoch < grant.end_epoch:
            found[number] = grant.sponsor, grant.rate
    return found


def _to_json(value: Any) -> Any:
    """Amounts as text, because JSON readers round beyond 2^53; counts as numbers."""
    if isinstance(value, Mapping):
        return {name: _field(name, part) for name, part in value.items()}
    return [_to_json(part) for part in value] if isinstance(value, list | tuple) else value


def _field(name: str, value: Any) -> Any:
    small = name in {"epoch", "uid", "vid", "pool", "number", "take_bps", "steps", "weight", "counted", "consensus"}
    if isinstance(value, int) and not isinstance(value, bool) and not small:
        return str(value)
    return _to_json(value)


# words


def tell(found: Explanation, past: PastEpoch, title: str, unit: Token) -> Iterator[str]:
    """The explanation, a line each; `unit` is what the market pays in."""
    pots = found.pots
    yield f"{found.address} earned {_round(found.total, unit)} in epoch {found.epoch} of {title!r}."
    yield ""
    yield f"The epoch had {_round(pots.reward, unit)} to pay: {_round(pots.pokes, unit)} of it for closing the epoch."
    if past.outcome.total_weight == 0:
        yield "No validator's stake counted in it, so there was no consensus and nobody else was paid."
    elif not pots.for_miners:
        yield "The validators agreed on no miner, so nobody else was paid."
    else:
        yield (
            f"Of all votes (stake times weight) {percent(pots.agreed, pots.votes)} agreed on a miner, and so much of the rest "
            f"is paid: {_round(pots.for_miners, unit)} to miners, {_round(pots.for_validators, unit)} to validators and their delegators."
        )
    yield f"{_round(pots.returned, unit)} were earned by nobody and went back to the sponsors or into the next epoch."
    if pots.emission:
        yield f"Emission on top: {_tct(pots.emission)}, of which {_tct(pots.emission_burned)} were earned by nobody and burned."
    for miner in found.miners:
        yield from _tell_miner(miner, past, unit)
    for seat in found.seats:
        yield from _tell_seat(seat, unit)
    for stake in found.stakes:
        yield from _tell_stake(stake, unit)
    if found.steps:
        yield ""
        yield f"For closing the epoch ({found.steps} steps): {_round(found.poked, unit)}."
    for refund in found.refunds:
        yield ""
        yield (
            f"Sponsorship {refund.number} paid {_round(refund.rate, unit)} in, {percent(refund.rate, refund.rates)} of what sponsors "
            f"paid: {_round(refund.pay, unit)} of it come back. Take them with: tercet withdraw."
        )
    if not (found.miners or found.seats or found.stakes or found.steps or found.refunds):
        yield ""
        yield "The address had no slot, no seat and no stake that counted in this epoch, and closed no part of it."


def _tell_miner(miner: MinerPay, past: PastEpoch, unit: Token) -> Iterator[str]:
    yield ""
    yield f"As miner {miner.uid}: {_round(miner.pay, unit)}{_and_emission(miner.emission)}."
    for vote in miner.votes:
        if not vote.revealed:
            yield f"  Validator {vote.vid}, {vote.units:,} units of stake, revealed nothing, which counts as 0."
            continue
        clip = f", counted as {vote.counted:,}" if vote.counted < vote.weight else ""
        yield f"  Validator {vote.vid}, {vote.units:,} units of stake, gave it {of_row(vote.weight)}{clip}."
    if not miner.votes:
        yield "  No validator's vote counted."
    elif not miner.consensus:
        yield (
            f"  No weight above 0 has the {miner.threshold:,} units behind it that make a majority "
            f"({percent(miner.threshold, past.outcome.total_weight)}): the consensus is 0, and so is the pay."
        )
    else:
        yield (
            f"  Consensus {of_row(miner.consensus)}: the largest weight that {miner.threshold:,} of "
            f"{past.outcome.total_weight:,} units give it or more. What a validator gave beyond it does not count."
        )
        yield (
            f"  Rank {miner.rank:,} (units times counted weights) of {miner.ranks:,} of all miners: "
            f"{percent(miner.rank, miner.ranks)} of the miners' part."
        )


def _tell_seat(seat: SeatPay, unit: Token) -> Iterator[str]:
    yield ""
    yield f"As validator {seat.vid}: {_round(seat.kept, unit)} of the {_round(seat.pay, unit)} that it earned{_and_emission(seat.emission)}."
    if not seat.units:
        yield "  No stake of it counted: it must be held since before the epoch, and the owner's own reach the minimum."
        return
    yield f"  {_tct(seat.effective)} were with it over the whole epoch: {seat.units:,} units."
    if not seat.weight:
        why = "it had no permit" if seat.committed else "it has committed nothing lately"
        yield f"  They weighed nothing: {why}."
        return
    if seat.weight < seat.units:
        yield f"  The cap lets no validator weigh more than {seat.cap:,} units."
    yield f"  It weighed {seat.weight:,} of {seat.total_weight:,} units, {percent(seat.weight, seat.total_weight)}."
    if not seat.revealed:
        yield "  It revealed no weights in this epoch, so it counted as a vote for nobody and earned nothing."
        return
    yield (
        f"  Its bonds in the miners that earned (a running average of its weights) make a dividend of {seat.dividend:,}; "
        f"times its weight that is {percent(seat.share, seat.shares)} of the validators' part."
    )
    if seat.pay > seat.kept + seat.held:
        rest = seat.pay - seat.kept - seat.held
        yield f"  Delegators got {_round(rest, unit)} of it, after its take of {seat.take_bps / 100:g} %."
    if seat.held:
        yield f"  {_round(seat.held, unit)} are held until its work was audited."


def _tell_stake(stake: StakePay, unit: Token) -> Iterator[str]:
    yield ""
    yield (
        f"With validator {stake.vid}: {_round(stake.pay, unit)}{_and_emission(stake.emission)}. {_tct(stake.active)} of the "
        f"{_tct(stake.whole)} that counted there were this address's, {percent(stake.active, stake.whole)}, and the "
        f"validator keeps {stake.take_bps / 100:g} %."
    )


def _round(units: int, unit: Token) -> str:
    """Rounded down to a millionth; `--json` has every unit."""
    return str(Amount(units - units % 10 ** max(0, unit.decimals - 6), unit))


def _tct(units: int) -> str:
    return _round(units, STAKE)


def _and_emission(units: int) -> str:
    return f" and {_tct(units)} of emission" if units else ""


@command.command(
    "stake",
    examples=(
        "tercet explain stake judge --market inference",
        "tercet explain stake 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf --market inference --json",
    ),
    schema={
        "address": "whose",
        "epoch": "the running one",
        "due": "what tercet withdraw would take home now, base units, as text, as are all amounts here",
        "rewards": "as a miner or for closing epochs",
        "emission": "the same in stake token, where that is another",
        "refunds": "of sponsorships",
        "deposit": "of evicted miners",
        "positions[].pool": "number",
        "positions[].owner": "the validator's",
        "positions[].active": "counts in this epoch",
        "positions[].pending": "counts from the next epoch on",
        "positions[].unbonding": "on its way out",
        "positions[].release_epoch": "first epoch in which that can be withdrawn; 0 means that nothing unbonds",
        "positions[].reward": "claimable",
        "positions[].stake_reward": "claimable, stake token, where that is another",
    },
)
@click.argument("address", metavar="ADDRESS|WALLET")
@market_option
@pass_state
def stake(state: State, *, address: str, as_json: bool) -> None:
    """Show what ADDRESS has at stake in a market, what that has earned, and what can be taken home when."""
    asyncio.run(_stake(state.settings, find_address(state.settings, address), as_json))


async def _stake(settings: Settings, address: str, as_json: bool) -> None:
    async with open_market(settings) as (client, market):
        found, epoch = await client.holdings(market, address), (await market.status()).epoch
        stakes = await market.stakes()
        owners = {pool: (await stakes.pool(pool)).owner for pool in found.positions}
        unit = await reward_unit(client, market)
    if as_json:
        positions = [
            {"pool": pool, "owner": owners[pool], **{k: v if k == "release_epoch" else str(v) for k, v in row.items()}}
            for pool, position in found.positions.items()
            if (row := {k: v for k, v in asdict(position).items() if k != "shares"})
        ]
        amounts = {"rewards": found.rewards, "emission": found.emission, "refunds": sum(found.refunds.values())}
        print_json(
            {
                "address": address,
                "epoch": epoch,
                "due": str(sum(found.due)),
                **{name: str(units) for name, units in amounts.items()},
                "deposit": str(found.deposit),
                "positions": positions,
            }
        )
        return
    for pool, position in found.positions.items():
        click.echo(
            f"Pool {pool} of {owners[pool]}: {_tct(position.active)} count in epoch {epoch}, {_tct(position.pending)} "
            f"from the next one on, {_tct(position.unbonding)} unbond."
        )
    click.echo(f"Ready to be taken home with tercet withdraw: {sum_up(found.due, unit)}.")
    for line in describe_holdings(found, unit):
        click.echo(line)
