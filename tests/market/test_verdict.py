"""Rows of weights: exact sums, fair rounding, an explicit unspent share."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tercet.errors import WeightsError
from tercet.market import FULL_ROW, build_row

scores = st.dictionaries(st.integers(1, 255), st.floats(0, 1e300), max_size=40)
shares = st.floats(0, 1)


@given(scores, shares)
@example({1: 5e-324, 255: 1e300}, 0.0)
@example({}, 0.0)
def test_every_row_sums_to_the_full_row(given_scores: dict[int, float], unspent: float) -> None:
    """The contract refuses any other sum, so no mix of scores may miss it by one."""
    row = build_row(given_scores, 256, unspent=unspent)
    assert sum(row) == FULL_ROW
    assert len(row) == 256
    assert all(0 <= weight <= FULL_ROW for weight in row)


@given(scores, shares)
def test_a_miner_is_within_one_of_its_exact_share(given_scores: dict[int, float], unspent: float) -> None:
    """Rounding moves nobody by a whole weight."""
    row = build_row(given_scores, 256, unspent=unspent)
    total = math.fsum(given_scores.values())
    if total == 0:
        return
    for uid, score in given_scores.items():
        assert abs(row[uid] - FULL_ROW * (1 - unspent) * score / total) <= 1.001


@given(scores, shares)
def test_a_higher_score_never_weighs_less(given_scores: dict[int, float], unspent: float) -> None:
    """Order survives the rounding, and a score of zero weighs nothing."""
    row = build_row(given_scores, 256, unspent=unspent)
    ranked = sorted(given_scores, key=lambda uid: given_scores[uid])
    for low, high in itertools.pairwise(ranked):
        assert row[low] <= row[high] or given_scores[low] == given_scores[high]
    assert all(row[uid] == 0 for uid, score in given_scores.items() if score == 0)


@given(scores, st.randoms())
def test_the_order_in_which_scores_came_does_not_matter(given_scores: dict[int, float], random: object) -> None:
    """Two validators that measured the same commit the same row."""
    backwards = dict(reversed(given_scores.items()))
    assert build_row(given_scores, 256) == build_row(backwards, 256)


@pytest.mark.parametrize("nothing", [{}, {1: 0.0}, {1: 0.0, 2: 0.0}])
def test_when_nobody_deserves_anything_all_of_it_is_unspent(nothing: dict[int, float]) -> None:
    """The sponsors get the epoch's reward back."""
    assert build_row(nothing, 3) == [FULL_ROW, 0, 0]


def test_the_unspent_share_stands_in_slot_zero() -> None:
    """A quarter withheld, the rest in proportion."""
    assert build_row({1: 2.0, 2: 1.0}, 3, unspent=0.25) == [16_384, 32_767, 16_384]


def test_ties_of_the_remainder_go_to_the_lower_uid() -> None:
    """65_535 over two leaves one over."""
    assert build_row({1: 1.0, 2: 1.0}, 3) == [0, 32_768, 32_767]


@pytest.mark.parametrize(
    ("bad", "unspent", "says"),
    [
        ({3: 1.0}, 0.0, "Use uids 1 to 2"),
        ({0: 1.0}, 0.0, "has no column"),
        ({1: -0.1}, 0.0, "0 or more"),
        ({1: math.nan}, 0.0, "0 or more"),
        ({1: math.inf}, 0.0, "0 or more"),
        ({1: 1.0}, 1.1, "from 0 to 1"),
        ({1: 1.0}, math.nan, "from 0 to 1"),
    ],
)
def test_scores_that_make_no_row_are_refused(bad: dict[int, float], unspent: float, says: str) -> None:
    """A validator that would commit nonsense hears it before it commits."""
    with pytest.raises(WeightsError, match=says):
        build_row(bad, 3, unspent=unspent)
