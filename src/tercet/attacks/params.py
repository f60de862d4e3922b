"""A subnet owner's own rules, out of a file.

TOML or JSON with up to two tables: `rules`, whose names are those of `tercet market show --json` (whose output can be
the file), and `economy`, whose names are those of `Economy`. What is left out keeps its default.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar, get_args

from tercet.attacks.lab import Economy, Lab, Probing
from tercet.chain.registry import MarketParams
from tercet.errors import UsageError
from tercet.market import STAKE, Amount

_Table = TypeVar("_Table", MarketParams, Economy)


class ParamsError(UsageError):
    """A file of rules that cannot be used."""


def read_lab(path: str | Path) -> Lab:
    """The lab with the rules and the economy of this file.

    Raises:
        ParamsError: no such file, not TOML or JSON, an unknown name, or a value of the wrong kind.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
        document = tomllib.loads(text) if file.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError) as error:
        raise ParamsError(f"Cannot read {str(file)!r}: {error}. Name a TOML file (.toml) or a JSON file.") from error
    return build_lab(document, str(file))


def build_lab(document: Any, name: str = "") -> Lab:
    """The same out of what a file says; other tables than `rules` and `economy` are passed over."""
    if not isinstance(document, Mapping) or not {"rules", "economy"} & set(document):
        raise ParamsError(f"{name!r} has neither a table `rules` nor a table `economy`.")
    usual = Lab()
    economy = _merge(usual.economy, document, "economy", name)
    if economy.probing not in get_args(Probing):
        raise ParamsError(f"{name!r}: economy.probing is {economy.probing!r}. Write {' or '.join(get_args(Probing))}.")
    return Lab(_merge(usual.rules, document, "rules", name), economy)


def _merge(defaults: _Table, document: Mapping[str, Any], table: str, name: str) -> _Table:
    given = document.get(table, {})
    if not isinstance(given, Mapping):
        raise ParamsError(f"{name!r}: `{table}` is no table.")
    known = {field.name: getattr(defaults, field.name) for field in fields(defaults)}
    for key in given:
        if key not in known:
            raise ParamsError(f"{name!r}: `{table}` has no {key!r}. Known: {', '.join(known)}.")
    return replace(defaults, **{key: _parse(value, known[key], f"{table}.{key}", name) for key, value in given.items()})


def _parse(value: Any, default: Any, key: str, name: str) -> Any:
    """Text stays text; a number is an integer, as such or in text, or an amount such as "100 TCT"."""
    if isinstance(default, str):
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise ParamsError(f"{name!r}: {key} is {value}, below zero.")
        return value
    if isinstance(value, str):
        number, _, unit = value.strip().partition(" ")
        if not unit and number.isdigit():
            return int(number)
        if unit == STAKE.symbol:
            try:
                return Amount.parse(number, STAKE).units
            except UsageError as error:
                raise ParamsError(f"{name!r}: {key}: {error}") from error
    raise ParamsError(f'{name!r}: {key} is {value!r}. Write an integer in base units, or an amount such as "5 TCT".')
