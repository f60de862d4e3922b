"""Going home: `tercet market leave`, `tercet wallet channels`."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import Literal

import click

from tercet.chain.sender import Sender
from tercet.chain.stakes import EVERYTHING
from tercet.cli.connection import open_client, open_market
from tercet.cli.frame import State, TercetCommand, pass_state
from tercet.cli.options import market_option, spending_options, wallet_option
from tercet.cli.output import confirm, print_json, print_table, say
from tercet.cli.settings import Settings
from tercet.cli.unlock import unlock
from tercet.cli.withdraw import take_home
from tercet.client import Client
from tercet.market import CREDIT, STAKE, Amount, ChannelConfig

__all__ = ["channels", "leave"]


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
    """Give up the wallet's slots as miner and validator: deposit and rewards come home, stake begins to unbond."""
    asyncio.run(_leave(state.settings, yes=yes, dry_run=dry_run))


async def _leave(settings: Settings, *, yes: bool, dry_run: bool) -> None:
    async with open_market(settings) as (client, market):
        key = unlock(settings)
        miners = [slot for slot in await market.miners() if slot.owner == key.address]
        seats = [seat for seat in await market.validators() if seat.owner == key.address]
        waiting = [one for one in await market.applicants() if one.owner == key.address]
        if not miners and not seats and not waiting:
            say(f"{key.address} has no slot in this market.")
            return
        stakes, params = await market.stakes(), await market.params()
        staked = sum([(await stakes.position(seat.pool, key.address)).bonded for seat in seats])
        slots = [
            *(f"miner {slot.uid}" for slot in miners),
            *(f"validator {seat.vid}" for seat in seats),
            *("a place in the queue" for _ in waiting),
        ]
        effects = [
            *([f"{Amount(sum(slot.deposit for slot in miners), STAKE)} of deposit come back now"] if miners else []),
            *([f"{Amount(sum(one.paid for one in waiting), STAKE)} of applications come back now"] if waiting else []),
            *([f"{Amount(staked, STAKE)} of stake after {params.unbonding_epochs} closings"] if seats else []),
        ]
        what = f"give up {', '.join(slots)} in {await market.title()!r}; {', '.join(effects)}"
        if not confirm(what, yes=yes, dry_run=dry_run):
            return
        sender = client.sender(key)
        for seat in seats:  # first, because the market may refuse it
            await market.leave_validator(sender, seat.vid)
            if (await stakes.position(seat.pool, key.address)).bonded:
                await stakes.unstake(sender, seat.pool, EVERYTHING)
        for slot in miners:
            await market.leave_miner(sender, slot.uid)
        for one in waiting:
            await market.withdraw_application(sender, one.operator)
        await take_home(client, market, sender)


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
