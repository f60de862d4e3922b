"""`tercet market`: open, look at and sponsor markets; leave them."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

import click

from tercet.chain.market import MarketContract
from tercet.chain.registry import MarketParams
from tercet.cli.connection import open_client, open_market
from tercet.cli.frame import State, group, pass_state
from tercet.cli.home import leave, withdraw
from tercet.cli.options import market_option, spending_options, wallet_option
from tercet.cli.output import confirm, print_json, print_table, say
from tercet.cli.settings import Settings
from tercet.cli.unlock import unlock
from tercet.market import STAKE, Amount
from tercet.market.epoch import PRECISE
from tercet.subnets import load_mechanism

__all__ = ["command", "status_row"]


@group(
    "market",
    examples=("tercet market create inference", "tercet market sponsor --market inference --budget 1000 --epochs 100"),
)
def command() -> None:
    """Open, look at and sponsor markets; take money home."""


command.add_command(withdraw)
command.add_command(leave)


@command.command(
    "create",
    examples=(
        "tercet market create inference",
        "tercet market create echo --name echo-2 --commit 120 --reveal 60 --dry-run",
    ),
)
@click.argument("subnet")
@click.option("--name", help="Of the market (default: like the subnet).")
@click.option("--commit", default=300, show_default=True, metavar="SECONDS", help="Length of the commit phase.")
@click.option("--reveal", default=120, show_default=True, metavar="SECONDS", help="Length of the reveal phase.")
@click.option(
    "--validators-share", default=20.0, show_default=True, metavar="PERCENT", help="Their part of the reward."
)
@click.option("--kappa", default=0.51, show_default=True, help="Majority of the consensus, above 0.5.")
@click.option("--bond-alpha", default=0.2, show_default=True, help="Weight of the newest row in a bond.")
@click.option("--deposit", default="1", show_default=True, metavar="TCT", help="Of a miner, refundable.")
@click.option("--min-stake", default="1", show_default=True, metavar="TCT", help="Of a validator.")
@spending_options
@wallet_option
@pass_state
def create(state: State, /, *, subnet: str, name: str | None, yes: bool, dry_run: bool, **rules: Any) -> None:
    """Open a market for SUBNET and print its address. The registry's bond comes back when it is wound down."""
    params = MarketParams(
        subnet=subnet,
        mechanism_version=load_mechanism(subnet).version,
        commit_seconds=rules["commit"],
        reveal_seconds=rules["reveal"],
        kappa=round(rules["kappa"] * PRECISE),
        bond_alpha=round(rules["bond_alpha"] * PRECISE),
        validator_share_bps=round(rules["validators_share"] * 100),
        miner_deposit=Amount.parse(rules["deposit"], STAKE).units,
        min_stake=Amount.parse(rules["min_stake"], STAKE).units,
    )
    asyncio.run(_create(state.settings, name or subnet, params, yes=yes, dry_run=dry_run))


async def _create(settings: Settings, name: str, params: MarketParams, *, yes: bool, dry_run: bool) -> None:
    async with open_client(settings) as client:
        bond = Amount(await client.ledger.registry.bond(), STAKE)
        if confirm(
            f"open the market {name!r} for {params.subnet!r} against a refundable bond of {bond}",
            yes=yes,
            dry_run=dry_run,
        ):
            click.echo(await client.open_market(client.sender(unlock(settings)), name, params))


@command.command(
    "list",
    examples=("tercet market list", "tercet market list --json"),
    schema={
        "markets[].name": "its name",
        "markets[].subnet": "which mechanism judges there",
        "markets[].address": "its contract",
        "markets[].opener": "who paid the bond",
        "markets[].bond": "TCT base units still held, as text",
    },
)
@pass_state
def list_markets(state: State, as_json: bool) -> None:
    """All markets on the chain."""
    asyncio.run(_list(state.settings, as_json))


async def _list(settings: Settings, as_json: bool) -> None:
    async with open_client(settings) as client:
        found = await client.ledger.registry.list_markets()
    if as_json:
        rows = [
            {"name": m.name, "subnet": m.subnet, "address": m.market, "opener": m.opener, "bond": str(m.bond)}
            for m in found
        ]
        print_json({"markets": rows})
    else:
        print_table(
            ["name", "subnet", "address"],
            [[m.name, m.subnet, m.market] for m in found],
            "No market yet. Open one: tercet market create SUBNET",
        )


