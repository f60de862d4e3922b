"""Extraction: what can be taken out of words without taking the words. Such a value may steer, and is no evidence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from tercet.errors import ClaimError
from tercet.swarm.claims.taint import CLEAN, Labelled

__all__ = ["Flag", "Number", "OneOf", "Pattern", "Shape", "brief", "extract"]

_LONGEST_WORD = 64

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Shape(Protocol[T_co]):
    """What can be taken out of words without taking the words."""

    def read(self, text: str) -> T_co:
        """The value, or ClaimError where `text` is anything else."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of a few words, all known before the text was read."""

    words: Sequence[str]

    def read(self, text: str) -> str:
        """The word."""
        if (found := text.strip()) not in self.words:
            raise ClaimError(f"{brief(text)} is none of {', '.join(map(repr, self.words))}. Answer with one of them.")
        return found


@dataclass(frozen=True, slots=True)
class Number:
    """A number within bounds that were known before."""

    low: float
    high: float

    def read(self, text: str) -> float:
        """The number."""
        if not re.fullmatch(r"\s*[+-]?\d{1,18}(\.\d{1,18})?\s*", text, re.ASCII):
            raise ClaimError(f"{brief(text)} is no number. Answer with digits alone.")
        if not self.low <= (found := float(text)) <= self.high:
            raise ClaimError(f"{found:g} is not between {self.low:g} and {self.high:g}. Answer within these bounds.")
        return found


@dataclass(frozen=True, slots=True)
class Flag:
    """Yes or no."""

    def read(self, text: str) -> bool:
        """True for yes or true."""
        if (found := text.strip().lower()) not in {"yes", "no", "true", "false"}:
            raise ClaimError(f"{brief(text)} is neither yes nor no. Answer with one of them.")
        return found in {"yes", "true"}


@dataclass(frozen=True, slots=True)
class Pattern:
    """A short word without spaces that a regular expression describes, such as a version or an identifier."""

    expression: str
    longest: int = 40

    def read(self, text: str) -> str:
        """The word."""
        found = text.strip()
        bound = min(self.longest, _LONGEST_WORD)
        # No spaces whatever the expression says: prose does not fit, and prose is what an instruction is made of.
        if len(found) > bound or re.search(r"\s", found) or not re.fullmatch(self.expression, found, re.ASCII):
            raise ClaimError(f"{brief(text)} does not fit {self.expression!r} in {bound} characters.")
        return found


def extract(words: Labelled[str], shape: Shape[T]) -> Labelled[T]:
    """The one way but checking to lose a taint: the value may steer. As evidence it is a claim of its own, unchecked.

    Raises:
        ClaimError: the words hold anything else.

    """
    return Labelled(shape.read(words.value), CLEAN)


def brief(text: str) -> str:
    """As an error quotes it."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
