"""`tercet operator`: the hot keys that answer, commit and reveal for a slot, replaced or revoked by its owner's wallet."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Literal

import click

from tercet.chain.keys import NOBODY
from tercet.chain.market import MarketContract
from tercet.chain.sender import Sender
from tercet.cli.connection import open_market
from tercet.cli.frame import State, group, pass_state
from tercet.cli.options import market_option, spending_options, wallet_option
from tercet.cli.output import confirm, print_json, print_table, say
from tercet.cli.pools import find_address
from tercet.cli.settings import Settings
from tercet.cli.unlock import unlock
from tercet.errors import UsageError

__all__ = ["command"]

EFFECTS = {
    "miner": "the new key signs answers from now on, the old one none",
    "validator": "the new key commits and reveals from now on, also what the old one has committed, and the old one no more",
}
REVOKED = {
    "miner": "nobody can answer for it until another key is set, and validators measure silence",
    "validator": "nobody can commit or reveal for it until another key is set, and an epoch without a reveal earns nothing",
}


@dataclass(frozen=True, slots=True)
class Slot:
    """Somebody's place in a market."""

    role: Literal["miner", "validator"]
    number: int
    """uid or vid."""
    owner: str
    operator: str
    """The zero address: revoked."""

    @property
    def is_revoked(self) -> bool:
        """Whether no key speaks for it."""
        return self.operator == NOBODY

    async def set_operator(self, market: MarketContract, sender: Sender, operator: str) -> None:
        """Send it; the zero address revokes."""
        send = market.set_miner_operator if self.role == "miner" else market.set_validator_operator
        await send(sender, self.number, operator)

    def __str__(self) -> str:
        return f"{self.role} {self.number}"


@group(
    "operator",
    examples=(
        "tercet operator show judge --market inference",
        "tercet operator set hot-judge --market inference --wallet judge",
    ),
)
def command() -> None:
    """The keys that answer, commit and reveal for a slot: the owner's wallet replaces or revokes them."""


async def _list_slots(market: MarketContract) -> list[Slot]:
    miners = [Slot("miner", one.uid, one.owner, one.operator) for one in await market.miners()]
    return [*miners, *(Slot("validator", one.vid, one.owner, one.operator) for one in await market.validators())]


@command.command(
    "show",
    examples=("tercet operator show --market inference", "tercet operator show judge --market inference --json"),
    schema={
        "slots[].role": "miner or validator",
        "slots[].number": "its uid, or its vid",
        "slots[].owner": "whose deposit, stake and rewards",
        "slots[].operator": "whose signature counts; empty when revoked",
    },
)
@click.argument("address", metavar="[ADDRESS|WALLET]", required=False)
@market_option
@pass_state
def show(state: State, *, address: str | None, as_json: bool) -> None:
    """Who owns the slots of a market, and which key speaks for each; with ADDRESS only those that it has part in."""
    asyncio.run(_show(state.settings, None if address is None else find_address(state.settings, address), as_json))


async def _show(settings: Settings, address: str | None, as_json: bool) -> None:
    async with open_market(settings) as (_, market):
        found = [slot for slot in await _list_slots(market) if address in (None, slot.owner, slot.operator)]
    if as_json:
        rows = [
            {
                "role": slot.role,
                "number": slot.number,
                "owner": slot.owner,
                "operator": "" if slot.is_revoked else slot.operator,
            }
            for slot in found
        ]
        print_json({"slots": rows})
    else:
        print_table(
            ["role", "number", "operator", "owner"],
            [[slot.role, slot.number, "revoked" if slot.is_revoked else slot.operator, slot.owner] for slot in found],
            f"{address} has no slot in this market." if address else "No miner and no validator yet.",
        )


_miner_option = click.option("--miner", "uid", type=click.IntRange(1, 255), metavar="UID", help="Of this miner.")
_validator_option = click.option(
    "--validator", "vid", type=click.IntRange(0, 63), metavar="VID", help="Of this validator."
)


@command.command(
    "set",
    examples=(
        "tercet operator set hot-judge --market inference --wallet judge --dry-run",
        "tercet operator set 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf --miner 3 --market inference --wallet miner",
    ),
)
@click.argument("address", metavar="ADDRESS|WALLET")
@_miner_option
@_validator_option
@spending_options
@market_option
@wallet_option
@pass_state
def set_operator(state: State, *, address: str, uid: int | None, vid: int | None, yes: bool, dry_run: bool) -> None:
    """Let the key of ADDRESS speak for the wallet's miner or validator. Deposit, stake and rewards stay the wallet's.

    Run the role with the new key's wallet then; it needs gas of its own.
    """
    operator = find_address(state.settings, address)
    if operator == NOBODY:
        raise UsageError("The zero address signs nothing. Take the key away with: tercet operator revoke.")
    asyncio.run(_change(state.settings, operator, uid, vid, yes=yes, dry_run=dry_run))


@command.command(
    "revoke",
    examples=(
        "tercet operator revoke --market inference --wallet judge --dry-run",
        "tercet operator revoke --miner 3 --market inference --wallet miner --yes",
    ),
)
@_miner_option
@_validator_option
@spending_options
@market_option
@wallet_option
@pass_state
def revoke(state: State, *, uid: int | None, vid: int | None, yes: bool, dry_run: bool) -> None:
    """Take the key away from the wallet's miner or validator, for instance because it was stolen; the slot stays."""
    asyncio.run(_change(state.settings, NOBODY, uid, vid, yes=yes, dry_run=dry_run))


async def _change(
    settings: Settings, operator: str, uid: int | None, vid: int | None, *, yes: bool, dry_run: bool
) -> None:
    async with open_market(settings) as (client, market):
        key, slots = unlock(settings), await _list_slots(market)
        slot = _choose([slot for slot in slots if slot.owner == key.address], key.address, uid, vid)
        if slot.operator == operator:
            say(f"{str(slot).capitalize()} has {'no key' if slot.is_revoked else 'this key'} already.")
            return
        taken = [other for other in slots if other.role == slot.role and other.operator == operator]
        if operator != NOBODY and taken:
            raise UsageError(f"{operator} speaks for {taken[0]} of this market already. Name another key.")
        title, old = await market.title(), "no key" if slot.is_revoked else slot.operator
        what = (
            f"take {old} away from {slot} of {title!r}: {REVOKED[slot.role]}"
            if operator == NOBODY
            else f"let {operator} speak for {slot} of {title!r} instead of {old}: {EFFECTS[slot.role]}; "
            "deposit, stake and rewards stay with the owner"
        )
        if confirm(what, yes=yes, dry_run=dry_run):
            await slot.set_operator(market, client.sender(key), operator)
            say(f"No key speaks for {slot} now." if operator == NOBODY else f"{operator} speaks for {slot} now.")


def _choose(own: list[Slot], address: str, uid: int | None, vid: int | None) -> Slot:
    """The slot that is named, or the only one.

    Raises:
        UsageError: there is none, or several fit.

    """
    if uid is not None and vid is not None:
        raise UsageError("Say --miner UID or --validator VID, not both.")
    wanted = ("miner", uid) if uid is not None else ("validator", vid)
    found = [slot for slot in own if wanted[1] is None or (slot.role, slot.number) == wanted]
    if len(found) == 1:
        return found[0]
    known = ", ".join(f"--{slot.role} {slot.number}" for slot in own) or "none"
    raise UsageError(f"Which slot of {address}? Its slots in this market: {known}.")
