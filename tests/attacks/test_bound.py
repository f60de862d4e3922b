"""The proved limit of a cartel: its inner maximum, against everything else that could be chosen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.attacks.strategies.cartel import share_at_most

parts = st.floats(0.0, 1.0)
weights = st.just(0.0) | st.floats(1e-6, 1.0)  # smaller ones would not divide `own` into parts that sum to it
columns = st.lists(st.tuples(parts, st.floats(1e-3, 4.0), weights), min_size=1, max_size=8)


@given(columns, st.floats(0.01, 3.0))
def test_no_split_of_the_bonds_gets_more(drawn: list[tuple[float, float, float]], own: float) -> None:
    """Any other way to divide the same bonds over the columns earns at most that."""
    tops, bonds = [top for top, _, _ in drawn], [bond for _, bond, _ in drawn]
    whole = sum(weight for _, _, weight in drawn)
    split = [own * weight / whole if whole else 0.0 for _, _, weight in drawn]
    earned = sum(top * x / (x + bond) for top, bond, x in zip(tops, bonds, split, strict=True))
    assert earned <= share_at_most(tops, bonds, own) + 1e-9


def test_the_best_split_of_equal_columns_is_equal() -> None:
    """Attained, so the limit is no looser than it must be: half of everything for as many bonds as all others have."""
    assert share_at_most([0.25] * 4, [0.5] * 4, 2.0) == pytest.approx(0.5)


def test_the_corners() -> None:
    """A column that nobody else holds is taken whole; without bonds nothing else is."""
    assert share_at_most([0.3, 0.2], [0.0, 1.0], 0.0) == 0.3
    assert share_at_most([0.0], [1.0], 5.0) == 0
    assert share_at_most([5e-324, 0.5], [1.0, 1.0], 1.0) == pytest.approx(0.25), "too small to divide by"
