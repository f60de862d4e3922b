"""What things cost outside of the chain, as a subnet owner writes it in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, get_args

from tercet.attacks.lab import Economy, Probing
from tercet.errors import UsageError
from tercet.market import STAKE, Amount


class ParamsError(UsageError):
    """An economy that cannot be used."""


def build_economy(given: Any, name: str = "") -> Economy:
    """The usual economy with what a file's table `economy` says instead.

    Args:
        given: by the names of `Economy`: integers in base units, or amounts such as "5 TCT".
        name: of the file, for messages.

    Raises:
        ParamsError: no table, an unknown name, or a value of the wrong kind.
    """
    if not isinstance(given, Mapping):
        raise ParamsError(f"{name}: `economy` is no table.")
    usual = Economy()
    known = [field.name for field in fields(usual)]
    for key in given:
        if key not in known:
            raise ParamsError(f"{name}: `economy` has no {key!r}. Known: {', '.join(known)}.")
    return replace(usual, **{key: _parse(key, value, name) for key, value in given.items()})


def _parse(key: str, value: Any, name: str) -> Any:
    if key == "probing":
        if value not in get_args(Probing):
            raise ParamsError(f"{name}: economy.probing is {value!r}. Write {' or '.join(get_args(Probing))}.")
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    number, _, unit = value.strip().partition(" ") if isinstance(value, str) else ("", "", "")
    if unit == STAKE.symbol:
        try:
            return Amount.parse(number, STAKE).units
        except UsageError as error:
            raise ParamsError(f"{name}: economy.{key}: {error}") from error
    raise ParamsError(
        f'{name}: economy.{key} is {value!r}. Write an integer in base units, 0 or more, or an amount such as "5 TCT".'
    )
