"""What is counted of a run's thinking: credit, tokens and models' time; as values, as whole units, and in events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from tercet.market import CREDIT, Amount

__all__ = [
    "RESOURCES",
    "Allowance",
    "Budget",
    "Spent",
    "body_of",
    "budget_of",
    "limits_of",
    "read_body",
    "shown",
    "spent_of",
    "told",
    "units_of",
]

RESOURCES = ("credit", "tokens", "seconds")
"""In the order of a list of whole units: credit units, tokens, milliseconds."""
_MILLI = 1000


@dataclass(frozen=True, slots=True)
class Budget:
    """What a node may spend in all; None sets no limit of its own."""

    credit: int | None = None
    """Units; 1 credit is 10^6."""
    tokens: int | None = None
    """Of questions and answers together."""
    seconds: float | None = None
    """Of models' time."""
    attention: float | None = None
    """Decisions of the person in an hour; kept here, held to by the inbox."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a node may spend in all while it works at a task. Its limit is the person's; the smaller of both binds."""

    credit: int
    """Units."""
    task: str


@dataclass(frozen=True, slots=True)
class Spent:
    """What was spent, reserved, or is asked for."""

    credit: int = 0
    tokens: int = 0
    seconds: float = 0.0


def units_of(amount: Spent) -> list[int]:
    """As whole units, for sums."""
    return [amount.credit, amount.tokens, round(amount.seconds * _MILLI)]


def spent_of(units: list[int]) -> Spent:
    """Whole units as a value."""
    credit, tokens, millis = units
    return Spent(credit, tokens, millis / _MILLI)


def budget_of(units: list[int | None], attention: float | None) -> Budget:
    """Limits in whole units as a value."""
    credit, tokens, millis = units
    return Budget(credit, tokens, None if millis is None else millis / _MILLI, attention)


def limits_of(budget: Budget) -> list[int | None]:
    """Its limits in whole units; that of attention is none of them."""
    seconds = None if budget.seconds is None else round(budget.seconds * _MILLI)
    return [budget.credit, budget.tokens, seconds]


def shown(resource: int, units: int) -> float:
    """Whole units of the resource at this place in `RESOURCES`, as people count it."""
    return units / _MILLI if RESOURCES[resource] == "seconds" else units


def told(resource: int, units: int) -> str:
    """The same with its unit, for a person to read."""
    name = RESOURCES[resource]
    return str(Amount(units, CREDIT)) if name == "credit" else f"{shown(resource, units):g} {name}"


def body_of(amount: Budget | Spent) -> dict[str, Any]:
    """As it stands in an event."""
    return {field.name: getattr(amount, field.name) for field in fields(amount)}


def read_body(body: Mapping[str, Any], *more: str) -> dict[str, Any]:
    """What an event says of the resources, and of `more`."""
    return {name: body[name] for name in (*RESOURCES, *more) if body.get(name) is not None}
