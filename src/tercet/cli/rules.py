"""A market's rules in a person's words: as options, in a file, side by side.

One table says for each parameter what it is called, in which unit a person thinks, and what it means.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import click

from tercet.chain.registry import MarketParams, usual_floor
from tercet.errors import UsageError
from tercet.market import STAKE, Amount
from tercet.market.epoch import PRECISE
from tercet.market.registration import place_floor

__all__ = [
    "RULES",
    "describe_rule",
    "guarded_income",
    "names_rule",
    "parse_rules_file",
    "price_places",
    "read_rules",
    "read_rules_file",
    "rules_options",
    "take_opening_options",
    "take_options",
]

F = TypeVar("F", bound=Callable[..., Any])
Unit: TypeAlias = Literal["seconds", "epochs", "count", "percent", "share", "TCT"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One parameter."""

    field: str
    """Of `MarketParams`."""
    option: str
    unit: Unit
    meaning: str

    @property
    def default(self) -> int:
        """What a market gets when nobody says anything."""
        return int(getattr(MarketParams(""), self.field))


RULES = (
    Rule("commit_seconds", "commit", "seconds", "Length of the commit phase."),
    Rule("reveal_seconds", "reveal", "seconds", "Length of the reveal phase."),
    Rule("validator_share_bps", "validators-share", "percent", "Validators' part of the reward."),
    Rule("kappa", "kappa", "share", "Majority of the consensus, above 0.5."),
    Rule("bond_alpha", "bond-alpha", "share", "Weight of the newest row in a bond."),
    Rule("activity_epochs", "activity", "epochs", "For so long a silent validator still counts."),
    Rule("max_miners", "max-miners", "count", "Slots for miners, up to 255."),
    Rule("max_validators", "permits", "count", "How many seats vote, by effective stake."),
    Rule("min_stake", "min-stake", "TCT", "A validator's own stake, at the least."),
    Rule("weight_cap_bps", "weight-cap", "percent", "Most that one validator weighs, of all stake."),
    Rule("unbonding_epochs", "unbonding", "epochs", "Until unstaked tokens come back, 3 or more."),
    Rule("immunity_epochs", "immunity", "epochs", "In which a new miner cannot be evicted, 2 or more."),
    Rule("min_price", "price", "TCT", "Of a miner's registration, at the least."),
    Rule("max_price", "max-price", "TCT", "Of a miner's registration, at the most."),
    Rule("price_half_life", "half-life", "seconds", "In which that price halves."),
    Rule("refund_bps", "refund", "percent", "Of that price, back when a miner goes; the rest is burned."),
    Rule("floor_miners", "floor", "count", "Eviction leaves so many miners that are not immune."),
    Rule("audit_share_bps", "audit-share", "percent", "Of validators' pay, only for audited work."),
    Rule("slash_bps", "slash", "percent", "Of a pool, for a confirmed mismatch."),
)
_BY_FIELD = {rule.field: rule for rule in RULES}


def describe_rule(field: str, value: int | str) -> str:
    """A parameter's value as a person writes it."""
    rule = _BY_FIELD.get(field)
    if rule is None or isinstance(value, str):
        return str(value)
    match rule.unit:
        case "percent":
            return f"{_plain(Decimal(value) / 100)} %"
        case "share":
            return _plain(Decimal(value) / PRECISE)
        case "TCT":
            return str(Amount(value, STAKE))
        case "seconds":
            return f"{value} s"
        case "epochs" | "count":
            return str(value)


def _plain(number: Decimal) -> str:
    return f"{number.normalize():f}"


def _read(rule: Rule, text: str) -> int:
    """A person's word for a value.

    Raises:
        UsageError: not of this parameter's unit.

    """
    try:
        match rule.unit:
            case "percent":
                return _whole(Decimal(text.removesuffix("%").strip()) * 100)
            case "share":
                return _whole(Decimal(text) * PRECISE)
            case "TCT":
                return Amount.parse(text.removesuffix("TCT").strip(), STAKE).units
            case "seconds" | "epochs" | "count":
                return _whole(Decimal(text.removesuffix("s").strip()))
    except (InvalidOperation, ValueError):
        raise UsageError(f"{text!r} is no value for {rule.option}. Write {_EXAMPLES[rule.unit]}.") from None


def _whole(number: Decimal) -> int:
    if number != number.to_integral_value() or number < 0:
        raise ValueError
    return int(number)


_EXAMPLES: Mapping[Unit, str] = {
    "seconds": "whole seconds such as 300",
    "epochs": "a whole number such as 3",
    "count": "a whole number such as 64",
    "percent": "a percentage with at most two decimals such as 12.5",
    "share": "a fraction such as 0.51",
    "TCT": "an amount of TCT such as 2.5",
}
_METAVARS: Mapping[Unit, str] = {
    "seconds": "SECONDS",
    "epochs": "EPOCHS",
    "count": "NUMBER",
    "percent": "PERCENT",
    "share": "FRACTION",
    "TCT": "TCT",
}


