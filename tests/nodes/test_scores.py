"""The rule from findings to weights: what pays, what does not."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.market import FULL_ROW, Verdict
from tercet.nodes.scores import Finding, Kind, decide, score_miner

GOOD = Verdict(1.0, "")


def finding(uid: int, score: float = 1.0, kind: Kind = "judged", generation: int = 1, reason: str = "") -> Finding:
    return Finding(5, uid, generation, kind, Verdict(score, reason))


def missed(uid: int) -> Finding:
    return finding(uid, 0.0, "missed", reason="no answer in 2 s")


scores = st.lists(st.floats(0.001, 1), min_size=1, max_size=20)


def test_equal_work_earns_equal_weight() -> None:
    """Two perfect miners halve the row, nothing is unspent."""
    row = decide([finding(1)] * 4 + [finding(2)] * 4, {1: 1, 2: 1}).row
    assert list(row) == [0, 32_768, 32_767]


def test_weight_is_in_proportion_to_measured_value() -> None:
    """Steady work of half the worth earns half as much."""
    row = decide([finding(1, 1.0)] * 5 + [finding(2, 0.5)] * 5, {1: 1, 2: 1}).row
    assert row[1] == pytest.approx(2 * row[2], abs=2)


@pytest.mark.parametrize("proof", [finding(2, 0.0), finding(2, 0.0, "forged"), finding(2, -1.0)])
def test_one_wrong_answer_is_zero_for_the_epoch(proof: Finding) -> None:
    """However many good ones surround it: a cheat pays as if it never worked."""
    decision = decide([finding(1)] * 3 + [finding(2)] * 50 + [proof], {1: 1, 2: 1})
    assert list(decision.row) == [0, FULL_ROW, 0]
    assert decision.scores[1].reason


def test_the_reason_of_a_cheat_is_the_judges() -> None:
    """The miner and the demo's table read why."""
    score = score_miner(2, [missed(2), finding(2, 0.0, reason="the text came back changed")])
    assert (score.value, score.reason) == (0.0, "the text came back changed")


def test_a_missed_answer_costs_but_does_not_condemn() -> None:
    """One miss in eight costs more than an eighth, far less than all."""
    steady, shaky = score_miner(1, [finding(1)] * 8), score_miner(2, [finding(2)] * 7 + [missed(2)])
    assert 0.5 < shaky.value / steady.value < 0.875
    assert shaky.reason == "no answer in 2 s"


def test_few_samples_are_worth_less_than_many() -> None:
    """A newcomer with one good answer does not stand beside one with ten."""
    values = [score_miner(1, [finding(1)] * count).value for count in (1, 2, 10, 100)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(0.5)
    assert values[-1] > 0.99


@given(scores)
def test_a_value_lies_below_the_mean_and_within_bounds(given_scores: list[float]) -> None:
    """A lower bound on the evidence, never a bonus."""
    score = score_miner(1, [finding(1, each) for each in given_scores])
    assert 0 <= score.value <= score.mean <= 1 + 1e-12


@given(scores, st.integers(0, 19))
def test_replacing_an_answer_by_a_miss_never_pays(given_scores: list[float], at: int) -> None:
    """Keeping silent on a hard question is no strategy, as long as scores are even."""
    even = [finding(1, given_scores[0])] * len(given_scores)
    silent = [missed(1) if index == at % len(even) else each for index, each in enumerate(even)]
    assert score_miner(1, silent).value <= score_miner(1, even).value


@pytest.mark.parametrize("score", [math.nan, math.inf, 7.0])
def test_a_judge_that_overshoots_breaks_no_row(score: float) -> None:
    """A plugin's score outside 0 to 1 is cut off; one that is no number is worth nothing."""
    row = decide([finding(1), finding(2, score)], {1: 1, 2: 1}).row
    assert sum(row) == FULL_ROW
    assert row[2] <= row[1]


def test_when_all_fail_the_sponsors_keep_the_reward() -> None:
    """Every miner down: the whole row is a vote for unspent."""
    assert list(decide([missed(1), missed(2)], {1: 1, 2: 1}).row) == [FULL_ROW, 0, 0]


def test_no_miners_is_a_vote_for_unspent() -> None:
    """An empty market pays nobody."""
    assert list(decide([], {}).row) == [FULL_ROW]


def test_the_missing_part_of_the_capacity_stays_unspent() -> None:
    """Four miners' worth wanted, one there: a quarter is paid."""
    row = decide([finding(1)] * 3, {1: 1}, capacity=4.0).row
    assert list(row) == [49_151, 16_384]


def test_a_lone_weak_miner_is_not_paid_as_a_good_one() -> None:
    """Less competition is no reason to pay the whole reward for half the promise."""
    row = decide([finding(1, 0.5)] * 3, {1: 1}).row
    assert row[0] == pytest.approx(FULL_ROW / 2, abs=1)


def test_a_capacity_of_zero_withholds_nothing() -> None:
    """The market pays whoever is best, however weak."""
    assert list(decide([finding(1, 0.1)], {1: 1}, capacity=0.0).row) == [0, FULL_ROW]


def test_an_earlier_tenant_of_the_slot_counts_for_nothing() -> None:
    """Scores bind uid and generation: a newcomer inherits neither fame nor shame."""
    decision = decide([finding(1, 0.0), finding(1, 1.0, generation=3)], {1: 3, 4: 2})
    assert list(decision.row) == [0, FULL_ROW, 0, 0, 0]
    assert [score.samples for score in decision.scores] == [1]
