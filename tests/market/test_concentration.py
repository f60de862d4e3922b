"""The three figures of concentration, against what their definitions say word for word."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.market.concentration import find_gini, find_hhi, find_nakamoto, measure_concentration

amounts = st.one_of(st.integers(0, 5), st.integers(0, 10**30))
few = st.lists(amounts, max_size=7)
thresholds = st.fractions(0, Fraction(99, 100), max_denominator=100)


@given(few, thresholds)
def test_nakamoto_is_the_smallest_coalition_of_all(holdings: list[int], threshold: Fraction) -> None:
    """Every subset is tried; the smallest one above the threshold has that many members."""
    total = sum(holdings)
    winning = [
        size
        for size in range(1, len(holdings) + 1)
        for members in combinations(holdings, size)
        if sum(members) > threshold * total
    ]
    assert find_nakamoto(holdings, threshold) == min(winning, default=0)


@given(few)
def test_hhi_is_the_chance_that_two_units_have_one_holder(holdings: list[int]) -> None:
    """Draw two units with replacement: the index is the probability that the same holder has both."""
    total = sum(holdings)
    expected = sum((Fraction(holding, total) ** 2 for holding in holdings if total), Fraction(0))
    assert find_hhi(holdings) == expected


@given(few)
def test_gini_is_half_the_mean_difference_over_the_mean(holdings: list[int]) -> None:
    """All pairs, as Gini wrote it."""
    count, total = len(holdings), sum(holdings)
    differences = sum(abs(a - b) for a in holdings for b in holdings)
    assert find_gini(holdings) == (Fraction(differences, 2 * count * total) if total else 0)


@given(st.lists(amounts.filter(bool), min_size=1, max_size=7), st.integers(1, 10**6))
def test_units_and_idle_addresses_change_nothing(holdings: list[int], scale: int) -> None:
    """In base units or in whole tokens, with or without empty accounts: the same figures."""
    plain = measure_concentration(holdings)
    scaled = measure_concentration([*(holding * scale for holding in holdings), 0, 0])
    assert (plain.holders, plain.nakamoto, plain.hhi_bps, plain.gini_bps) == (
        scaled.holders,
        scaled.nakamoto,
        scaled.hhi_bps,
        scaled.gini_bps,
    )


@given(st.lists(amounts.filter(bool), min_size=2, max_size=7))
def test_merging_two_holders_never_looks_more_spread(holdings: list[int]) -> None:
    """Two who become one: no more needed to collude, no lower index."""
    merged = [holdings[0] + holdings[1], *holdings[2:]]
    assert find_nakamoto(merged) <= find_nakamoto(holdings)
    assert find_hhi(merged) >= find_hhi(holdings)


def test_the_ends_of_the_scales() -> None:
    """Equal holders, a single one, nobody."""
    equal, alone, nobody = (measure_concentration(held) for held in ([7] * 10, [7], []))
    assert (equal.nakamoto, equal.hhi_bps, equal.gini_bps) == (6, 1_000, 0)
    assert (alone.nakamoto, alone.hhi_bps, alone.gini_bps) == (1, 10_000, 0)
    assert (nobody.holders, nobody.nakamoto, nobody.hhi_bps, nobody.gini_bps) == (0, 0, 0, 0)
    assert find_gini([0] * 9 + [1]) == Fraction(9, 10)


def test_nonsense_is_refused() -> None:
    """Debts and thresholds of all or more."""
    for figure in (find_nakamoto, find_hhi, find_gini):
        with pytest.raises(ValueError, match="less than nothing"):
            figure([1, -1])
    with pytest.raises(ValueError, match="threshold"):
        find_nakamoto([1], Fraction(1))