@command.command(
    "show",
    examples=("tercet market show --market inference", "tercet market show --market inference --json"),
    schema={
        "name": "its name",
        "address": "its contract",
        "epoch": "number of the running epoch",
        "phase": "commit, reveal, ready, closing or ended",
        "started_at": "Unix seconds by the chain's clock, as the next two",
        "commit_ends": "end of the commit phase",
        "reveal_ends": "end of the reveal phase",
        "reward": "of this epoch, TCT base units, as text",
        "rules.*": "the rules it was opened with",
        "books.*": "what it holds and for whom, TCT base units, as text",
        "miners[].uid": "slot",
        "miners[].owner": "whose deposit and rewards",
        "miners[].operator": "who signs answers",
        "miners[].generation": "registration number of this holder",
        "miners[].consensus": "weight agreed on in the last closed epoch, 0 to 65535",
        "miners[].endpoint": "where it answers",
        "validators[].vid": "seat",
        "validators[].owner": "whose stake and rewards",
        "validators[].operator": "who commits and reveals",
        "validators[].stake": "TCT base units, as text",
        "validators[].revealed": "epoch of its newest reveal plus one; 0 means never",
    },
)
@market_option
@pass_state
def show(state: State, as_json: bool) -> None:
    """A market: its epoch, rules, money, miners and validators."""
    asyncio.run(_show(state.settings, as_json))


async def status_row(market: MarketContract) -> dict[str, Any]:
    """Where a market stands, as `--json` says it."""
    status = await market.status()
    return {
        "name": await market.title(),
        "address": market.address,
        "epoch": status.epoch,
        "phase": status.phase.name.lower(),
        "started_at": status.started_at,
        "commit_ends": status.commit_ends,
        "reveal_ends": status.reveal_ends,
        "reward": str(status.reward),
    }


async def _show(settings: Settings, as_json: bool) -> None:
    async with open_market(settings) as (_, market):
        row = await status_row(market)
        rules, books = asdict(await market.params()), asdict(await market.books())
        miners, validators = await market.miners(), await market.validators()
    if as_json:
        seats = [
            {"vid": v.vid, "owner": v.owner, "operator": v.operator, "stake": str(v.stake), "revealed": v.revealed}
            for v in validators
        ]
        slots = [
            {
                "uid": m.uid,
                "owner": m.owner,
                "operator": m.operator,
                "generation": m.generation,
                "consensus": m.consensus,
                "endpoint": m.endpoint,
            }
            for m in miners
        ]
        texts = {name: value if isinstance(value, str) else str(value) for name, value in rules.items()}
        print_json(
            {
                **row,
                "rules": texts,
                "books": {k: str(v) for k, v in books.items()},
                "miners": slots,
                "validators": seats,
            }
        )
        return
    click.echo(
        f"{row['name']} at {row['address']}: epoch {row['epoch']}, {row['phase']}, pays {Amount(int(row['reward']), STAKE)}\n"
    )
    print_table(
        ["uid", "consensus", "endpoint", "owner"],
        [[m.uid, m.consensus, m.endpoint, m.owner] for m in miners],
        "No miner yet. Be one: tercet mine SUBNET",
    )
    click.echo()
    print_table(
        ["vid", "stake", "owner"],
        [[v.vid, Amount(v.stake, STAKE), v.owner] for v in validators],
        "No validator yet. Be one: tercet validate SUBNET",
    )


@command.command(
    "sponsor",
    examples=(
        "tercet market sponsor --market inference --budget 1000 --epochs 100",
        "tercet market sponsor --market inference --budget 50 --epochs 10 --dry-run",
    ),
)
@click.option("--budget", required=True, metavar="TCT", help="What to pay in all.")
@click.option(
    "--epochs", required=True, type=click.IntRange(min=1), help="Over how many epochs, the running one included."
)
@spending_options
@market_option
@wallet_option
@pass_state
def sponsor(state: State, budget: str, epochs: int, yes: bool, dry_run: bool) -> None:
    """Pay a market's epochs, and print the sponsorship's number. What nobody earns comes back to you."""
    asyncio.run(_sponsor(state.settings, Amount.parse(budget, STAKE), epochs, yes=yes, dry_run=dry_run))


async def _sponsor(settings: Settings, budget: Amount, epochs: int, *, yes: bool, dry_run: bool) -> None:
    async with open_market(settings) as (client, market):
        each = Amount(budget.units // epochs, STAKE)
        taken = Amount(each.units * epochs, STAKE)
        what = f"pay {taken} into {await market.title()!r}, {each} to each of {epochs} epochs"
        if confirm(what, yes=yes, dry_run=dry_run):
            number = await client.sponsor(client.sender(unlock(settings)), market, budget.units, epochs)
            click.echo(number)
            say(f"Sponsorship {number}. What no miner or validator earns can be claimed back.")
