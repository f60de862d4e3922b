"""`tercet market`: open and look at markets, change their rules, leave them."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from tercet.chain.market import MarketContract, MinerSlot
from tercet.chain.registry import MarketParams
from tercet.chain.rules import Proposal
from tercet.cli.connection import open_client, open_market
from tercet.cli.frame import State, group, pass_state
from tercet.cli.health import health
from tercet.cli.home import leave
from tercet.cli.money import reward_unit
from tercet.cli.options import market_option, spending_options, wallet_option
from tercet.cli.output import confirm, is_terminal, print_json, print_table, say
from tercet.cli.ownership import accept, hand_over, wind_down
from tercet.cli.plain import printable
from tercet.cli.rules import (
    describe_rule,
    guarded_income,
    names_rule,
    price_places,
    read_rules_file,
    rules_options,
    take_opening_options,
)
from tercet.cli.settings import Settings
from tercet.cli.sponsor import command as sponsor
from tercet.cli.unlock import unlock
from tercet.cli.withdraw import command as withdraw
from tercet.errors import UsageError
from tercet.market import STAKE, Amount
from tercet.subnets import load_mechanism

__all__ = ["command", "status_row"]


@group(
    "market",
    examples=("tercet market create inference", "tercet market show --market inference"),
)
def command() -> None:
    """Open and look at markets, change their rules, leave them."""


command.add_command(withdraw.as_verb_of("market"))
command.add_command(sponsor.as_verb_of("market"))
command.add_command(leave)
command.add_command(health)
command.add_command(wind_down)
command.add_command(hand_over)
command.add_command(accept)


@command.command(
    "create",
    examples=(
        "tercet market create inference",
        "tercet market create echo --name echo-2 --pays-in credit --income 500 --params rules.toml --dry-run",
    ),
)
@click.argument("subnet")
@click.option("--name", help="Of the market (default: like the subnet).")
@click.option(
    "--pays-in", type=click.Choice(["TCT", "credit"]), default="TCT", show_default=True, help="What rewards come in."
)
@click.option(
    "--income", metavar="TCT", help="With --pays-in credit: what an epoch's rewards will be worth; sets --price by it."
)
@rules_options
@spending_options
@wallet_option
@pass_state
def create(
    state: State, /, *, subnet: str, name: str | None, pays_in: str, income: str | None,
    params_file: str | None, yes: bool, dry_run: bool, **rules: str | None,
) -> None:  # fmt: skip
    """Open a market for SUBNET and print its address. The registry's bond comes back when it is wound down.

    A miner's slot costs at least half of what a place earns in an epoch: else worthless newcomers could be bought to
    be rid of a rival. The contract sees to that where rewards come in TCT; credit has no price in TCT there, so with
    --pays-in credit say what an epoch's rewards will be worth (--income), or the least price itself (--price).
    """
    mechanism = load_mechanism(subnet)
    base = MarketParams(subnet=mechanism.name, mechanism_version=mechanism.version)
    params = replace(take_opening_options(base, rules, params_file), subnet=mechanism.name)
    in_credit = pays_in == "credit"
    if in_credit:
        named = names_rule("min_price", rules, params_file)
        params = price_places(params, income or (None if named else _ask_income()), named=named)
    elif income is not None:
        raise UsageError("Rewards in TCT need no --income: the contract knows what a place earns. Leave it out.")
    asyncio.run(_create(state.settings, name or mechanism.name, params, in_credit=in_credit, yes=yes, dry_run=dry_run))


def _ask_income() -> str:
    """What the owner expects; only a person can be asked.

    Raises:
        UsageError: nobody is there.

    """
    if not is_terminal():
        raise UsageError(
            "Rewards in credit have no price in TCT that the contract could know, and a slot that costs less than half "
            "of what a place earns in an epoch can be bought to be rid of a rival. Say what an epoch's rewards will be "
            "worth, in TCT: --income 500; or the least price itself: --price 2."
        )
    return str(click.prompt("What will an epoch's rewards in credit be worth, in TCT?", err=True))


async def _create(
    settings: Settings, name: str, params: MarketParams, *, in_credit: bool, yes: bool, dry_run: bool
) -> None:
    async with open_client(settings) as client:
        bond = Amount(await client.ledger.registry.bond(), STAKE)
        what = f"open the market {name!r} for {params.subnet!r} against a refundable bond of {bond}"
        if in_credit:
            what += (
                f"; it pays in credit, a slot costs at least {Amount(params.min_price, STAKE)}, which is enough as long "
                f"as an epoch's rewards are worth at most {Amount(guarded_income(params), STAKE)}"
            )
        if confirm(what, yes=yes, dry_run=dry_run):
            token = client.ledger.credit.address if in_credit else None
            click.echo(await client.open_market(client.sender(unlock(settings)), name, params, reward_token=token))


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
        "reward": "of this epoch, base units of the token it pays in, as text",
        "price": "of a miner's registration now, TCT base units, as text",
        "owner": "who may propose rules and wind it down",
        "pending_owner": "who was offered the market and may accept it; empty when nobody",
        "last_epoch": "the last one of a market that winds down; null otherwise",
        "rules.*": "the rules in force",
        "contracts.*": "addresses of its stakes, treasury and rules",
        "books.*": "what its contracts hold and for whom, TCT base units, as text",
        "miners[].uid": "slot",
        "miners[].owner": "whose deposit and rewards",
        "miners[].operator": "who signs answers",
        "miners[].generation": "registration number of this holder",
        "miners[].consensus": "weight agreed on in the last closed epoch, 0 to 65535",
        "miners[].endpoint": "where it answers",
        "applicants[].owner": "who waits for a slot",
        "applicants[].paid": "TCT base units, as text",
        "validators[].vid": "seat",
        "validators[].owner": "whose rewards",
        "validators[].operator": "who commits and reveals",
        "validators[].pool": "number of its stake's pool",
        "validators[].stake": "bonded with it, its own and delegated, TCT base units, as text",
        "validators[].effective": "what of it counts in this epoch",
        "validators[].weight": "stake units in the newest closing, after permits and cap",
        "validators[].take_bps": "what it keeps of its delegators' rewards, ten-thousandths",
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
        "price": str(status.price),
    }


async def _show(settings: Settings, as_json: bool) -> None:
    async with open_market(settings) as (client, market):
        row, params, unit = await status_row(market), await market.params(), await reward_unit(client, market)
        heir, last = await (await market.rules()).pending_owner(), (await market.status()).last_epoch
        row |= {"owner": await market.owner(), "pending_owner": heir or "", "last_epoch": last}
        contracts = await market.contracts()
        books, miners, applicants = await _books(market), await market.miners(), await market.applicants()
        seats = await _seats(market, params)
    if as_json:
        print_json(
            {
                **row,
                "rules": _texts(params),
                "contracts": {contract.name.lower(): contract.address for contract in contracts},
                "books": books,
                "miners": [_miner_row(miner) for miner in miners],
                "applicants": [{"owner": one.owner, "paid": str(one.paid)} for one in applicants],
                "validators": seats,
            }
        )
        return
    click.echo(
        f"{printable(row['name'])} at {row['address']}: epoch {row['epoch']}, {row['phase']}, pays {Amount(int(row['reward']), unit)}; "
        f"a miner registers for {Amount(int(row['price']), STAKE)}\n"
    )
    if last is not None:
        say(f"It winds down: epoch {last} is its last one.")
    print_table(
        ["uid", "consensus", "endpoint", "owner"],
        [[m.uid, m.consensus, m.endpoint, m.owner] for m in miners],
        "No miner yet. Be one: tercet mine SUBNET",
    )
    click.echo()
    print_table(
        ["vid", "stake", "counts", "take", "owner"],
        [
            [
                seat["vid"],
                Amount(int(seat["stake"]), STAKE),
                Amount(int(seat["effective"]), STAKE),
                describe_rule("validator_share_bps", seat["take_bps"]),
                seat["owner"],
            ]
            for seat in seats
        ],
        "No validator yet. Be one: tercet validate SUBNET",
    )


def _texts(params: MarketParams) -> dict[str, str]:
    """Rules for JSON readers, which round beyond 2^53."""
    return {name: str(value) for name, value in asdict(params).items()}


async def _books(market: MarketContract) -> dict[str, str]:
    stakes, treasury = await market.stakes(), await market.treasury()
    staked, held = asdict(await stakes.books()), asdict(await treasury.books())
    renamed = {"dividends": staked["reward"], "stake_dividends": staked["stake_reward"]}
    kept = {name: staked[name] for name in ("bonded", "unbonding")}
    return {k: str(v) for k, v in ({"deposits": await market.deposits()} | kept | renamed | held).items()}


def _miner_row(miner: MinerSlot) -> dict[str, Any]:
    return {
        "uid": miner.uid,
        "owner": miner.owner,
        "operator": miner.operator,
        "generation": miner.generation,
        "consensus": miner.consensus,
        "endpoint": miner.endpoint,
    }


async def _seats(market: MarketContract, params: MarketParams) -> list[dict[str, Any]]:
    stakes, seats = await market.stakes(), await market.validators()
    effective = await stakes.effective([seat.pool for seat in seats], params.min_stake)
    rows = []
    for seat, counting in zip(seats, effective, strict=True):
        pool = await stakes.pool(seat.pool)
        rows.append(
            {
                "vid": seat.vid,
                "owner": seat.owner,
                "operator": seat.operator,
                "pool": seat.pool,
                "stake": str(pool.bonded),
                "effective": str(counting),
                "weight": seat.weight,
                "take_bps": pool.take_bps,
                "revealed": seat.revealed,
            }
        )
    return rows


@command.command(
    "params",
    examples=(
        "tercet market params --market inference",
        "tercet market params --market inference --propose rules.toml --wallet owner",
    ),
    schema={
        "params.*": "the rules in force, as text; the output is a file that --propose reads",
        "proposed.*": "the rules that are proposed; absent when none are",
        "effective_at": "Unix seconds: the first closing from then on brings them into force; 0 when none are proposed",
        "timelock_seconds": "how long a proposal waits",
        "owner": "who may propose",
    },
)
@click.option(
    "--propose", "file", metavar="FILE", help="Propose these rules, in TOML or JSON; others stay as they are."
)
@click.option("--cancel", is_flag=True, help="Take the proposal back.")
@spending_options
@market_option
@wallet_option
@pass_state
def show_params(state: State, *, file: str | None, cancel: bool, yes: bool, dry_run: bool, as_json: bool) -> None:
    """The rules in force and those that are proposed. The owner proposes; nothing changes before the notice is over."""
    if file is not None and cancel:
        raise UsageError("Say --propose FILE or --cancel, not both.")
    if file is not None:
        asyncio.run(_propose(state.settings, Path(file), yes=yes, dry_run=dry_run))
    elif cancel:
        asyncio.run(_cancel(state.settings, yes=yes, dry_run=dry_run))
    else:
        asyncio.run(_params(state.settings, as_json))


async def _params(settings: Settings, as_json: bool) -> None:
    async with open_market(settings) as (_, market):
        rules = await market.rules()
        params, proposal = await rules.params(), await rules.proposal()
        timelock, owner = await rules.timelock_seconds(), await rules.owner()
    if as_json:
        proposed = {"proposed": _texts(proposal.params)} if proposal else {}
        at = proposal.effective_at if proposal else 0
        print_json(
            {"params": _texts(params), **proposed, "effective_at": at, "timelock_seconds": timelock, "owner": owner}
        )
        return
    print_table(["rule", "in force", "proposed"], _compare(params, proposal), "")
    if proposal:
        say(f"The first closing after {_when(proposal.effective_at)} brings what is proposed into force.")


def _compare(params: MarketParams, proposal: Proposal | None) -> list[list[str]]:
    old, new = asdict(params), asdict(proposal.params if proposal else params)
    return [
        [name, describe_rule(name, old[name]), "" if old[name] == new[name] else describe_rule(name, new[name])]
        for name in old
    ]


def _when(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(" ", "seconds").replace("+00:00", " UTC")


async def _propose(settings: Settings, file: Path, *, yes: bool, dry_run: bool) -> None:
    async with open_market(settings) as (client, market):
        rules = await market.rules()
        old = await rules.params()
        new = read_rules_file(file, old)
        changed = [row for row in _compare(old, Proposal(new, 0)) if row[2]]
        if not changed:
            raise UsageError(f"{file} changes nothing of the rules in force.")
        words = ", ".join(f"{name} from {before} to {after}" for name, before, after in changed)
        what = f"propose for {await market.title()!r}: {words}; in force {await rules.timelock_seconds()} s from now at the earliest"
        if confirm(what, yes=yes, dry_run=dry_run):
            at = await rules.propose(client.sender(unlock(settings)), new)
            say(f"Proposed. The first closing after {_when(at)} brings it into force; everybody may leave before.")


async def _cancel(settings: Settings, *, yes: bool, dry_run: bool) -> None:
    async with open_market(settings) as (client, market):
        if confirm(f"take back the rules proposed for {await market.title()!r}", yes=yes, dry_run=dry_run):
            await (await market.rules()).cancel_proposal(client.sender(unlock(settings)))
            say("The rules stay as they are.")
