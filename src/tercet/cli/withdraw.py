"""`tercet withdraw`: take home everything that a market owes a wallet, whatever for."""

from __future__ import annotations

import asyncio

import click

from tercet.chain.holdings import Holdings, bring_home
from tercet.chain.market import MarketContract
from tercet.chain.sender import Sender
from tercet.cli.connection import open_market
from tercet.cli.frame import State, TercetCommand, pass_state
from tercet.cli.options import market_option, wallet_option
from tercet.cli.output import say
from tercet.cli.settings import Settings
from tercet.cli.unlock import unlock
from tercet.client import Client
from tercet.market import STAKE, Amount

__all__ = ["command", "take_home"]


@click.command(
    "withdraw",
    cls=TercetCommand,
    examples=(
        "tercet withdraw --market inference --wallet miner",
        "tercet withdraw --market inference --wallet owner --dry-run",
    ),
)
@click.option("--yes", is_flag=True, help="For scripts; taking one's own money is never asked about.")
@click.option("--dry-run", is_flag=True, help="Show what would come home; send nothing.")
@market_option
@wallet_option
@pass_state
def command(state: State, *, yes: bool, dry_run: bool) -> None:  # noqa: ARG001  # see its help
    """Take home what a market owes the wallet: rewards, dividends, refunds, deposits, stake that is free again."""
    asyncio.run(_withdraw(state.settings, dry_run=dry_run))


async def _withdraw(settings: Settings, *, dry_run: bool) -> None:
    async with open_market(settings) as (client, market):
        await take_home(client, market, client.sender(unlock(settings)), dry_run=dry_run)


async def take_home(client: Client, market: MarketContract, sender: Sender, *, dry_run: bool = False) -> None:
    """Take everything that is due and say what it was; without a transaction when `dry_run`."""
    found = await client.holdings(market, sender.address)
    for line in describe_holdings(found):
        say(line)
    total = Amount(sum(found.due), STAKE)
    if not total.units:
        say("Nothing is owed to this wallet." if not found.positions else "Nothing can be taken home yet.")
    elif dry_run:
        say(f"Dry run: would take {total} home. Nothing was sent.")
    else:
        await bring_home(market, sender, found)
        say(f"{sender.address} took {total} home.")


def describe_holdings(found: Holdings) -> list[str]:
    """What is due and what is not yet, a line each."""
    in_reward, in_stake = (sum(part) for part in zip((0, 0), *found.dividends.values(), strict=True))
    amounts = {
        "rewards as a miner or for closing epochs": found.rewards + found.emission,
        "rewards of stake": in_reward + in_stake,
        "refunds of sponsorships": sum(found.refunds.values()),
        "deposits of evicted miners": found.deposit,
        "stake that is free again": sum(found.unbonded.values()),
    }
    lines = [f"  {Amount(units, STAKE)}: {name}" for name, units in amounts.items() if units]
    for pool, position in found.positions.items():
        if position.unbonding and pool not in found.unbonded:
            lines.append(
                f"  Not yet: {Amount(position.unbonding, STAKE)} unbond in pool {pool} until epoch {position.release_epoch}."
            )
    return lines
