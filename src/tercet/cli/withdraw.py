"""`tercet withdraw`: take home everything that a market owes a wallet, whatever for."""

from __future__ import annotations

import asyncio

import click

from tercet.chain.holdings import Holdings, bring_home
from tercet.chain.market import MarketContract
from tercet.chain.sender import Sender
from tercet.cli.connection import open_market
from tercet.cli.frame import State, TercetCommand, pass_state
from tercet.cli.money import reward_unit
from tercet.cli.options import market_option, wallet_option
from tercet.cli.output import say
from tercet.cli.settings import Settings
from tercet.cli.unlock import unlock
from tercet.client import Client
from tercet.market import STAKE, Amount, Token

__all__ = ["command", "describe_holdings", "sum_up", "take_home"]


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
    unit = await reward_unit(client, market)
    for line in describe_holdings(found, unit):
        say(line)
    total = sum_up(found.due, unit)
    if not any(found.due):
        say("Nothing is owed to this wallet." if not found.positions else "Nothing can be taken home yet.")
    elif dry_run:
        say(f"Dry run: would take {total} home. Nothing was sent.")
    else:
        await bring_home(market, sender, found)
        say(f"{sender.address} took {total} home.")


def sum_up(due: tuple[int, int], unit: Token) -> str:
    """Reward token and stake token together, one amount where they are the same."""
    if unit == STAKE:
        return str(Amount(sum(due), STAKE))
    amounts = [str(Amount(units, token)) for units, token in zip(due, (unit, STAKE), strict=True) if units]
    return " and ".join(amounts) or str(Amount(0, unit))


def describe_holdings(found: Holdings, unit: Token) -> list[str]:
    """What is due and what is not yet, a line each; rewards and refunds in the market's `unit`."""
    dividends = [sum(part) for part in zip((0, 0), *found.dividends.values(), strict=True)]
    amounts: dict[str, tuple[int, int]] = {
        "rewards as a miner or for closing epochs": (found.rewards, found.emission),
        "rewards of stake": (dividends[0], dividends[1]),
        "refunds of sponsorships": (sum(found.refunds.values()), 0),
        "deposits of evicted miners": (0, found.deposit),
        "stake that is free again": (0, sum(found.unbonded.values())),
    }
    lines = [f"  {sum_up(due, unit)}: {name}" for name, due in amounts.items() if any(due)]
    for pool, position in found.positions.items():
        if position.unbonding and pool not in found.unbonded:
            lines.append(
                f"  Not yet: {Amount(position.unbonding, STAKE)} unbond in pool {pool} until epoch {position.release_epoch}."
            )
    return lines
