"""Ratings: order in, order out, and no score that breaks them."""

from __future__ import annotations

import json
import math
import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.errors import SubnetError
from tercet.subnets.kit import Ladder


def test_the_better_ones_rise_through_the_noise() -> None:
    """After forty noisy contests the order of the ordinals is the order of the skills, and newcomers' doubt is gone."""
    ladder, draw = Ladder(), random.Random(1)
    for _ in range(40):
        ladder.rate({uid: uid + draw.gauss(0, 1.5) for uid in range(6)})
    assert sorted(range(6), key=ladder.ordinal) == list(range(6))
    assert all(sigma < 25 / 4 for _, sigma in ladder.state().values())


def test_one_huge_score_moves_no_more_than_a_win() -> None:
    """Only the order within a contest counts: past exploits multiplied two negatives to a huge positive."""
    plain, huge = Ladder(), Ladder()
    plain.rate({1: 3.0, 2: 2.0, 3: 1.0})
    huge.rate({1: 1e300, 2: 2.0, 3: -1e300})
    assert plain.state() == huge.state()


def test_a_state_is_plain_data_and_goes_on_where_it_stopped() -> None:
    """Through JSON, with the same numbers as without a pause."""
    whole, part = Ladder(), Ladder()
    contests = [{1: 1.0, 2: 0.5, 7: 0.1}, {2: 3.0, 7: 1.0}, {1: 0.0, 7: 4.0}]
    for contest in contests:
        whole.rate(contest)
    for contest in contests:
        kept = json.loads(json.dumps(part.state()))
        part = Ladder({int(uid): (mu, sigma) for uid, (mu, sigma) in kept.items()})
        part.rate(contest)
    assert part.state() == whole.state()


def test_newcomers_and_the_forgotten_start_at_zero() -> None:
    """A uid that changed hands takes no rating with it."""
    ladder = Ladder({4: (30.0, 2.0)})
    assert ladder.ordinal(4) == 24.0
    ladder.forget(4)
    ladder.forget(4)
    assert ladder.ordinal(4) == ladder.ordinal(99) == 0.0
    ladder.rate({4: 1.0})
    assert ladder.state() == {}


@given(st.dictionaries(st.integers(0, 255), st.floats(), min_size=2, max_size=12))
def test_any_scores_give_finite_ratings(scores: dict[int, float]) -> None:
    """NaN and infinities too, in any order of the mapping."""
    one, other = Ladder(), Ladder()
    one.rate(scores)
    other.rate(dict(reversed(scores.items())))
    assert one.state() == other.state()
    assert all(math.isfinite(mu) and 0 < sigma < 9 for mu, sigma in one.state().values())


def test_nan_is_last() -> None:
    """With -inf, and never ahead of a number."""
    ladder = Ladder()
    ladder.rate({1: math.nan, 2: -1e9, 3: -math.inf})
    assert ladder.ordinal(1) == ladder.ordinal(3) < ladder.ordinal(2)


@pytest.mark.parametrize("rating", [(math.nan, 1.0), (1.0, math.inf), (25.0, 0.0), (25.0, -1.0)])
def test_a_broken_state_is_refused(rating: tuple[float, float]) -> None:
    """Before it makes every other rating NaN."""
    with pytest.raises(ValueError, match="uid 3"):
        Ladder({3: rating})


def test_without_openskill_the_mend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra."""
    monkeypatch.setitem(sys.modules, "openskill.models", None)
    with pytest.raises(SubnetError, match=r"pip install 'tercet\[rating\]'"):
        Ladder()
