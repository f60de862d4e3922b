"""The interval, against the distribution that it is of."""

from __future__ import annotations

import math

import pytest

from tercet.attacks.interval import measure_interval, quantile


def density(t: float, freedom: int) -> float:
    """Of Student's t."""
    scale = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - 0.5 * math.log(freedom * math.pi)
    return math.exp(scale - (freedom + 1) / 2 * math.log1p(t * t / freedom))


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 11, 19, 30, 31, 60, 200])
def test_a_quantile_leaves_a_twentieth_outside(freedom: int) -> None:
    """Simpson's rule over the density; the table has four digits."""
    end, steps = quantile(freedom), 4_000
    width = end / steps
    inner = sum((4 if k % 2 else 2) * density(k * width, freedom) for k in range(1, steps))
    inside = 2 * width / 3 * (density(0, freedom) + inner + density(end, freedom))
    assert inside == pytest.approx(0.95, abs=2e-4)


def test_the_interval_of_a_known_sample() -> None:
    """Mean 3, standard deviation sqrt(2.5), five values: half-width 2.776 x 0.7071."""
    found = measure_interval([1, 2, 3, 4, 5])
    assert found.mean == 3
    assert found.high - found.mean == pytest.approx(1.963, abs=1e-3)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


def test_one_value_proves_nothing_and_equal_ones_leave_no_doubt() -> None:
    """The ends of the scale."""
    assert measure_interval([0.5]).high == math.inf
    assert measure_interval([0.5, 0.5]).high == 0.5
