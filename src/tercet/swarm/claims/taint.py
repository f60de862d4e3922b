"""Taint: the unchecked claims that something rests on. It grows by union; a value carries it with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

__all__ = ["CLEAN", "EVERYTHING", "MOST_NAMED", "TOP", "Labelled", "Taint", "apply", "join"]

MOST_NAMED = 256
"""A taint of more claims than this is `TOP`: it rests on too much to tell."""
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Taint:
    """The unchecked claims that something rests on. Ordered by inclusion; `|` is the least upper bound."""

    claims: frozenset[str] = frozenset()
    everything: bool = False
    """True is the top: too many to name, or nobody knows."""

    def __or__(self, other: Taint) -> Taint:
        if self.everything or other.everything or len(both := self.claims | other.claims) > MOST_NAMED:
            return TOP
        return Taint(both)

    def __le__(self, other: Taint) -> bool:
        return other.everything or (not self.everything and self.claims <= other.claims)

    @property
    def names(self) -> Sequence[str]:
        """For `Claim.rests`."""
        return (EVERYTHING,) if self.everything else sorted(self.claims)

    def __bool__(self) -> bool:
        """There is something that nobody has checked."""
        return self.everything or bool(self.claims)


CLEAN = Taint()
EVERYTHING = "*"
"""In `rests`, for what rests on too much to tell."""
TOP = Taint(everything=True)


def join(taints: Iterable[Taint]) -> Taint:
    """The taint of what is made from all of these."""
    found = CLEAN
    for taint in taints:
        found = found | taint
    return found


@dataclass(frozen=True, slots=True)
class Labelled(Generic[T_co]):
    """A value with what it rests on."""

    value: T_co
    taint: Taint = CLEAN


def apply(function: Any, *arguments: Labelled[Any]) -> Labelled[Any]:
    """`function` over the values: the result rests on all that its arguments rest on."""
    return Labelled(function(*(item.value for item in arguments)), join(item.taint for item in arguments))
