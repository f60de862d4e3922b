"""Whom and which pool of stake a command means: by wallet or address, by validator, by its owner, or by number."""

from __future__ import annotations

from collections.abc import Mapping

from tercet.chain.keys import checksum_address, parse_address
from tercet.chain.market import MarketContract, ValidatorSlot
from tercet.chain.stakes import Position
from tercet.cli.settings import Settings
from tercet.cli.unlock import keystore
from tercet.errors import InvalidKeyError, UsageError

__all__ = ["choose_position", "find_address", "find_seat", "read_address"]


async def find_seat(market: MarketContract, named: str) -> ValidatorSlot:
    """The validator that goes by this vid or by the address of its owner or operator.

    Raises:
        UsageError: there is none.

    """
    seats = await market.validators()
    if named.isdecimal():
        found = [seat for seat in seats if seat.vid == int(named)]
    else:
        address = read_address(named)
        found = [seat for seat in seats if address in (seat.owner, seat.operator)]
    if len(found) != 1:
        known = ", ".join(f"{seat.vid} ({seat.owner})" for seat in seats) or "none"
        raise UsageError(f"{named!r} is not one validator of this market. Its validators: {known}.")
    return found[0]


def read_address(text: str) -> str:
    """An address that somebody typed.

    Raises:
        UsageError: it is none.

    """
    try:
        return checksum_address(parse_address(text))
    except InvalidKeyError as error:
        raise UsageError(f"{text!r} is no address: {error}") from error


def find_address(settings: Settings, name: str) -> str:
    """The address of a wallet here, or one that somebody typed.

    Raises:
        UsageError: it is neither.

    """
    known = {entry.name: entry.address for entry in keystore(settings).list()}
    return known.get(name) or read_address(name)


async def choose_position(
    market: MarketContract, positions: Mapping[int, Position], named: str | None, pool: int | None
) -> int:
    """The pool to take stake out of: the one that is named, or the only one.

    Raises:
        UsageError: there is nothing to take out there, or several fit.

    """
    stakes = await market.stakes()
    owners = {number: (await stakes.pool(number)).owner for number, p in positions.items() if p.bonded}
    fitting = list(owners)
    if pool is not None:
        fitting = [number for number in owners if number == pool]
    elif named is not None:
        owner = (await find_seat(market, named)).owner if named.isdecimal() else read_address(named)
        fitting = [number for number, known in owners.items() if known == owner]
    if len(fitting) == 1:
        return fitting[0]
    known = ", ".join(f"--pool {number} (of {owner})" for number, owner in owners.items()) or "none"
    raise UsageError(f"Which stake? This wallet's in this market: {known}.")
