"""Whether work made things better, or the sample was kind: a bound on the gain, from paired differences."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Bound", "bound_gain"]


@dataclass(frozen=True, slots=True)
class Bound:
    """A mean gain, and how far the sample lets us trust it."""

    mean: float
    lower: float
    """With the confidence asked for, the true gain is not below this."""
    upper: float
    """With the confidence asked for, the true gain is not above this."""
    count: int

    @property
    def pays(self) -> bool:
        """The gain is above zero, whatever the luck of the sample."""
        return self.lower > 0


def bound_gain(differences: Sequence[float], *, confidence: float = 0.95) -> Bound:
    """Bound the mean of what each held-out item gained, one side at a time: mean -+ t(confidence, n - 1) * s / sqrt(n).

    Pairs cancel what makes one item harder than another, which is most of the noise of a loss. The items must be drawn
    after the work was committed, and one work's differences must not depend on each other (a document is one item,
    not each of its tokens).

    Args:
        differences: for each item, before minus after where lower is better: positive is a gain.
        confidence: of each bound by itself, between 0.5 and 1.

    Returns:
        A bound with `lower` -inf and `upper` inf where nothing can be said: fewer than two items, or a difference
        that is no finite number.

    """
    if not 0.5 < confidence < 1:
        raise ValueError(f"A confidence lies between 0.5 and 1, not {confidence!r}.")
    count = len(differences)
    try:
        mean = math.fsum(differences) / count
        # Where an item is right or wrong, there are few differences: each is squared once.
        squares = {each: (each - mean) ** 2 for each in set(differences)}
        variance = math.fsum(map(squares.__getitem__, differences)) / (count - 1)
    except (ZeroDivisionError, OverflowError, ValueError):
        return Bound(differences[0] if count == 1 else math.nan, -math.inf, math.inf, count)
    if not math.isfinite(mean) or not math.isfinite(variance):
        return Bound(math.nan, -math.inf, math.inf, count)
    reach = _quantile(confidence, count - 1) * math.sqrt(variance / count)
    return Bound(mean, mean - reach, mean + reach, count)


@functools.lru_cache(maxsize=1024)
def _quantile(probability: float, freedom: int) -> float:
    """Student's t: the value that a draw with `freedom` degrees of freedom stays below with `probability` > 0.5."""
    low, high = 0.0, 1.0
    while _tail(high, freedom) > 1 - probability:
        low, high = high, 2 * high
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if _tail(middle, freedom) > 1 - probability else (low, middle)
    return high


def _tail(value: float, freedom: int) -> float:
    """P(T > value) for value >= 0: half of the regularised incomplete beta I_x(freedom/2, 1/2), x = f / (f + v^2)."""
    return _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + value * value)) / 2


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """I_x(a, b) by its continued fraction (Abramowitz and Stegun 26.5.8), evaluated by Lentz's method."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(b, a, 1 - x)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / (1 + term * d)
            c = 1 + term / c
            fraction *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front * fraction / a
