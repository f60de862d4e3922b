"""`tercet stake`: a validator adds to its own stake, or says what it takes of its delegators' rewards."""

from __future__ import annotations

import asyncio

import click

from tercet.cli.connection import open_market
from tercet.cli.frame import State, TercetCommand, pass_state
from tercet.cli.options import market_option, spending_options, wallet_option
from tercet.cli.output import confirm, say
from tercet.cli.pools import find_seat
from tercet.cli.settings import Settings
from tercet.cli.unlock import unlock
from tercet.errors import UsageError
from tercet.market import STAKE, Amount

__all__ = ["command"]


@click.command(
    "stake",
    cls=TercetCommand,
    examples=("tercet stake 500 --market inference --wallet judge", "tercet stake --take 5 --wallet judge --dry-run"),
)
@click.argument("amount", required=False, metavar="[TCT]")
@click.option("--take", type=float, metavar="PERCENT", help="Of delegators' rewards to keep, up to 20.")
@spending_options
@market_option
@wallet_option
@pass_state
def command(state: State, *, amount: str | None, take: float | None, yes: bool, dry_run: bool) -> None:
    """Add to the stake of the wallet's validator. It counts from the next epoch on; a first stake: tercet validate."""
    if amount is None and take is None:
        raise UsageError("How much? Say an amount such as tercet stake 500, or --take PERCENT.")
    units = None if amount is None else Amount.parse(amount, STAKE)
    asyncio.run(_stake(state.settings, units, None if take is None else round(take * 100), yes=yes, dry_run=dry_run))


async def _stake(settings: Settings, amount: Amount | None, take: int | None, *, yes: bool, dry_run: bool) -> None:
    async with open_market(settings) as (client, market):
        key = unlock(settings)
        seat = await find_seat(market, key.address)
        title, status, params = await market.title(), await market.status(), await market.params()
        sender, stakes = client.sender(key), await market.stakes()
        if amount is not None:
            what = (
                f"stake {amount} of {key.address} with validator {seat.vid} of {title!r}: it counts from epoch "
                f"{status.epoch + 1} on, and comes back {params.unbonding_epochs} closings after tercet unstake"
            )
            if confirm(what, yes=yes, dry_run=dry_run):
                await client.stake(sender, market, seat.pool, amount.units)
        if take is not None:
            known = await stakes.pool(seat.pool)
            since = "at once" if take <= known.take_bps else f"from epoch {status.epoch + params.unbonding_epochs + 1}"
            what = f"keep {take / 100:g} % of what validator {seat.vid}'s delegators earn, {since}"
            if confirm(what, yes=yes, dry_run=dry_run):
                await stakes.set_take(sender, seat.pool, take)
        pool = await stakes.pool(seat.pool)
        say(
            f"Validator {seat.vid}: {Amount(pool.active, STAKE)} count now, {Amount(pool.pending, STAKE)} from the next epoch on."
        )
