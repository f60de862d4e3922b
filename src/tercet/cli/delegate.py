"""`tercet delegate`: put stake behind somebody else's validator, for a share of what it earns."""

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
from tercet.market import STAKE, Amount

__all__ = ["command"]


@click.command(
    "delegate",
    cls=TercetCommand,
    examples=(
        "tercet delegate 500 --to 0 --market inference --wallet saver",
        "tercet delegate 500 --to 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf --dry-run",
    ),
)
@click.argument("amount", metavar="TCT")
@click.option("--to", "validator", required=True, metavar="VID|ADDRESS", help="Which validator.")
@spending_options
@market_option
@wallet_option
@pass_state
def command(state: State, *, amount: str, validator: str, yes: bool, dry_run: bool) -> None:
    """Delegate stake to a validator: it votes with it and shares what it earns, less its take.

    A validator that is caught cheating is slashed, and what was delegated to it with it.
    """
    asyncio.run(_delegate(state.settings, Amount.parse(amount, STAKE), validator, yes=yes, dry_run=dry_run))


async def _delegate(settings: Settings, amount: Amount, validator: str, *, yes: bool, dry_run: bool) -> None:
    async with open_market(settings) as (client, market):
        seat = await find_seat(market, validator)
        title, status, params = await market.title(), await market.status(), await market.params()
        pool = await (await market.stakes()).pool(seat.pool)
        key = unlock(settings)
        what = (
            f"delegate {amount} of {key.address} to validator {seat.vid} of {title!r} ({seat.owner}), which keeps "
            f"{pool.take_bps / 100:g} % of what it earns: it counts from epoch {status.epoch + 1} on, comes back "
            f"{params.unbonding_epochs} closings after tercet unstake, and is cut with the validator's own if that is slashed"
        )
        if confirm(what, yes=yes, dry_run=dry_run):
            await client.stake(client.sender(key), market, seat.pool, amount.units)
            say(
                f"Delegated. What it earns comes home with: tercet withdraw. Take it back with: tercet unstake all --pool {seat.pool}."
            )
