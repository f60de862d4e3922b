"""Taking money home: `tercet market withdraw`, `tercet market leave`, `tercet wallet channels`."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import Literal

import click

from tercet.chain.market import MarketContract
from tercet.chain.sender import Sender
from tercet.cli.connection import open_client, open_market
from tercet.cli.frame import State, TercetCommand, pass_state
from tercet.cli.options import market_option, spending_options, wallet_option
from tercet.cli.output import confirm, print_json, print_table, say
from tercet.cli.settings import Settings
from tercet.cli.unlock import unlock
from tercet.client import Client
from tercet.market import CREDIT, STAKE, Amount, ChannelConfig

__all__ = ["channels", "leave", "withdraw"]


@click.command(
    "withdraw",
    cls=TercetCommand,
    examples=(
        "tercet market withdraw --market inference --wallet miner",
        "tercet market withdraw --market 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf --wallet owner",
    ),
)
@market_option
@wallet_option
@pass_state
def withdraw(state: State) -> None:
    """Take home what a market owes the wallet: rewards, and what came back from its sponsorships."""
    asyncio.run(_withdraw(state.settings))


async def _withdraw(settings: Settings) -> None:
    async with open_market(settings) as (client, market):
        await _take_rewards(market, client.sender(unlock(settings)))


async def _take_rewards(market: MarketContract, sender: Sender) -> None:
    taken = await market.withdraw(sender) if await market.owed(sender.address) else 0
    for number in range(await market.sponsorship_count()):
        grant = await market.sponsorship(number)
        if grant.sponsor == sender.address and grant.claimable and not grant.settled:
            taken += await market.claim_refund(sender, number)
    say(f"{sender.address} took {Amount(taken, STAKE)} home." if taken else "Nothing is owed to this wallet.")


@click.command(
    "leave",
    cls=TercetCommand,
    examples=(
        "tercet market leave --market inference --wallet miner",
        "tercet market leave --market inference --wallet judge --dry-run",
    ),
)
@spending_options
@market_option
@wallet_option
@pass_state
def leave(state: State, *, yes: bool, dry_run: bool) -> None:
    """Give up the wallet's slots as miner and validator: deposit, stake and rewards come home."""
    asyncio.run(_leave(state.settings, yes=yes, dry_run=dry_run))


async def _leave(settings: Settings, *, yes: bool, dry_run: bool) -> None:
    async with open_market(settings) as (client, market):
        key = unlock(settings)
        uids = [slot.uid for slot in await market.miners() if slot.owner == key.address]
        vids = [seat.vid for seat in await market.validators() if seat.owner == key.address]
        if not uids and not vids:
            say(f"{key.address} has no slot in this market.")
            return
        slots = [*(f"miner {uid}" for uid in uids), *(f"validator {vid}" for vid in vids)]
        if not confirm(f"give up {', '.join(slots)} in {await market.title()!r}", yes=yes, dry_run=dry_run):
            return
        sender = client.sender(key)
        for uid in uids:
            await market.leave_miner(sender, uid)
        for vid in vids:
            await market.leave_validator(sender, vid)
        await _take_rewards(market, sender)


@click.command(
    "channels",
    cls=TercetCommand,
    examples=("tercet wallet channels --wallet buyer", "tercet wallet channels --wallet buyer --close --dry-run"),
    schema={
        "channels[].receiver": "who is paid from it",
        "channels[].left": "credit base units that nobody claimed",
        "channels[].state": "`open`, `notice given`, `waiting`, `came home` or `closed`",
        "channels[].seconds": "until the rest can be taken back; 0 where nothing is waited for",
    },
)
@click.option("--close", is_flag=True, help="Give notice; run the command again once the notice is over.")
@spending_options
@wallet_option
@pass_state
def channels(state: State, *, close: bool, yes: bool, dry_run: bool, as_json: bool) -> None:
    """The payment channels that the wallet opened; takes back deposits whose notice is over."""
    asyncio.run(_channels(state.settings, close=close, yes=yes, dry_run=dry_run, as_json=as_json))


async def _channels(settings: Settings, *, close: bool, yes: bool, dry_run: bool, as_json: bool) -> None:
    async with open_client(settings) as client:
        key = unlock(settings)
        opened = [event async for event in client.events([client.ledger.escrow], names=["ChannelOpened"])]
        mine = [
            (config, event.fields["channel"])
            for event in opened
            if (config := ChannelConfig(*event.fields["config"])).payer == key.address
        ]
        if close and mine and not confirm(f"give notice on {len(mine)} channels", yes=yes, dry_run=dry_run):
            return
        sender = client.sender(key)
        found = [await _tend(client, sender, config, channel, close=close) for config, channel in mine]
    if as_json:
        print_json({"channels": [asdict(standing) for standing in found]})
    else:
        rows = [[s.receiver, Amount(s.left, CREDIT), s.state, s.seconds or ""] for s in found]
        print_table(["receiver", "left", "state", "seconds"], rows, f"{key.address} has opened no channel.")


@dataclass(frozen=True, slots=True)
class Standing:
    """How a channel stands, after what could be done was done."""

    receiver: str
    left: int
    """Credit base units that nobody claimed."""
    state: Literal["open", "notice given", "waiting", "came home", "closed"]
    seconds: int = 0
    """Until the rest can be taken back."""


async def _tend(client: Client, sender: Sender, config: ChannelConfig, channel: bytes, *, close: bool) -> Standing:
    escrow = client.ledger.escrow
    found = await escrow.channel(channel)
    left = found.balance - found.total_claimed
    if not found.is_open:
        return Standing(config.receiver, 0, "closed")
    if found.withdrawable_at:
        seconds = found.withdrawable_at - (await client.ledger.rpc.head()).timestamp
        if seconds > 0:
            return Standing(config.receiver, left, "waiting", seconds)
        await escrow.withdraw(sender, config)
        return Standing(config.receiver, left, "came home")
    if close:
        await escrow.request_close(sender, config)
        return Standing(config.receiver, left, "notice given", config.withdraw_delay)
    return Standing(config.receiver, left, "open")
