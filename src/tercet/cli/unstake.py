"""`tercet unstake`: begin to take stake back, one's own or what was delegated."""

from __future__ import annotations

import asyncio

import click

from tercet.chain.holdings import find_positions
from tercet.chain.stakes import EVERYTHING
from tercet.cli.connection import open_market
from tercet.cli.frame import State, TercetCommand, pass_state
from tercet.cli.options import market_option, spending_options, wallet_option
from tercet.cli.output import confirm, say
from tercet.cli.pools import choose_position
from tercet.cli.settings import Settings
from tercet.cli.unlock import unlock
from tercet.market import STAKE, Amount

__all__ = ["command"]


@click.command(
    "unstake",
    cls=TercetCommand,
    examples=("tercet unstake 100 --market inference --wallet judge", "tercet unstake all --from 0 --wallet saver"),
)
@click.argument("amount", metavar="TCT|all")
@click.option("--from", "validator", metavar="VID|ADDRESS", help="Of which validator (default: the only one).")
@click.option("--pool", type=click.IntRange(min=1), metavar="NUMBER", help="The same by the pool's number.")
@spending_options
@market_option
@wallet_option
@pass_state
def command(state: State, *, amount: str, validator: str | None, pool: int | None, yes: bool, dry_run: bool) -> None:
    """Begin to take stake back. It counts and earns no more; some closings later, tercet withdraw takes it home."""
    units = None if amount == "all" else Amount.parse(amount, STAKE)
    asyncio.run(_unstake(state.settings, units, validator, pool, yes=yes, dry_run=dry_run))


async def _unstake(
    settings: Settings, amount: Amount | None, validator: str | None, pool: int | None, *, yes: bool, dry_run: bool
) -> None:
    async with open_market(settings) as (client, market):
        key = unlock(settings)
        positions = await find_positions(market, key.address, client.ledger.deployment.block)
        chosen = await choose_position(market, positions, validator, pool)
        shown = amount or Amount(positions[chosen].bonded, STAKE)
        status, params = await market.status(), await market.params()
        what = (
            f"take {shown} of {key.address} out of pool {chosen} of {await market.title()!r}: it counts and earns no "
            f"more from now on, and can be withdrawn from epoch {status.epoch + params.unbonding_epochs} on"
        )
        if not confirm(what, yes=yes, dry_run=dry_run):
            return
        units = amount.units if amount else EVERYTHING
        release = await (await market.stakes()).unstake(client.sender(key), chosen, units)
        say(f"Withdraw it from epoch {release} on, or when the market has ended, with: tercet withdraw.")
