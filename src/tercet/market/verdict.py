"""From a validator's verdicts to a row of weights: pure, integers at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["FULL_ROW", "Verdict", "build_row"]

FULL_ROW = 65_535
"""The sum of every row of weights, the unspent slot 0 included."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge found in one answer."""

    score: float
    """0 (worthless) to 1 (as good as the market promises)."""
    reason: str
    """One short sentence a miner can act on; empty when nothing was wrong."""
    measures: Mapping[str, float] | None = None
    """What was measured, by name: `max_dlogp`, `tokens_per_second`, ..."""


def build_row(scores: Mapping[int, float], columns: int) -> Sequence[int]:
    """A row of `columns` u16 weights that sum to 65_535 exactly.

    Args:
        scores: miner uid (1 or more) to a score of 0 or more. Nobody above zero: all of it is unspent.
        columns: length of the row; uids outside it are refused.

    Largest remainder, ties to the lower uid, so that every validator rounds alike.
    """
    row = [0] * columns
    total = sum(score for score in scores.values() if score > 0)
    if total <= 0:
        row[0] = FULL_ROW
        return row
    exact = {uid: FULL_ROW * score / total for uid, score in sorted(scores.items()) if score > 0}
    for uid, share in exact.items():
        row[uid] = int(share)
    missing = FULL_ROW - sum(row)
    for uid in sorted(exact, key=lambda u: (row[u] - exact[u], u))[:missing]:
        row[uid] += 1
    return row
