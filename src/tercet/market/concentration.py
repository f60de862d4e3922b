"""How concentrated a thing is that is spread over holders: three figures, exact.

They answer three questions. How many would have to collude (Nakamoto coefficient)? How few holders is it like
(Herfindahl-Hirschman index)? How unequal are the holders among themselves (Gini coefficient)? No single one will do:
adding a crowd of tiny holders leaves the first two where they are and drives the third towards 1.

Knows nothing of who a holder is. One person with ten addresses is ten holders here, so what comes out is a lower
bound on the concentration, never a proof of its absence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

BPS = 10_000

HALF = Fraction(1, 2)


def find_nakamoto(holdings: Iterable[int], threshold: Fraction = HALF) -> int:
    """The fewest holders who together hold more than `threshold` of everything; 0 when there is nothing.

    Source: B. Srinivasan and L. Lee, "Quantifying Decentralization" (2017). With a threshold of one half it is how many
    must collude to outvote the rest; with 1 - kappa, how many can keep a market with that kappa from agreeing.

    Args:
        holdings: not negative, in any order.
        threshold: 0 up to below 1.

    Raises:
        ValueError: a holding is negative, or the threshold is out of bounds.
    """
    if not 0 <= threshold < 1:
        raise ValueError(f"The threshold {threshold} is not in 0 .. 1 (1 excluded).")
    held = _check(holdings)
    needed = threshold * sum(held)
    together = 0
    for count, holding in enumerate(sorted(held, reverse=True), 1):
        together += holding
        if together > needed:
            return count
    return 0


def find_hhi(holdings: Iterable[int]) -> Fraction:
    """The sum of the squared shares, from 1/n for n equal holders up to 1 for a single one; 0 when there is nothing.

    Source: A. O. Hirschman, "The Paternity of an Index", American Economic Review 54 (1964). The US merger guidelines
    of 2023 (2.1) call a market above 1,800 ten-thousandths highly concentrated.

    Raises:
        ValueError: a holding is negative.
    """
    held = _check(holdings)
    total = sum(held)
    return Fraction(sum(holding * holding for holding in held), total * total) if total else Fraction(0)


def find_gini(holdings: Iterable[int]) -> Fraction:
    """Half the mean difference between two holders over the mean: 0 when all are equal, 1 - 1/n when one has it all.

    Source: C. Gini, "Variabilita e mutabilita" (1912), in the form over sorted values of A. Sen, "On Economic
    Inequality" (1973): sum of (2i - n - 1) x_i over n times the sum, i from 1 in ascending order. Holders of nothing
    count; 0 when nobody has anything.

    Raises:
        ValueError: a holding is negative.
    """
    held = sorted(_check(holdings))
    count, total = len(held), sum(held)
    if not total:
        return Fraction(0)
    return Fraction(sum((2 * place - count - 1) * holding for place, holding in enumerate(held, 1)), count * total)


@dataclass(frozen=True, slots=True)
class Concentration:
    """One thing's three figures."""

    holders: int
    """Those who hold more than nothing."""
    total: int
    """In the thing's own unit."""
    nakamoto: int
    """Fewest holders with more than half."""
    hhi_bps: int
    """Herfindahl-Hirschman index, ten-thousandths, floored."""
    gini_bps: int
    """Gini coefficient of those who hold something, ten-thousandths, floored."""


def measure_concentration(holdings: Iterable[int]) -> Concentration:
    """All three figures. Holders of nothing are left out, so that an idle address changes no figure.

    Raises:
        ValueError: a holding is negative.
    """
    held = [holding for holding in _check(holdings) if holding]
    return Concentration(
        holders=len(held),
        total=sum(held),
        nakamoto=find_nakamoto(held),
        hhi_bps=int(find_hhi(held) * BPS),
        gini_bps=int(find_gini(held) * BPS),
    )


def _check(holdings: Iterable[int]) -> list[int]:
    held = list(holdings)
    if any(holding < 0 for holding in held):
        raise ValueError(f"Nobody can hold less than nothing: {min(held)}.")
    return held
