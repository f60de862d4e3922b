"""The draw is fixed by the seed, follows the model's probabilities, and can be checked one position at a time."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from tercet.subnets.inference.sampling import Candidate, draw, eligible, regret

SHARES = [0.5, 0.3, 0.15, 0.03, 0.02]
RANKING = [Candidate(token, math.log(share), b"x") for token, share in enumerate(SHARES)]


def test_frequencies_follow_the_probabilities() -> None:
    """At temperature 1, over 4000 seeds, tokens below 5 % of the best one left out."""
    counts = Counter(draw(RANKING, 1.0, seed, 0).token for seed in range(4000))
    kept = sum(SHARES[:4])
    assert sorted(counts) == [0, 1, 2, 3]
    for token in range(4):
        assert counts[token] / 4000 == pytest.approx(SHARES[token] / kept, abs=0.03)


def test_a_low_temperature_sharpens() -> None:
    """At 0.5 shares go with the square; at 0 the best one always wins."""
    counts = Counter(draw(RANKING, 0.5, seed, 3).token for seed in range(4000))
    squares = [share**2 for share in SHARES[:4]]
    assert counts[0] / 4000 == pytest.approx(squares[0] / sum(squares), abs=0.03)
    assert {draw(RANKING, 0.0, seed, 0).token for seed in range(20)} == {0}


def test_positions_are_drawn_independently() -> None:
    """The same seed draws differently from one position to the next, and always the same at one."""
    assert len({draw(RANKING, 1.0, 7, position).token for position in range(50)}) > 1
    assert draw(RANKING, 1.0, 7, 11) == draw(list(RANKING), 1.0, 7, 11)


def test_the_drawn_token_has_no_regret() -> None:
    """And of the others at most a few are within a tenth of a nat."""
    regrets = [regret(RANKING, token, 0.8, seed, 5, 0.0) for seed in range(100) for token in range(4)]
    assert sum(value == 0 for value in regrets) == 100
    assert sum(0 < value < 0.1 for value in regrets) < 40


def test_what_cannot_be_drawn_has_regret_at_every_seed() -> None:
    """Too improbable: the distance to the floor. Not ranked at all: infinite."""
    least = math.log(SHARES[0] * 0.05 / SHARES[4]) - 1e-9
    assert min(regret(RANKING, 4, 1.0, seed, 0, 0.0) for seed in range(200)) >= least
    assert regret(RANKING, 99, 1.0, 1, 0, 0.0) == math.inf


def test_a_rival_at_the_edge_does_not_count() -> None:
    """Its eligibility may differ from machine to machine, and its noise may be huge."""
    edge = [Candidate(0, math.log(0.9), b"x"), Candidate(1, math.log(0.9 * 0.051), b"y")]
    assert len(eligible(edge)) == 2
    seed = next(seed for seed in range(10_000) if draw(edge, 1.0, seed, 0).token == 1)
    assert regret(edge, 0, 1.0, seed, 0, 0.0) > 0
    assert regret(edge, 0, 1.0, seed, 0, 0.35) == 0
    assert regret(edge, 1, 1.0, seed, 0, 0.35) == 0


def test_published_draws_stay_as_they_are() -> None:
    """Another implementation must draw these; a change of rule is a new version of the mechanism."""
    assert [draw(RANKING, 1.0, 42, position).token for position in range(12)] == PUBLISHED


PUBLISHED = [0, 0, 0, 0, 1, 2, 0, 0, 1, 0, 0, 0]
