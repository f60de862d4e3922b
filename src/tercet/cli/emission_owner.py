"""What only the emission's owner decides: `tercet emission owner`, `set-allocator`, `transfer` and `accept`.

The owner names who splits the emission between the markets, after a notice, and nothing else: the schedule, the
reserve and what bounds a market's part are fixed for ever.
"""

from __future__ import annotations

import asyncio

import click

from tercet.cli.connection import open_client
from tercet.cli.frame import State, TercetCommand, pass_state
from tercet.cli.handover import offer, require_owner, take_over
from tercet.cli.options import spending_options, wallet_option
from tercet.cli.output import confirm, print_json, print_table, say
from tercet.cli.pools import find_address
from tercet.cli.settings import Settings
from tercet.cli.unlock import unlock
from tercet.errors import UsageError

__all__ = ["accept", "owner", "set_allocator", "transfer"]

_NAME = "the emission"

OWNER_SCHEMA = {
    "owner": "who may name another allocator",
    "offered_to": "who may take the ownership over; null: nobody",
    "allocator": "the contract that splits the running period",
    "proposed.allocator": "the contract that was named to follow it; the field is null without one",
    "proposed.since": "the first period that it splits",
    "proposed.at": "the beginning of that period, Unix seconds",
    "proposed": "null: none is named",
}


@click.command(
    "owner",
    cls=TercetCommand,
    examples=("tercet emission owner", "tercet emission owner --json"),
    schema=OWNER_SCHEMA,
)
@pass_state
def owner(state: State, as_json: bool) -> None:
    """Who owns the emission, whom it is offered to, and which allocator splits it now and later."""
    asyncio.run(_show(state.settings, as_json=as_json))


async def _show(settings: Settings, *, as_json: bool) -> None:
    async with open_client(settings) as client:
        emission = client.ledger.emission
        proposal, schedule = await emission.proposal(), await emission.schedule()
        allocator = await emission.allocator_of(await emission.period())
        found = {
            "owner": await emission.owner(),
            "offered_to": await emission.pending_owner(),
            "allocator": allocator,
            "proposed": None
            if proposal is None
            else {
                "allocator": proposal.allocator,
                "since": proposal.since,
                "at": schedule.opens(proposal.since),
            },
        }
        if as_json:
            print_json(found)
            return
        later = "none" if proposal is None else f"{proposal.allocator} from period {proposal.since} on"
        print_table(
            ["what", "who"],
            [
                ["owner", found["owner"]],
                ["offered to", found["offered_to"] or "nobody"],
                ["allocator", allocator],
                ["named to follow", later],
            ],
            "Nobody owns the emission.",
        )


@click.command(
    "set-allocator",
    cls=TercetCommand,
    examples=(
        "tercet emission set-allocator 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf --wallet owner --dry-run",
        "tercet emission set-allocator --cancel --wallet owner --yes",
    ),
)
@click.argument("address", metavar="[ADDRESS]", required=False)
@click.option("--cancel", is_flag=True, help="Take back the one that is named and does not count yet.")
@spending_options
@wallet_option
@pass_state
def set_allocator(state: State, address: str | None, cancel: bool, yes: bool, dry_run: bool) -> None:
    """Name the contract at ADDRESS to split the emission, once all claims of before have expired.

    Only the emission's owner may. Whatever it answers, a market gets at most its part of what was burned for it.
    """
    if (address is None) is not cancel:
        raise UsageError("Name the new allocator's address, or take the named one back with --cancel.")
    named = None if address is None else find_address(state.settings, address)
    asyncio.run(_set_allocator(state.settings, named, yes=yes, dry_run=dry_run))


async def _set_allocator(settings: Settings, named: str | None, *, yes: bool, dry_run: bool) -> None:
    async with open_client(settings) as client:
        key, emission = unlock(settings), client.ledger.emission
        await require_owner(emission, _NAME, key.address)
        before = await emission.proposal()
        if named is None:
            if before is None:
                say("No allocator is named to follow.")
            elif confirm(f"take back the allocator {before.allocator}", yes=yes, dry_run=dry_run):
                await emission.cancel_proposal(client.sender(key))
                say(f"{before.allocator} will not split the emission.")
            return
        if not await emission.rpc.code(named):
            raise UsageError(f"There is no contract at {named}. Deploy the allocator first, then name its address.")
        schedule, period = await emission.schedule(), await emission.period()
        since = period + schedule.expiry + 1
        instead = "" if before is None else f", in place of {before.allocator}, with a new notice"
        what = (
            f"let {named} split the emission from period {since} on{instead}; until then {await emission.allocator_of(period)} "
            f"does. A market still gets at most {schedule.beta_bps / 100:g} % of what is burned for it"
        )
        if confirm(what, yes=yes, dry_run=dry_run):
            await emission.propose_allocator(client.sender(key), named)
            say(f"{named} splits the emission from period {since} on, unless it is taken back before.")


@click.command(
    "transfer",
    cls=TercetCommand,
    examples=(
        "tercet emission transfer 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf --wallet owner",
        "tercet emission transfer --cancel --wallet owner --dry-run",
    ),
)
@click.argument("address", metavar="[ADDRESS|WALLET]", required=False)
@click.option("--cancel", is_flag=True, help="Take the offer back.")
@spending_options
@wallet_option
@pass_state
def transfer(state: State, address: str | None, cancel: bool, yes: bool, dry_run: bool) -> None:
    """Offer the emission's ownership to ADDRESS. It changes hands when the other one says tercet emission accept."""
    if (address is None) is not cancel:
        raise UsageError("Name who shall own the emission, or take an offer back with --cancel.")
    heir = None if address is None else find_address(state.settings, address)
    asyncio.run(_transfer(state.settings, heir, yes=yes, dry_run=dry_run))


async def _transfer(settings: Settings, heir: str | None, *, yes: bool, dry_run: bool) -> None:
    async with open_client(settings) as client:
        means = "its owner names who splits it between the markets"
        sender = client.sender(unlock(settings))
        await offer(
            client.ledger.emission,
            _NAME,
            sender,
            heir,
            means=means,
            accept="tercet emission accept",
            yes=yes,
            dry_run=dry_run,
        )


@click.command(
    "accept",
    cls=TercetCommand,
    examples=(
        "tercet emission accept --wallet heir --dry-run",
        "tercet emission accept --wallet heir --yes",
    ),
)
@spending_options
@wallet_option
@pass_state
def accept(state: State, yes: bool, dry_run: bool) -> None:
    """Take over the emission that its owner offered to the wallet with tercet emission transfer."""
    asyncio.run(_accept(state.settings, yes=yes, dry_run=dry_run))


async def _accept(settings: Settings, *, yes: bool, dry_run: bool) -> None:
    async with open_client(settings) as client:
        emission, sender = client.ledger.emission, client.sender(unlock(settings))
        proposal = await emission.proposal()
        stays = f"{proposal.allocator} stays named to split it from period {proposal.since} on" if proposal else ""
        await take_over(
            emission, _NAME, sender, comes_with=f"; {stays}" if stays else "", offers="tercet emission transfer", yes=yes,
            dry_run=dry_run,
        )  # fmt: skip
