"""A ranking of claims in which nobody is paid as the winner on its own word."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["Ranking", "settle_ranking"]


@dataclass(frozen=True, slots=True)
class Ranking:
    """Claims after the checks."""

    scores: Mapping[int, float]
    """Uid to what it is worth: verified where it was checked, claimed where it was not, 0 where it was false."""
    order: tuple[int, ...]
    """Uids with a score above zero, the best first; equal ones by uid."""
    verified: frozenset[int]
    """Checked, and found true."""
    false: frozenset[int]
    """Checked, and found false; or no claim at all: NaN, infinite."""

    @property
    def winner(self) -> int | None:
        """The best, always verified; None when nobody has anything to show."""
        return self.order[0] if self.order else None


def settle_ranking(
    claims: Mapping[int, float], verify: Callable[[int], float | None], *, checked: Callable[[int], bool]
) -> Ranking:
    """Check as few claims as honesty allows.

    The highest claim is verified; if it is false it falls to 0, if it was too high it falls to what it is worth, and
    the next highest has its turn, until the one on top is verified. Of the others those are verified that `checked`
    picks. A true claim is worth what `verify` found and never more than was claimed, so that nothing is gained by
    claiming too much, and nobody is ranked above a verified winner by a check that came later.

    Args:
        claims: uid to what it says its work is worth; higher is better, nothing is paid from zero down.
        verify: does the work of checking: what it is worth, or None where the claim is false.
        checked: whether this one is spot-checked, such as `picks` with `check_probability`.

    """
    scores = {uid: claim if math.isfinite(claim) and claim > 0 else 0.0 for uid, claim in claims.items()}
    false = {uid for uid, claim in claims.items() if not math.isfinite(claim)}
    verified: set[int] = set()

    def check(uid: int) -> None:
        found = verify(uid)
        if found is None or math.isnan(found):
            scores[uid] = 0.0
            false.add(uid)
        else:
            scores[uid] = max(0.0, min(scores[uid], found))
            verified.add(uid)

    def best() -> int | None:
        uid = min(scores, key=lambda each: (-scores[each], each), default=None)
        return uid if uid is not None and scores[uid] > 0 else None

    while (top := best()) is not None and top not in verified:
        check(top)
    for uid in sorted(scores):
        if scores[uid] > 0 and uid not in verified and checked(uid):
            check(uid)
    order = sorted((uid for uid in scores if scores[uid] > 0), key=lambda each: (-scores[each], each))
    return Ranking(scores, tuple(order), frozenset(verified), frozenset(false))
