"""The winner is verified, whatever was claimed, with as few checks as can be."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from tercet.subnets.kit import settle_ranking

WORTH = st.none() | st.floats(0, 100)


def test_honest_claims_cost_one_check() -> None:
    """The others are paid what they claimed."""
    asked: list[int] = []
    claims = {1: 3.0, 2: 9.0, 3: 5.0}

    def verify(uid: int) -> float:
        asked.append(uid)
        return claims[uid]

    ranking = settle_ranking(claims, verify, checked=lambda uid: False)
    assert asked == [2]
    assert ranking.winner == 2
    assert ranking.order == (2, 3, 1)
    assert ranking.scores == claims


def test_liars_on_top_fall_one_by_one() -> None:
    """A false claim falls to 0, one that was too high to what it is worth."""
    worth = {1: None, 2: 1.0, 3: 7.0, 4: 6.0}
    ranking = settle_ranking({1: 100.0, 2: 50.0, 3: 7.0, 4: 6.0}, worth.get, checked=lambda uid: False)
    assert ranking.order == (3, 4, 2)
    assert ranking.scores == {1: 0.0, 2: 1.0, 3: 7.0, 4: 6.0}
    assert ranking.false == {1}
    assert ranking.verified == {2, 3}


def test_spot_checks_reach_the_others() -> None:
    """Also those who will never win."""
    ranking = settle_ranking({1: 9.0, 2: 5.0, 3: 4.0}, {1: 9.0, 3: 4.0}.get, checked=lambda uid: uid == 2)
    assert ranking.scores == {1: 9.0, 2: 0.0, 3: 4.0}
    assert ranking.false == {2}


def test_a_check_that_finds_more_pays_no_more() -> None:
    """Else an unverified modest claim could overtake the winner after the fact."""
    ranking = settle_ranking({1: 9.0, 2: 5.0}, {1: 9.0, 2: 50.0}.get, checked=lambda uid: True)
    assert ranking.order == (1, 2)
    assert ranking.scores[2] == 5.0


def test_nobody_has_anything() -> None:
    """No claims, and claims of nothing."""
    assert settle_ranking({}, lambda uid: 1.0, checked=lambda uid: True).winner is None
    ranking = settle_ranking({1: 0.0, 2: -3.0, 3: math.nan, 4: math.inf}, lambda uid: 1.0, checked=lambda uid: True)
    assert ranking.winner is None
    assert set(ranking.scores.values()) == {0.0}
    assert ranking.false == {3, 4}


@given(
    st.dictionaries(st.integers(0, 20), st.tuples(st.floats(), WORTH | st.just(math.nan)), max_size=12),
    st.sets(st.integers(0, 20)),
)
def test_what_always_holds(drawn: dict[int, tuple[float, float | None]], picked: set[int]) -> None:
    """The winner is verified and nobody's score is above its own; no claim is checked twice; no score exceeds a claim."""
    asked: list[int] = []

    def verify(uid: int) -> float | None:
        asked.append(uid)
        return drawn[uid][1]

    ranking = settle_ranking({uid: claim for uid, (claim, _) in drawn.items()}, verify, checked=picked.__contains__)
    assert len(asked) == len(set(asked))
    assert set(asked) >= {uid for uid in ranking.scores if ranking.scores[uid] > 0 and uid in picked}
    if ranking.winner is None:
        assert not any(ranking.scores.values())
        return
    assert ranking.winner in ranking.verified
    assert ranking.scores[ranking.winner] == max(ranking.scores.values())
    assert all(
        0 <= score <= max(0.0, drawn[uid][0]) for uid, score in ranking.scores.items() if uid not in ranking.false
    )
    assert all(ranking.scores[uid] == 0 for uid in ranking.false)
