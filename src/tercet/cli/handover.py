"""How ownership changes hands: offered, taken back, accepted. For whatever has an owner on the chain."""

from __future__ import annotations

from typing import Protocol

from tercet.chain.keys import NOBODY
from tercet.chain.rpc import Receipt
from tercet.chain.sender import Sender
from tercet.cli.output import confirm, say
from tercet.errors import UsageError

__all__ = ["Owned", "offer", "require_owner", "take_over"]


class Owned(Protocol):
    """A contract whose ownership changes hands in two steps."""

    async def owner(self) -> str:
        """Who owns it."""
        ...

    async def pending_owner(self) -> str | None:
        """Who was offered the ownership."""
        ...

    async def transfer_ownership(self, sender: Sender, heir: str, /) -> Receipt:
        """Offer it."""
        ...

    async def accept_ownership(self, sender: Sender) -> Receipt:
        """Take what was offered."""
        ...


async def require_owner(owned: Owned, name: str, address: str) -> None:
    """Say so before anybody agrees to what the contract would refuse.

    Raises:
        UsageError: another address owns it.

    """
    found = await owned.owner()
    if found != address:
        raise UsageError(f"{address} does not own {name}, {found} does. Choose its wallet with --wallet.")


async def offer(
    owned: Owned, name: str, sender: Sender, heir: str | None, *, means: str, accept: str, yes: bool, dry_run: bool
) -> None:
    """Offer it to `heir`, or take an offer back.

    Args:
        owned: the contract.
        name: what people call it, such as `the emission`.
        sender: its owner.
        heir: address; None takes back what was offered.
        means: what an owner can do.
        accept: the command with which the heir takes it.
        yes: whether it was agreed to beforehand.
        dry_run: only show.

    Raises:
        UsageError: the sender does not own it.

    """
    await require_owner(owned, name, sender.key.address)
    offered = await owned.pending_owner()
    if heir is None:
        if offered is None:
            say(f"{_begin(name)} is offered to nobody.")
        elif confirm(f"take back the offer of {name} to {offered}", yes=yes, dry_run=dry_run):
            await owned.transfer_ownership(sender, NOBODY)
            say(f"{sender.key.address} stays the owner of {name}.")
        return
    instead = "" if offered is None else f", no longer to {offered}"
    what = f"offer {name} to {heir}{instead}: {means}; nothing changes before it accepts"
    if confirm(what, yes=yes, dry_run=dry_run):
        await owned.transfer_ownership(sender, heir)
        say(f"Offered. {heir} takes it with: {accept}.")


async def take_over(
    owned: Owned, name: str, sender: Sender, *, comes_with: str, offers: str, yes: bool, dry_run: bool
) -> None:
    """Take over what was offered.

    Args:
        owned: the contract.
        name: what people call it.
        sender: the heir.
        comes_with: what else changes or stays, behind a comma or semicolon; empty for nothing.
        offers: the command with which its owner offers it, up to the heir's address.
        yes: whether it was agreed to beforehand.
        dry_run: only show.

    Raises:
        UsageError: it was not offered to the sender.

    """
    offered, former = await owned.pending_owner(), await owned.owner()
    if offered != sender.key.address:
        raise UsageError(
            f"{_begin(name)} is offered to {offered or 'nobody'}, not to {sender.key.address}. Its owner {former} offers it "
            f"with: {offers} {sender.key.address}; or choose another wallet with --wallet."
        )
    if confirm(
        f"make {sender.key.address} the owner of {name} instead of {former}{comes_with}", yes=yes, dry_run=dry_run
    ):
        await owned.accept_ownership(sender)
        say(f"{sender.key.address} owns {name} now.")


def _begin(name: str) -> str:
    return name[:1].upper() + name[1:]
