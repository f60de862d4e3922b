"""`tercet validate`: measure the miners of a subnet and be paid for it."""

from __future__ import annotations

import click

from tercet.chain.keys import Key
from tercet.chain.market import MarketContract
from tercet.cli.connection import open_market
from tercet.cli.frame import State, TercetCommand, pass_state
from tercet.cli.options import (
    build_mechanism,
    market_option,
    mechanism_options,
    spending_options,
    state_option,
    wallet_option,
)
from tercet.cli.output import confirm, say
from tercet.cli.serving import run_role
from tercet.cli.unlock import unlock
from tercet.client import Client
from tercet.market import CREDIT, STAKE, Amount
from tercet.nodes.epochs import Policy
from tercet.nodes.validator import AuditDoor, ValidatorConfig, run_validator

__all__ = ["command"]


@click.command(
    "validate",
    cls=TercetCommand,
    examples=(
        "tercet validate inference --wallet judge --payer shopper --stake 1000",
        "tercet validate inference --wallet judge --payer shopper --challenges 8",
    ),
)
@click.argument("subnet")
@click.option(
    "--payer", required=True, metavar="NAME", help="The wallet that buys challenges; nothing links it to yours."
)
@click.option(
    "--stake", default="1000", show_default=True, metavar="TCT", help="Staked if this wallet has no seat yet."
)
@click.option(
    "--take", default=0.0, show_default=True, metavar="PERCENT", help="Of delegators' rewards to keep, with a new seat."
)
@click.option("--challenges", default=4, show_default=True, help="Questions to each miner in one epoch.")
@click.option("--budget", default="1", show_default=True, metavar="CREDIT", help="For challenges, in one epoch.")
@click.option(
    "--deposit",
    default="1",
    show_default=True,
    metavar="CREDIT",
    help="Put into each miner's channel, and again when used up.",
)
@click.option(
    "--capacity", default=1.0, show_default=True, help="Miners' worth of perfect work that the market asks for."
)
@click.option(
    "--concurrency", default=64, show_default=True, help="Questions in flight: so many miners are asked at once."
)
@click.option("--answer-seconds", default=30.0, show_default=True, help="How long a miner has for an answer.")
@click.option("--judge-seconds", default=60.0, show_default=True, help="How long a verdict may take.")
@click.option("--audit-host", default="127.0.0.1", show_default=True, help="Listen here for the other validators.")
@click.option("--audit-port", default=0, show_default=True, help="On this port; 0 takes any free one.")
@click.option("--audit-endpoint", default="", metavar="URL", help="What they are told (default: that host and port).")
@click.option("--poll", default=1.0, show_default=True, metavar="SECONDS", help="How often the chain is looked at.")
@mechanism_options
@spending_options
@state_option("validator")
@market_option
@wallet_option
@pass_state
def command(
    state: State, /, *, subnet: str, payer: str, stake: str, take: float, challenges: int, budget: str, deposit: str, capacity: float,
    concurrency: int, answer_seconds: float, judge_seconds: float, audit_host: str, audit_port: int,
    audit_endpoint: str, poll: float, model: str | None,
    options: tuple[str, ...], yes: bool, dry_run: bool, folder: str | None,
) -> None:  # fmt: skip
    """Validate SUBNET until Ctrl-C: ask the miners what a buyer might, judge, commit and reveal weights.

    The wallet owns the stake and earns; the first time it stakes, which asks. The payer's password is the wallet's.
    """
    settings = state.settings
    mechanism = build_mechanism(settings, subnet, model, options)
    policy = Policy(
        challenges_per_miner=challenges,
        budget=Amount.parse(budget, CREDIT).units,
        capacity=capacity,
        concurrency=concurrency,
        answer_seconds=answer_seconds,
        judge_seconds=judge_seconds,
        poll_seconds=poll,
    )
    door = AuditDoor(audit_host, audit_port, audit_endpoint)
    key, shopper = unlock(settings), unlock(settings, payer)
    amount, units, place = (
        Amount.parse(stake, STAKE),
        Amount.parse(deposit, CREDIT).units,
        state.folder("validator", folder),
    )

    async def serve() -> int:
        async with open_market(settings, mechanism.name) as (client, market):
            if not await _take_seat(client, market, key, amount, round(take * 100), yes=yes, dry_run=dry_run):
                return 0
            return await run_validator(
                ValidatorConfig(key, shopper, client.ledger, market.address, mechanism, place, policy, units, door)
            )

    run_role(serve())


async def _take_seat(
    client: Client, market: MarketContract, key: Key, stake: Amount, take: int, *, yes: bool, dry_run: bool
) -> bool:
    """Stake unless this key has a seat; whether it may validate now."""
    seat = await client.validator_seat(market, key.address)
    if seat is None:
        status, params = await market.status(), await market.params()
        what = (
            f"stake {stake} of {key.address} in the market {await market.title()!r}; it votes from epoch "
            f"{status.epoch + 1} on, and comes back {params.unbonding_epochs} closings after you leave"
        )
        if not confirm(what, yes=yes, dry_run=dry_run):
            return False
        seat = await client.join_as_validator(client.sender(key), market, key.address, stake.units, take)
    pool = await (await market.stakes()).pool(seat.pool)
    say(f"Validator {seat.vid} of {market.address}, with {Amount(pool.bonded, STAKE)} at stake.")
    return True
