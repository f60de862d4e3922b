"""The bound of a gain: against published quantiles, against chance, and for what is no number."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.subnets.kit import bound_gain
from tercet.subnets.kit.paired import _quantile

# Student's t, one-sided: the usual printed table (NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2).
TABLE = [
    (0.90, 1, 3.078),
    (0.95, 1, 6.314),
    (0.99, 1, 31.821),
    (0.95, 2, 2.920),
    (0.975, 5, 2.571),
    (0.95, 10, 1.812),
    (0.999, 10, 4.144),
    (0.95, 30, 1.697),
    (0.99, 100, 2.364),
    (0.95, 100_000, 1.645),
]


@pytest.mark.parametrize(("probability", "freedom", "value"), TABLE)
def test_quantiles_are_the_printed_ones(probability: float, freedom: int, value: float) -> None:
    """To the printed digits."""
    assert _quantile(probability, freedom) == pytest.approx(value, abs=6e-4)


def test_a_bound_of_known_numbers() -> None:
    """Mean 2, deviation 1, three items: 2 - 2.920 / sqrt(3)."""
    bound = bound_gain([1.0, 2.0, 3.0])
    assert bound.mean == 2.0
    assert bound.lower == pytest.approx(2 - 2.91999 / math.sqrt(3), abs=1e-4)
    assert bound.upper == pytest.approx(2 + 2.91999 / math.sqrt(3), abs=1e-4)
    assert bound.count == 3
    assert bound.pays


@pytest.mark.parametrize(
    "differences", [[], [5.0], [1.0, math.nan], [1.0, math.inf], [-math.inf, math.inf], [1e308] * 9, [1e308, -1e308]]
)
def test_nothing_is_paid_where_nothing_can_be_said(differences: list[float]) -> None:
    """Too few items, and numbers that are none: no exception, no gain."""
    bound = bound_gain(differences)
    assert bound.lower == -math.inf
    assert not bound.pays


def test_luck_is_paid_as_rarely_as_promised() -> None:
    """Work that changes nothing is paid in one of twenty epochs at 95 %, and in one of a hundred at 99 %."""
    draw = random.Random(7)
    samples = [[draw.gauss(0, 1) for _ in range(8)] for _ in range(4000)]
    assert statistics.mean(bound_gain(sample).pays for sample in samples) == pytest.approx(0.05, abs=0.012)
    assert statistics.mean(bound_gain(sample, confidence=0.99).pays for sample in samples) == pytest.approx(
        0.01, abs=0.006
    )


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40), st.floats(0.51, 0.999))
def test_bounds_hold_the_mean_between_them(differences: list[float], confidence: float) -> None:
    """And grow with the confidence; turning the signs round turns the bounds round."""
    bound = bound_gain(differences, confidence=confidence)
    assert bound.lower <= bound.mean <= bound.upper
    assert bound_gain(differences, confidence=min(0.9999, confidence + 0.0005)).lower <= bound.lower
    turned = bound_gain([-each for each in differences], confidence=confidence)
    assert turned.lower == pytest.approx(-bound.upper, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("confidence", [0.5, 1.0, 0.0, -1.0, math.nan])
def test_a_confidence_is_a_probability(confidence: float) -> None:
    """Anything else is a mistake in the mechanism."""
    with pytest.raises(ValueError, match="between"):
        bound_gain([1.0, 2.0], confidence=confidence)
