"""How often to check: as often as makes cheating a loss, computed from what is at stake."""

from __future__ import annotations

import math
from fractions import Fraction

from tercet.subnets.kit.beacon import Label, derive

__all__ = ["check_probability", "picks"]


def check_probability(gain: int, at_risk: int, *, margin: float = 1.0) -> Fraction:
    """The smallest probability p of a check with p * at_risk >= (1 + margin) * gain, at most 1.

    A cheat expects (1 - p) * gain - p * at_risk < gain - p * at_risk, so it loses wherever p * at_risk > gain.
    The margin covers what was estimated: the gain, and checks that find nothing.

    Args:
        gain: what one piece of false work brings at most, in base units.
        at_risk: what is taken from whoever is caught, in the same units: the deposit that can be slashed, and the pay
            that is withheld.
        margin: 1.0 makes cheating lose twice what it brings.

    Returns:
        1 where even certain checks would not deter: nothing is at risk, or less than (1 + margin) * gain.

    """
    if not 0 <= margin < math.inf:
        raise ValueError(f"A margin is a number from 0 up, not {margin!r}.")
    if gain <= 0:
        return Fraction(0)
    if at_risk <= 0:
        return Fraction(1)
    wanted = gain * (1 + Fraction(margin).limit_denominator(10**6))
    return min(Fraction(1), wanted / at_risk)


def picks(seed: bytes, label: Label, p: Fraction) -> bool:
    """Whether `label` is checked: true with probability `p`, and the same for everybody who knows the seed.

    The seed must be unknown while the work is done and signed.
    """
    ticket = int.from_bytes(derive(seed, "spotcheck", label), "big")
    return ticket * p.denominator < p.numerator << 256
