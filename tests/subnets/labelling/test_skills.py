"""Dawid and Skene: labels and skills from votes, with and without gold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tercet.subnets.labelling.skills import estimate, majority

from .conftest import voter

TRUTH = np.random.default_rng(0).integers(0, 10, 600)
SKILLS = (0.9, 0.8, 0.7, 0.3, 0.1)
VOTES = np.stack([voter(TRUTH, skill, seed) for seed, skill in enumerate(SKILLS)])


def accuracy(labels: np.ndarray) -> float:
    return float((labels == TRUTH).mean())


def test_weighed_votes_beat_the_majority() -> None:
    found = estimate(VOTES, 10)
    assert accuracy(found.labels()) > accuracy(majority(VOTES, 10)) + 0.02
    assert found.skill == pytest.approx([(row == TRUTH).mean() for row in VOTES], abs=0.04)


def test_gold_tells_the_good_minority_from_a_bad_majority() -> None:
    """Four voters that agree on wrong labels outvote two good ones, until a tenth of the items is known."""
    wrong = np.stack([np.where(np.random.default_rng(n).random(600) < 0.8, (TRUTH + 1) % 10, TRUTH) for n in range(4)])
    votes = np.concatenate([wrong, VOTES[:2]])
    anchors = np.where(np.arange(600) < 60, TRUTH, -1)
    assert accuracy(estimate(votes, 10).labels()) < 0.5
    assert accuracy(estimate(votes, 10, anchors).labels()) > 0.9


def test_votes_may_be_missing() -> None:
    votes = np.where(np.random.default_rng(1).random(VOTES.shape) < 0.4, -1, VOTES)
    votes[:, 0] = -1
    found = estimate(votes, 10)
    assert accuracy(found.labels()) > accuracy(majority(votes, 10)) > 0.65
    assert found.confidence()[0] < 0.2


def test_nobody_speaks_for_itself() -> None:
    """The posterior without a voter is what the others' votes alone make it."""
    found = estimate(VOTES, 10)
    alone = found.without(0, 1, 2, 3, 4)
    assert alone == pytest.approx(np.exp(found.log_prior)[None, :].repeat(600, 0), abs=1e-9)
    assert accuracy(found.without(0).argmax(axis=1)) < accuracy(found.labels())


@settings(max_examples=60)
@given(
    arrays(np.int64, st.tuples(st.integers(1, 5), st.integers(1, 12)), elements=st.integers(-1, 3)),
    st.integers(0, 2**32 - 1),
)
def test_any_votes_give_probabilities(votes: np.ndarray, seed: int) -> None:
    """Rows sum to one, known items stay certain, and the order of voters changes nothing."""
    anchors = np.where(np.random.default_rng(seed).random(votes.shape[1]) < 0.3, 2, -1)
    found = estimate(votes, 4, anchors)
    assert found.posterior.sum(axis=1) == pytest.approx(1)
    assert found.confusion.sum(axis=2) == pytest.approx(1)
    assert ((found.skill >= 0) & (found.skill <= 1)).all()
    assert (found.labels()[anchors >= 0] == 2).all()
    assert estimate(votes[::-1], 4, anchors).posterior == pytest.approx(found.posterior, abs=1e-6)


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_what_all_but_two_agree_on_is_found_as_if_it_were_worked_out_for_each_item(
    classes: int, missing: float
) -> None:
    """Most items are settled by a bound: it must never settle one otherwise."""
    draws = np.random.default_rng(classes)
    truth = draws.integers(0, classes, 150)
    votes = np.stack(
        [
            np.where(draws.random(150) < right, truth, draws.integers(0, classes, 150))
            for right in (0.9, 0.8, 0.6, 0.3, 0.1)
        ]
    )
    found = estimate(np.where(draws.random(votes.shape) < missing, -1, votes), classes)
    first, second = np.triu_indices(len(votes), 1)
    agreed = found.without_pairs(first, second, 0.7)
    for one, two, labels in zip(first, second, agreed, strict=True):
        others = found.without(int(one), int(two))
        assert (labels == np.where(others.max(axis=1) >= 0.7, others.argmax(axis=1), -1)).all()
    assert (agreed < 0).any()
