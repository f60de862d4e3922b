"""Checks as frequent as makes cheating a loss, and no more."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.subnets.kit import check_probability, derive, picks

AMOUNTS = st.integers(1, 10**30)


@given(AMOUNTS, AMOUNTS, st.floats(0, 10))
def test_cheating_never_pays(gain: int, at_risk: int, margin: float) -> None:
    """Where less than certainty is asked for, the loss is exactly what was wanted; and never more is asked."""
    p = check_probability(gain, at_risk, margin=margin)
    wanted = (1 + Fraction(margin).limit_denominator(10**6)) * gain
    assert 0 < p <= 1
    assert p == 1 or p * at_risk == wanted
    if p == 1:
        assert wanted >= at_risk


def test_nothing_to_gain_and_nothing_at_risk() -> None:
    """The two ends: never, and always."""
    assert check_probability(0, 100) == 0
    assert check_probability(5, 0) == 1
    assert check_probability(100, 100) == 1
    assert check_probability(10, 100) == Fraction(1, 5)
    for margin in (-0.5, math.nan):
        with pytest.raises(ValueError, match="margin"):
            check_probability(1, 2, margin=margin)


@pytest.mark.parametrize("p", [Fraction(0), Fraction(1, 7), Fraction(1, 2), Fraction(1)])
def test_picks_come_as_often_as_they_should(p: Fraction) -> None:
    """Over many labels, for one seed that everybody knows."""
    found = sum(picks(derive(b"beacon"), label, p) for label in range(4000))
    assert found == pytest.approx(float(4000 * p), abs=110)
