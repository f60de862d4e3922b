"""Energies are computed again; what a miner says is worth nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tercet.market import Verdict
from tercet.subnets.folding import examine
from tercet.subnets.folding.judge import judge_alone, judge_together, recheck
from tercet.subnets.kit import encode_array
from tercet.subnets.mechanism import Submission

from .bench import crumpled, fold, physics, submission, turned, work


def lone(answer: Submission) -> Verdict:
    return judge_alone(physics(), work(), examine(physics(), work(), answer))


def together(*answers: Submission) -> dict[int, Verdict]:
    folds = {answer.uid: examine(physics(), work(), answer) for answer in answers}
    return dict(judge_together(physics(), folds))


def test_a_search_pays_and_a_start_does_not() -> None:
    """What lies below the next minimum is a gain; going there is none."""
    bench = physics()
    good = lone(submission(fold(1)))
    assert 0.05 < good.score < 1.0
    assert good.measures is not None
    assert good.measures["gain"] == pytest.approx(bench.reference() - bench.energy(fold(1)))
    assert lone(submission(crumpled().start)).score == 0.0
    assert lone(submission(bench.minimise(crumpled().start)[0])).score <= 0.01


def test_a_claim_must_be_true_to_the_tolerance() -> None:
    """Nothing is gained by it either."""
    energy = physics().energy(fold(1))
    silent = lone(submission(fold(1)))
    assert lone(submission(fold(1), energy=energy)).score == silent.score
    assert lone(submission(fold(1), energy=energy + 0.04)).score == silent.score
    lying = lone(submission(fold(1), energy=energy - 5))
    assert (lying.score, lying.reason[:6]) == (0.0, "claims")


@pytest.mark.parametrize("claim", [math.nan, math.inf, -1e300, 10**400, "low", True, [1], {}])
def test_a_claim_that_is_no_number_is_worthless(claim: Any) -> None:
    """JSON of any kind."""
    assert lone(submission(fold(1), energy=claim)).score == 0.0


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [{}],
        [{"coordinates": None}],
        [{"coordinates": {"dtype": "f4", "shape": [1, 3], "data": "AAAA"}}],
        [{"coordinates": encode_array(np.zeros((0, 3), np.float32))}],
        [{"coordinates": encode_array(np.full((crumpled().atoms, 3), 3e38, np.float32))}],
        [{"coordinates": encode_array(np.full((crumpled().atoms, 3), np.nan, np.float32))}],
        [{"coordinates": {"dtype": "f4", "shape": [10**9, 3], "data": ""}}],
        [{"coordinates": "x" * 100_000}],
        [{"step": 1}] * 20_000,
        ["text"],
        [None],
    ],
)
def test_no_junk_breaks_a_judge(pieces: Any) -> None:
    """Zero, with a reason."""
    verdict = lone(Submission(1, pieces, 0.1, 0.1, b""))
    assert verdict.score == 0.0
    assert verdict.reason


def test_silence_keeps_its_reason() -> None:
    """As the buyer told it."""
    assert lone(Submission(1, [], 0, 0, b"", "refused: busy")).reason == "refused: busy"


def test_the_lowest_gets_all_and_others_by_their_gain() -> None:
    """In proportion."""
    found = together(*(submission(fold(seed), seed, seed) for seed in (1, 2, 3)))
    gains = {uid: (verdict.measures or {})["gain"] for uid, verdict in found.items()}
    assert max(verdict.score for verdict in found.values()) == 1.0
    for uid, verdict in found.items():
        assert verdict.score == pytest.approx(max(0.001, gains[uid] / max(gains.values())))


def test_one_fold_is_paid_once() -> None:
    """Turned, shaken and brought to rest again, it is still the same: two slots earn what one would, and others lose nothing."""
    shaken = turned(fold(1)) + np.random.default_rng(1).normal(0, 0.002, fold(1).shape)
    copy, _ = physics().minimise(shaken, tolerance=0.1)
    one, other, again = submission(fold(1), 7), submission(fold(2), 8), submission(copy, 9)
    before, after = together(one, other), together(one, other, again)
    assert after[7].score + after[9].score == pytest.approx(before[7].score, abs=0.01)
    assert after[8].score == pytest.approx(before[8].score, abs=0.01)
    assert "2 miners" in after[9].reason
    for answer in (one, other, again):
        assert recheck(physics(), work(), answer, after[answer.uid]).agrees


def test_searches_without_luck_share_nothing() -> None:
    """Two that ended in the minimum next to the start: right, worth next to nothing, and nobody is blamed."""
    rest, _ = physics().rest()
    found = together(submission(rest, 1, 1.0), submission(rest, 2, 2.0), submission(fold(1), 3, 3.0))
    assert [found[uid].score for uid in (1, 2)] == [0.001, 0.001]
    assert found[3].score == 1.0
    for answer, verdict in ((submission(rest), found[2]), (submission(rest), lone(submission(rest)))):
        assert recheck(physics(), work(), answer, verdict).agrees


def test_an_honest_verdict_is_confirmed_and_a_false_one_is_not() -> None:
    """Alone and in a round, by another machine's judge with the same rules."""
    one, other = submission(fold(1), 1, 1.0), submission(fold(2), 2, 2.0)
    found = together(one, other)
    for answer, verdict in ((one, lone(one)), (one, found[1]), (other, found[2])):
        assert recheck(physics(), work(), answer, verdict).agrees
        again = recheck(physics(), work(), answer, replace(verdict, score=verdict.score / 2))
        assert (again.agrees, again.certain) == (False, True)


def test_false_verdicts_on_bad_work_are_seen() -> None:
    """Praise for the start, blame for a fold, an opening that is none."""
    one, start = submission(fold(1)), submission(crumpled().start)
    assert recheck(physics(), work(), start, lone(start)).agrees
    assert recheck(physics(), work(), start, Verdict(0.9, "", None, lone(one).opening)).certain
    assert recheck(physics(), work(), one, Verdict(0.0, "junk")).certain
    reference = physics().reference()
    for best in (0, -1e9, 1e9, -0.0):
        opening = f'{{"reference": {reference}, "best": {best}}}'
        assert not recheck(physics(), work(), submission(physics().rest()[0]), Verdict(0.5, "", None, opening)).agrees
    for opening in ("no opening", "[]", '{"reference": "low"}', '{"reference": 0}', "x" * 10_000, "[" * 999):
        assert not recheck(physics(), work(), one, Verdict(0.5, "", None, opening)).agrees
