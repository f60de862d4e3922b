"""From a validator's verdicts to a row of weights: pure, integers at the end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from tercet.errors import WeightsError

__all__ = ["FULL_ROW", "Verdict", "build_row"]

FULL_ROW = 65_535
"""The sum of every row of weights, the unspent slot 0 included."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge found in one answer."""

    score: float
    """0 (worthless) to 1 (as good as the market promises).

    Exactly 0 for an answer that came says that the work is wrong: the miner earns nothing in that epoch.
    Honest work that is slow or weak gets a small positive score.
    """
    reason: str
    """One short sentence a miner can act on; empty when nothing was wrong."""
    measures: Mapping[str, float] | None = None
    """What was measured, by name: `max_dlogp`, `tokens_per_second`, ..."""
    opening: str = field(default="", compare=False)
    """What somebody else needs to judge just as this judge did, beside the task and the answer; empty when nothing."""


def build_row(scores: Mapping[int, float], columns: int, *, unspent: float = 0.0) -> Sequence[int]:
    """A row of `columns` u16 weights that sum to 65_535 exactly.

    Args:
        scores: miner uid (1 or more) to a score of 0 or more. Nobody above zero: all of it is unspent.
        columns: length of the row, 1 or more: the highest miner uid + 1.
        unspent: the share, 0 to 1, that goes to slot 0 and so back to the sponsors; the miners divide the rest.

    Raises:
        WeightsError: a uid outside the row, or a number that is negative, not finite or above its range.

    Largest remainder in exact fractions, ties to the lower uid, so that every validator rounds alike.

    """
    _check(scores, columns, unspent)
    total = sum((Fraction(score) for score in scores.values()), Fraction(0))
    kept = Fraction(unspent) if total else Fraction(1)
    exact = {0: FULL_ROW * kept}
    exact |= {uid: FULL_ROW * (1 - kept) * Fraction(scores[uid]) / total for uid in sorted(scores) if scores[uid]}
    row = [0] * columns
    for uid, share in exact.items():
        row[uid] = math.floor(share)
    missing = FULL_ROW - sum(row)
    for uid in sorted(exact, key=lambda u: (row[u] - exact[u], u))[:missing]:
        row[uid] += 1
    return row


def _check(scores: Mapping[int, float], columns: int, unspent: float) -> None:
    for uid, score in scores.items():
        if not 1 <= uid < columns:
            raise WeightsError(f"Miner uid {uid} has no column in a row of {columns}. Use uids 1 to {columns - 1}.")
        if not (math.isfinite(score) and score >= 0):
            raise WeightsError(f"The score of miner {uid} is {score!r}. Use a finite number of 0 or more.")
    if not 0 <= unspent <= 1:
        raise WeightsError(f"The unspent share is {unspent!r}. Use a number from 0 to 1.")
