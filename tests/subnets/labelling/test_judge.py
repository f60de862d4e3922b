"""The judge: honest work is paid by how right it is, and each cheat is worth nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tercet.subnets.labelling.answers import Answers
from tercet.subnets.labelling.judge import (
    COPY,
    COPY_SHARE,
    GUESS,
    Finding,
    Round,
    Voter,
    appraise,
    best_score,
    draw_gold,
    is_guess,
    shared_errors,
)

from .conftest import voter

ITEMS = 200
TRUTH = np.random.default_rng(3).integers(0, 10, ITEMS)
GOLD = np.where(np.isin(np.arange(ITEMS), draw_gold(b"later", range(ITEMS), 50)), TRUTH, -1)
WHAT = Round(10, GOLD, 0.11)
HONEST = {1: voter(TRUTH, 0.95, 1), 2: voter(TRUTH, 0.9, 2), 3: voter(TRUTH, 0.8, 3), 4: voter(TRUTH, 0.7, 4)}


def judged(votes: dict[int, np.ndarray], what: Round = WHAT, late: int = 0) -> dict[int, Finding]:
    voters = [
        Voter(uid, (100 + 50 * (uid == late), uid), Answers(row, np.full(len(row), 0.9))) for uid, row in votes.items()
    ]
    return dict(zip(votes, appraise(what, voters)[0], strict=True))


def test_pay_follows_how_right_the_work_is() -> None:
    found = judged(HONEST)
    scores = [found[uid].score for uid in (1, 2, 3, 4)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0.9
    assert 0.45 < scores[3] < 0.75
    assert all(
        found[uid].measures["accuracy"] == pytest.approx((HONEST[uid] == TRUTH).mean(), abs=0.04) for uid in HONEST
    )


@pytest.mark.parametrize("seed", range(5))
def test_guessing_is_worth_nothing(seed: int) -> None:
    draws = np.random.default_rng(100 + seed)
    found = judged({**HONEST, 5: draws.integers(0, 10, ITEMS), 6: np.full(ITEMS, seed)})
    assert (found[5].score, found[5].fault) == (0.0, GUESS)
    assert (found[6].score, found[6].fault) == (0.0, GUESS)
    assert found[1].score > 0.9


def test_the_later_of_two_equal_voters_is_the_copy() -> None:
    """Whichever uid it has; the original is paid as if the copy were not there."""
    alone = judged(HONEST)
    for late, original in ((3, 5), (5, 3)):
        found = judged({**HONEST, 5: HONEST[3]}, late=late)
        assert (found[late].score, found[late].fault, found[late].original) == (0.0, COPY, original)
        assert found[original].score == pytest.approx(alone[3].score, abs=0.02)
        assert f"miner {original}" in found[late].reason


@pytest.mark.parametrize("changed", [0.05, 0.15, 0.3])
def test_a_copy_that_changes_some_answers_is_still_one(changed: float) -> None:
    draws = np.random.default_rng(8)
    disguised = np.where(draws.random(ITEMS) < changed, draws.integers(0, 10, ITEMS), HONEST[3])
    found = judged({**HONEST, 5: disguised}, late=5)
    assert found[5].fault == COPY
    assert found[3].score > 0.6


def test_whoever_knows_the_gold_and_guesses_the_rest_is_found_by_the_others() -> None:
    hunter = np.where(GOLD >= 0, TRUTH, np.random.default_rng(5).integers(0, 10, ITEMS))
    found = judged({**HONEST, 5: hunter})
    assert found[5].score < 0.3
    assert found[5].measures["gold"] == 1.0


def test_friends_cannot_lift_each_other() -> None:
    """Five that agree on wrong labels outnumber two honest ones; gold and their equal errors show them."""
    lie = np.where(np.random.default_rng(6).random(ITEMS) < 0.9, (TRUTH + 3) % 10, TRUTH)
    found = judged({1: HONEST[1], 2: HONEST[2], **dict.fromkeys(range(3, 8), lie)})
    assert [found[uid].score for uid in range(3, 8)] == [0.0] * 5
    assert found[1].score > 0.85
    assert found[2].score > 0.75


def test_what_is_left_out_is_not_paid() -> None:
    half = HONEST[1].copy()
    half[::2] = -1
    found = judged({**HONEST, 1: half})
    assert 0.3 < found[1].score < 0.6
    assert "50% of the items were left out" in found[1].reason


def test_one_voter_alone_is_measured_by_gold() -> None:
    assert judged({1: HONEST[1]})[1].score > 0.85
    assert judged({1: np.random.default_rng(1).integers(0, 10, ITEMS)})[1].score == 0
    assert judged({}) == {}


def test_saying_how_sure_one_is_pays() -> None:
    """Confidence that fits is worth up to a tenth more than confidence that boasts."""
    votes = HONEST[4]
    fits = np.where(votes == TRUTH, 0.95, 0.1)
    scores = [
        appraise(
            WHAT, [Voter(1, (0,), Answers(votes, sure)), *(Voter(n, (0, n), Answers(HONEST[n], fits)) for n in (2, 3))]
        )[0][0].score
        for sure in (fits, np.ones(ITEMS))
    ]
    assert scores[0] > scores[1] > 0.85 * scores[0]


def test_independent_voters_seldom_share_their_errors() -> None:
    """Even when half of their errors come from the same hard items."""
    shares = []
    for seed in range(60):
        hard = np.random.default_rng(seed).random(ITEMS) < 0.05
        lure = (TRUTH + 1) % 10
        pair = [
            np.where(
                hard & (np.random.default_rng(1000 * n + seed).random(ITEMS) < 0.6),
                lure,
                voter(TRUTH, 0.95, 100 * n + seed),
            )
            for n in (1, 2)
        ]
        shares.append(shared_errors(pair[0], pair[1], TRUTH))
    assert np.mean(np.array(shares) >= COPY_SHARE) <= 0.02


def test_gold_bounds_what_anybody_may_claim() -> None:
    for uid, votes in HONEST.items():
        assert judged(HONEST)[uid].score <= best_score(WHAT, Answers(votes, np.ones(ITEMS)))
    guesses = Answers(np.random.default_rng(0).integers(0, 10, ITEMS), np.ones(ITEMS))
    assert best_score(WHAT, guesses) < 0.3
    assert is_guess(Round(10, TRUTH, 0.11), Answers((TRUTH + 1) % 10, np.zeros(ITEMS)))


@settings(max_examples=80)
@given(arrays(np.int64, st.tuples(st.integers(1, 5), st.just(30)), elements=st.integers(-1, 3)), st.integers(0, 99))
def test_any_votes_get_a_score(votes: np.ndarray, seed: int) -> None:
    """Between 0 and 1, the same each time, and never more than gold allows."""
    truth = np.random.default_rng(seed).integers(0, 4, 30)
    what = Round(4, np.where(np.arange(30) % 3 == 0, truth, -1), 0.3)
    rows = dict(enumerate(votes, start=1))
    found, again = judged(rows, what), judged(rows, what)
    assert found == again
    for uid, finding in found.items():
        assert 0 <= finding.score <= 1
        assert (finding.score == 0) == bool(finding.fault)
        if finding.score > 0.02:
            assert finding.score <= best_score(what, Answers(votes[uid - 1], np.full(30, 0.9))) + 1e-9
