"""`tercet sponsor`: pay a market's epochs."""

from __future__ import annotations

import asyncio

import click

from tercet.cli.connection import open_market
from tercet.cli.frame import State, TercetCommand, pass_state
from tercet.cli.money import reward_unit
from tercet.cli.options import market_option, spending_options, wallet_option
from tercet.cli.output import confirm, say
from tercet.cli.settings import Settings
from tercet.cli.unlock import unlock
from tercet.errors import UsageError
from tercet.market import Amount

__all__ = ["command"]


@click.command(
    "sponsor",
    cls=TercetCommand,
    examples=(
        "tercet sponsor --market inference --budget 1000 --epochs 100",
        "tercet sponsor --market inference --cancel 0 --dry-run",
    ),
)
@click.option("--budget", metavar="TCT", help="What to pay in all.")
@click.option("--epochs", type=click.IntRange(min=1), help="Over how many epochs, the running one included.")
@click.option("--cancel", type=click.IntRange(min=0), metavar="NUMBER", help="End this sponsorship of the wallet's.")
@spending_options
@market_option
@wallet_option
@pass_state
def command(
    state: State, *, budget: str | None, epochs: int | None, cancel: int | None, yes: bool, dry_run: bool
) -> None:
    """Pay a market's epochs, and print the sponsorship's number. What nobody earns comes back to you."""
    if cancel is not None and budget is None and epochs is None:
        asyncio.run(_cancel(state.settings, cancel, yes=yes, dry_run=dry_run))
    elif cancel is None and budget is not None and epochs is not None:
        asyncio.run(_sponsor(state.settings, budget, epochs, yes=yes, dry_run=dry_run))
    else:
        raise UsageError("Say --budget TCT and --epochs NUMBER to pay, or --cancel NUMBER to stop paying.")


async def _sponsor(settings: Settings, text: str, epochs: int, *, yes: bool, dry_run: bool) -> None:
    async with open_market(settings) as (client, market):
        unit = await reward_unit(client, market)
        budget = Amount.parse(text, unit)
        each = Amount(budget.units // epochs, unit)
        taken = Amount(each.units * epochs, unit)
        what = f"pay {taken} into {await market.title()!r}, {each} to each of {epochs} epochs"
        if confirm(what, yes=yes, dry_run=dry_run):
            number = await client.sponsor(client.sender(unlock(settings)), market, budget.units, epochs)
            click.echo(number)
            say(f"Sponsorship {number}. What no miner or validator earns can be claimed back: tercet withdraw.")


async def _cancel(settings: Settings, number: int, *, yes: bool, dry_run: bool) -> None:
    async with open_market(settings) as (client, market):
        treasury, epoch = await market.treasury(), (await market.status()).epoch
        grant = await treasury.sponsorship(number)
        rest = Amount(grant.rate * max(0, grant.end_epoch - epoch - 1), await reward_unit(client, market))
        what = f"end sponsorship {number} of {await market.title()!r} with epoch {epoch}; {rest} come back with tercet withdraw"
        if confirm(what, yes=yes, dry_run=dry_run):
            await treasury.cancel(client.sender(unlock(settings)), number)
            say(f"Sponsorship {number} ends with epoch {epoch}.")