def rules_options(function: F) -> F:
    """An option for every rule, and `--params FILE` for many at once; collect them with `take_options`."""
    for rule in reversed(RULES):
        shown = f"{rule.meaning} [default: {describe_rule(rule.field, rule.default)}]"
        function = click.option(f"--{rule.option}", rule.field, metavar=_METAVARS[rule.unit], help=shown)(function)
    return click.option(
        "--params", "params_file", metavar="FILE", help="Rules by name, in TOML or JSON; options win over it."
    )(function)


def take_options(base: MarketParams, chosen: Mapping[str, str | None], file: str | None) -> MarketParams:
    """`base`, with what the file says, and then what the options say, instead."""
    found = read_rules_file(Path(file), base) if file else base
    said: dict[str, Any] = {name: _read(_BY_FIELD[name], text) for name, text in chosen.items() if text is not None}
    return replace(found, **said)


def take_opening_options(base: MarketParams, chosen: Mapping[str, str | None], file: str | None) -> MarketParams:
    """The same for a market that is opened: its floor goes by its places, unless one is named."""
    places = take_options(base, chosen, file).max_miners
    return take_options(replace(base, floor_miners=usual_floor(places)), chosen, file)


def names_rule(field: str, chosen: Mapping[str, str | None], file: str | None) -> bool:
    """Whether an option or the file says what a rule is."""
    if chosen.get(field) is not None or file is None:
        return chosen.get(field) is not None
    content = parse_rules_file(Path(file))
    nested = content.get("params")
    return field in (nested if isinstance(nested, Mapping) else content)


def price_places(params: MarketParams, income: str | None, *, named: bool) -> MarketParams:
    """The same with a least price that fits rewards whose token has no price in TCT.

    Args:
        params: the rules so far.
        income: what an epoch's rewards will be worth, TCT as a person writes it; None: only the price was said.
        named: whether somebody said the price, which then stands.

    Raises:
        UsageError: what is worth nothing; or the price that was said, or the highest one, is too low for that income.

    """
    if income is None:
        return params
    worth = Amount.parse(income.removesuffix("TCT").strip(), STAKE)
    if not worth.units:
        raise UsageError("Rewards that are worth nothing need no market. Say what they will be worth: --income 500.")
    least = max(place_floor(worth.units, params.validator_share_bps, params.max_miners), 1)
    if named and params.min_price < least:
        raise UsageError(
            f"A slot for {Amount(params.min_price, STAKE)} is too cheap where an epoch's rewards are worth {worth}: half of "
            f"what a place earns is {Amount(least, STAKE)}. Leave --price out, or raise it."
        )
    if least > params.max_price:
        raise UsageError(
            f"With an income of {worth} a slot costs at least {Amount(least, STAKE)}, and --max-price is "
            f"{Amount(params.max_price, STAKE)}. Raise --max-price, or --max-miners, so that a place earns less."
        )
    return params if named else replace(params, min_price=max(params.min_price, least))


def guarded_income(params: MarketParams) -> int:
    """What an epoch's rewards may be worth, TCT base units, for `min_price` to be half of what a place earns."""
    for_miners = 10_000 - params.validator_share_bps
    return params.min_price * 2 * params.max_miners * 10_000 // for_miners if for_miners else 2**255


def read_rules_file(path: Path, base: MarketParams) -> MarketParams:
    """`base`, with the rules of a TOML or JSON file instead of its own.

    The names are those of `tercet market params --json`, whose output is such a file: everything in it is as the contract
    has it. Elsewhere a whole number is (base units, ten-thousandths); text is as a person writes it: "2 TCT", "20 %", "1".

    Raises:
        UsageError: the file cannot be read, names an unknown rule, or has a value that fits none.

    """
    return read_rules(path, parse_rules_file(path), base)


def read_rules(path: Path, content: Mapping[str, Any], base: MarketParams) -> MarketParams:
    """The same of what `parse_rules_file` found in that file."""
    nested = content.get("params")
    from_contract = isinstance(nested, Mapping)
    if isinstance(nested, Mapping):
        content = nested
    known = [field.name for field in fields(MarketParams)]
    values = asdict(base)
    for name, value in content.items():
        if name not in values:
            raise UsageError(f"{path} sets {name!r}, which is no rule of a market. Known: {', '.join(known)}.")
        values[name] = _read_value(path, name, value, from_contract=from_contract)
    return MarketParams(**values)


def parse_rules_file(path: Path) -> Mapping[str, Any]:
    """What stands in a TOML or JSON file.

    Raises:
        UsageError: it cannot be read, or is neither.

    """
    try:
        text = path.read_text()
        found = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}. Name another file.") from error
    except ValueError as error:  # both parsers' errors are
        raise UsageError(f"{path} is neither JSON nor TOML: {error}. Mend it.") from error
    return dict(found)


def _read_value(path: Path, name: str, value: object, *, from_contract: bool) -> int | str:
    if name == "subnet" and isinstance(value, str):
        return value
    text = str(value).strip()
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise UsageError(f"{path} sets {name} to {value!r}. Write a number, or text such as '2.5 TCT'.")
    if text.isdecimal() and (from_contract or isinstance(value, int) or name not in _BY_FIELD):
        return int(text)
    if name not in _BY_FIELD:
        raise UsageError(f"{path} sets {name} to {value!r}. Write a whole number.")
    return _read(_BY_FIELD[name], text)
