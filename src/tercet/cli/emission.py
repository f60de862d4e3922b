"""`tercet emission`: fees for sale, tokens burned for markets, and what markets get for it."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from tercet.chain.emission import live_awards
from tercet.chain.registry import Listing
from tercet.cli.connection import open_client, open_market
from tercet.cli.emission_owner import accept, owner, set_allocator, transfer
from tercet.cli.frame import State, group, pass_state
from tercet.cli.money import reward_unit
from tercet.cli.options import market_option, spending_options, wallet_option
from tercet.cli.output import confirm, print_json, print_table, say
from tercet.cli.settings import Settings
from tercet.cli.unlock import unlock
from tercet.client import Client
from tercet.errors import RefusedError, UsageError
from tercet.market import CREDIT, STAKE, Amount

__all__ = ["command"]


@group("emission", examples=("tercet emission show", "tercet emission collect --market inference --dry-run"))
def command() -> None:
    """What brings money into markets beside sponsors.

    Fees of paid work go to their market or are sold for TCT that is burned. What was burned for a market in a period
    decides what it gets of that period's emission, and bounds it. Why: docs/explanation/allocator.md.
    """


command.add_command(owner)
command.add_command(set_allocator)
command.add_command(transfer)
command.add_command(accept)

SHOW_SCHEMA = {
    "period": "number of the running period",
    "ends_at": "its end, Unix seconds by the chain's clock",
    "budget": "the most that all markets get for it, TCT base units, as text; so are the next three",
    "burned": "for all markets in it",
    "minted": "so far, of all emission",
    "left": "of the reserve",
    "rules.*": "the schedule, fixed for ever",
    "markets[].name": "its name",
    "markets[].address": "its contract",
    "markets[].burned": "for it in the running period, TCT base units, as text",
    "markets[].pending": "fees that wait to be forwarded to it, base units of its reward token, as text",
    "markets[].for_sale.amount": "fees in credit that are for sale, base units, as text",
    "markets[].for_sale.price": "TCT base units to burn for all of them now, as text",
    "markets[].awards[].period": "a finished period whose claims live",
    "markets[].awards[].burned": "for the market in it, TCT base units, as text; so are the next three",
    "markets[].awards[].amount": "what the market gets for it",
    "markets[].awards[].paid": "of that, paid already",
    "markets[].awards[].due": "of that, due now",
}


@command.command(
    "show", examples=("tercet emission show", "tercet emission show --market inference --json"), schema=SHOW_SCHEMA
)
@market_option
@pass_state
def show(state: State, as_json: bool) -> None:
    """The running period, and what is burned, for sale and due in every market (or in the one you name)."""
    asyncio.run(_show(state.settings, as_json=as_json))


async def _show(settings: Settings, *, as_json: bool) -> None:
    async with open_client(settings) as client:
        named = settings.text("market")
        listings = [await client.find_market(named)] if named else await client.ledger.registry.list_markets()
        ledger = client.ledger
        emission, fees = ledger.emission, ledger.fees
        rules, period = await emission.schedule(), await emission.period()
        minted = await emission.minted()
        totals = {
            "period": period,
            "ends_at": rules.opens(period + 1),
            "budget": str(await emission.budget(period)),
            "burned": str(await fees.total_burned(period)),
            "minted": str(minted),
            "left": str(rules.reserve - minted),
            "rules": {
                "reserve": str(rules.reserve),
                "rate": str(rules.rate),
                "beta_bps": rules.beta_bps,
                "expiry": rules.expiry,
                "start": rules.start,
                "period_seconds": rules.period_seconds,
            },
        }
        markets = [await _market_row(client, listing, period) for listing in listings]
    if as_json:
        print_json({**totals, "markets": markets})
        return
    click.echo(
        f"Period {period}: up to {_tct(totals['budget'])} for {_tct(totals['burned'])} burned; "
        f"{_tct(totals['left'])} left in the reserve.\n"
    )
    columns = ["market", "burned", "for sale", "price", "due"]
    print_table(columns, [_brief(row) for row in markets], "No market yet. Open one: tercet market create SUBNET")


async def _market_row(client: Client, listing: Listing, period: int) -> dict[str, Any]:
    """A market as `--json` says it."""
    fees, market = client.ledger.fees, listing.market
    sale = await fees.sale(client.ledger.credit.address, market)
    awards = [
        {
            "period": number,
            "burned": str(await fees.burned(market, number)),
            "amount": str(award.amount),
            "paid": str(award.paid),
            "due": str(award.due),
        }
        for number, award in (await live_awards(client.ledger.emission, market)).items()
    ]
    return {
        "name": listing.name,
        "address": market,
        "burned": str(await fees.burned(market, period)),
        "pending": str(await fees.pending(market)),
        "for_sale": {"amount": str(sale.amount), "price": str(sale.price)},
        "awards": awards,
    }


def _tct(units: Any) -> Amount:
    return Amount(int(units), STAKE)


def _brief(row: dict[str, Any]) -> list[object]:
    sale, due = row["for_sale"], sum(int(award["due"]) for award in row["awards"])
    return [row["name"], _tct(row["burned"]), Amount(int(sale["amount"]), CREDIT), _tct(sale["price"]), _tct(due)]


@command.command(
    "collect",
    examples=("tercet emission collect --market inference", "tercet emission collect --market inference --dry-run"),
)
@spending_options
@market_option
@wallet_option
@pass_state
def collect(state: State, yes: bool, dry_run: bool) -> None:
    """Bring a market what is due to it: forwarded fees and emission, into its next epoch.

    Anyone may. The wallet pays the gas and gets nothing; miners and validators of the market do.
    """
    asyncio.run(_collect(state.settings, yes=yes, dry_run=dry_run))


async def _collect(settings: Settings, *, yes: bool, dry_run: bool) -> None:
    async with open_market(settings) as (client, market):
        ledger, address = client.ledger, market.address
        pending = await ledger.fees.pending(address)
        awards = await live_awards(ledger.emission, address)
        due = [(number, award.due) for number, award in awards.items() if award.due]
        if not (pending or due):
            say("Nothing is due now. An award falls due over the period that follows.")
            return
        minted = Amount(sum(amount for _, amount in due), STAKE)
        forwarded = Amount(pending, await reward_unit(client, market))
        what = f"bring {minted} of emission and {forwarded} of fees into {await market.title()!r}, for the gas alone"
        if not confirm(what, yes=yes, dry_run=dry_run):
            return
        sender = client.sender(unlock(settings))
        if pending:
            await ledger.fees.forward(sender, address)
        total = sum([await ledger.emission.collect(sender, address, number) for number, _ in due])
        click.echo(Amount(total, STAKE))


@command.command(
    "burn",
    examples=(
        "tercet emission burn --market inference --amount 100",
        "tercet emission burn --market inference --amount 100 --dry-run",
    ),
)
@click.option("--amount", required=True, metavar="TCT", help="What to destroy.")
@spending_options
@market_option
@wallet_option
@pass_state
def burn(state: State, amount: str, yes: bool, dry_run: bool) -> None:
    """Destroy TCT for a market: a part of it comes to its miners and validators as emission, never all."""
    asyncio.run(_burn(state.settings, Amount.parse(amount, STAKE), yes=yes, dry_run=dry_run))


async def _burn(settings: Settings, amount: Amount, *, yes: bool, dry_run: bool) -> None:
    if not amount.units:
        raise UsageError("Burn more than nothing: --amount 1.")
    async with open_market(settings) as (client, market):
        rules = await client.ledger.emission.schedule()
        most = Amount(amount.units * rules.beta_bps // 10_000, STAKE)
        what = f"destroy {amount} for {await market.title()!r}, which gets at most {most} of it back as emission"
        if confirm(what, yes=yes, dry_run=dry_run):
            ledger, sender = client.ledger, client.sender(unlock(settings))
            await ledger.token.ensure_allowance(sender, ledger.fees.address, amount.units)
            await ledger.fees.burn_for(sender, market.address, amount.units)


@command.command(
    "buy",
    examples=(
        "tercet emission buy --market inference --max 50",
        "tercet emission buy --market inference --max 50 --dry-run",
    ),
)
@click.option("--max", "limit", required=True, metavar="TCT", help="The most to burn for it.")
@spending_options
@market_option
@wallet_option
@pass_state
def buy(state: State, limit: str, yes: bool, dry_run: bool) -> None:
    """Buy a market's fees that are for sale, in credit, and burn their price in TCT. The price falls while you wait."""
    asyncio.run(_buy(state.settings, Amount.parse(limit, STAKE), yes=yes, dry_run=dry_run))


async def _buy(settings: Settings, limit: Amount, *, yes: bool, dry_run: bool) -> None:
    async with open_market(settings) as (client, market):
        ledger = client.ledger
        sale = await ledger.fees.sale(ledger.credit.address, market.address)
        amount, price = Amount(sale.amount, CREDIT), Amount(sale.price, STAKE)
        if not sale.amount:
            raise RefusedError(f"No fees of {await market.title()!r} are for sale now.")
        if limit < price:
            raise RefusedError(
                f"The price of {amount} is {price} now, more than {limit}. Wait, or allow more with --max."
            )
        what = f"destroy {price} for {amount} of fees"
        if confirm(what, yes=yes, dry_run=dry_run):
            sender = client.sender(unlock(settings))
            await ledger.token.ensure_allowance(sender, ledger.fees.address, limit.units)
            sold = await ledger.fees.buy(
                sender, ledger.credit.address, market.address, min_amount=sale.amount, max_burn=limit.units
            )
            click.echo(f"{Amount(sold.amount, CREDIT)} for {Amount(sold.price, STAKE)}")
