"""What only a market's owner decides: `tercet market wind-down`, `tercet market hand-over`, `tercet market accept`."""

from __future__ import annotations

import asyncio

import click

from tercet.chain.market import MarketContract, Phase
from tercet.cli.connection import open_market
from tercet.cli.frame import State, TercetCommand, pass_state
from tercet.cli.handover import offer, require_owner, take_over
from tercet.cli.options import market_option, spending_options, wallet_option
from tercet.cli.output import confirm, say
from tercet.cli.pools import find_address
from tercet.cli.settings import Settings
from tercet.cli.unlock import unlock
from tercet.client import Client
from tercet.errors import UsageError
from tercet.market import STAKE, Amount

__all__ = ["accept", "hand_over", "wind_down"]


@click.command(
    "wind-down",
    cls=TercetCommand,
    examples=(
        "tercet market wind-down --market inference --wallet owner --dry-run",
        "tercet market wind-down --market inference --wallet owner --yes",
    ),
)
@spending_options
@market_option
@wallet_option
@pass_state
def wind_down(state: State, *, yes: bool, dry_run: bool) -> None:
    """End the market for good: the running epoch is its last. Said again once that is closed, the bond comes back.

    Only the owner may end it; anyone may send the bond home, to the owner of then.
    """
    asyncio.run(_wind_down(state.settings, yes=yes, dry_run=dry_run))


async def _wind_down(settings: Settings, *, yes: bool, dry_run: bool) -> None:
    async with open_market(settings) as (client, market):
        status = await market.status()
        if status.phase is Phase.ENDED:
            await _return_bond(client, market, settings, yes=yes, dry_run=dry_run)
        elif status.last_epoch is not None:
            say(f"Epoch {status.last_epoch} is the last one already. {_after_it(market)}")
        else:
            await _end(client, market, settings, yes=yes, dry_run=dry_run)


async def _end(client: Client, market: MarketContract, settings: Settings, *, yes: bool, dry_run: bool) -> None:
    key = unlock(settings)
    await require_owner(await market.rules(), await _name(market), key.address)
    status, title, bond = await market.status(), await market.title(), await _bond(client, market)
    miners, seats = len(await market.miners()), len(await market.validators())
    what = (
        f"end the market {title!r} with its running epoch {status.epoch}, for good: nothing is earned there after it, "
        f"{miners} miners and {seats} validators take deposits, stake and rewards home, sponsors what is not spent; "
        f"{bond} of bond come back to the owner"
    )
    if confirm(what, yes=yes, dry_run=dry_run):
        await market.wind_down(client.sender(key))
        say(f"Epoch {status.epoch} is the last one. {_after_it(market)}")


def _after_it(market: MarketContract) -> str:
    return (
        f"Once it is closed (tercet epoch close --market {market.address}), everybody withdraws, "
        "and tercet market wind-down sends the bond home."
    )


async def _bond(client: Client, market: MarketContract) -> Amount:
    return Amount((await client.find_market(market.address)).bond, STAKE)


async def _return_bond(client: Client, market: MarketContract, settings: Settings, *, yes: bool, dry_run: bool) -> None:
    bond, owner = await _bond(client, market), await market.owner()
    if not bond.units:
        say("The market has ended, and its bond is home.")
    elif confirm(f"send the bond of {bond} home to {owner}, the owner", yes=yes, dry_run=dry_run):
        await client.ledger.registry.return_bond(client.sender(unlock(settings)), market.address)
        say(f"{owner} has {bond} back.")


@click.command(
    "hand-over",
    cls=TercetCommand,
    examples=(
        "tercet market hand-over 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf --market inference --wallet owner",
        "tercet market hand-over --cancel --market inference --wallet owner --dry-run",
    ),
)
@click.argument("address", metavar="[ADDRESS|WALLET]", required=False)
@click.option("--cancel", is_flag=True, help="Take the offer back.")
@spending_options
@market_option
@wallet_option
@pass_state
def hand_over(state: State, *, address: str | None, cancel: bool, yes: bool, dry_run: bool) -> None:
    """Offer the market to ADDRESS. It changes hands when the other one says tercet market accept, its bond with it."""
    if (address is None) is not cancel:
        raise UsageError("Name who shall own the market, or take an offer back with --cancel.")
    heir = None if address is None else find_address(state.settings, address)
    asyncio.run(_hand_over(state.settings, heir, yes=yes, dry_run=dry_run))


async def _hand_over(settings: Settings, heir: str | None, *, yes: bool, dry_run: bool) -> None:
    async with open_market(settings) as (client, market):
        rules, sender = await market.rules(), client.sender(unlock(settings))
        means = f"whoever owns it proposes rules, ends it, and gets its bond of {await _bond(client, market)}"
        accept = f"tercet market accept --market {market.address}"
        await offer(rules, await _name(market), sender, heir, means=means, accept=accept, yes=yes, dry_run=dry_run)


@click.command(
    "accept",
    cls=TercetCommand,
    examples=(
        "tercet market accept --market inference --wallet heir --dry-run",
        "tercet market accept --market inference --wallet heir --yes",
    ),
)
@spending_options
@market_option
@wallet_option
@pass_state
def accept(state: State, *, yes: bool, dry_run: bool) -> None:
    """Take over a market that its owner offered to the wallet with tercet market hand-over."""
    asyncio.run(_accept(state.settings, yes=yes, dry_run=dry_run))


async def _accept(settings: Settings, *, yes: bool, dry_run: bool) -> None:
    async with open_market(settings) as (client, market):
        rules, sender = await market.rules(), client.sender(unlock(settings))
        stays = "; the rules that are proposed stay so" if await rules.proposal() else ""
        bond = f", with its bond of {await _bond(client, market)}"
        await take_over(
            rules, await _name(market), sender, comes_with=bond + stays, offers="tercet market hand-over", yes=yes,
            dry_run=dry_run,
        )  # fmt: skip


async def _name(market: MarketContract) -> str:
    return f"the market {await market.title()!r}"
