"""When a validator asks, commits, reveals and closes: decided from the chain's time alone."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.nodes.schedule import Agenda, EpochFacts, Moments, Phase, Step, next_step

FACTS = EpochFacts(
    epoch=7,
    phase=Phase.COMMIT,
    now=1000.0,
    started_at=1000.0,
    commit_ends=1100.0,
    reveal_ends=1130.0,
    committed=False,
    revealed=False,
)
MOMENTS = Moments(measure_ends=1080.0, commit_at=1095.0, reveal_at=1105.0, close_at=1131.0)


@pytest.mark.parametrize(
    ("phase", "now", "committed", "revealed", "step"),
    [
        (Phase.COMMIT, 1094.9, False, False, Step.WAIT),
        (Phase.COMMIT, 1095.0, False, False, Step.COMMIT),
        (Phase.COMMIT, 1096.0, True, False, Step.WAIT),
        (Phase.REVEAL, 1104.0, True, False, Step.WAIT),
        (Phase.REVEAL, 1105.0, True, False, Step.REVEAL),
        (Phase.REVEAL, 1129.0, True, True, Step.WAIT),
        (Phase.REVEAL, 1129.0, False, False, Step.WAIT),
        (Phase.OVER, 1130.5, True, True, Step.WAIT),
        (Phase.OVER, 1131.0, False, False, Step.CLOSE),
        (Phase.CLOSING, 1140.0, True, True, Step.CLOSE),
        (Phase.ENDED, 1140.0, True, True, Step.STOP),
    ],
)
def test_each_step_comes_in_its_phase(phase: Phase, now: float, committed: bool, revealed: bool, step: Step) -> None:
    """Nothing early, nothing twice; a validator that missed its commit still closes."""
    facts = replace(FACTS, phase=phase, now=now, committed=committed, revealed=revealed)
    assert next_step(facts, MOMENTS) == step


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.floats(0, 0.4), st.floats(0, 0.4), st.integers())
def test_moments_lie_in_their_phases(commit: int, reveal: int, margin: float, tail: float, seed: int) -> None:
    """Whatever the lengths: asked, then committed, then revealed, then closed."""
    facts = replace(FACTS, commit_ends=1000.0 + commit, reveal_ends=1000.0 + commit + reveal)
    moments = Moments.draw(facts, margin * commit, tail * commit, random.Random(seed))
    assert facts.started_at <= moments.measure_ends <= moments.commit_at <= facts.commit_ends
    assert facts.commit_ends <= moments.reveal_at <= facts.reveal_ends <= moments.close_at


def test_questions_are_spread_over_the_whole_window() -> None:
    """No burst at the start that a miner could wait for."""
    agenda = Agenda(7)
    agenda.plan([(1, 1)], {}, 1000, (0.0, 100.0), random.Random(1))
    times = [when for when, _ in agenda.moments]
    assert times == sorted(times)
    for tenth in range(10):
        assert 60 < sum(10 * tenth <= when < 10 * tenth + 10 for when in times) < 140


def test_a_restart_asks_only_what_is_missing() -> None:
    """Findings on disk count; the budget of questions is an epoch's, not a process's."""
    agenda = Agenda(7)
    agenda.plan([(1, 1), (2, 2), (3, 3)], {(1, 1): 3, (2, 2): 9}, 4, (0.0, 1.0), random.Random(1))
    assert sorted(miner for _, miner in agenda.moments) == [(1, 1)] + [(3, 3)] * 4


def test_a_late_miner_is_planned_when_it_appears() -> None:
    """Only in the time that is left, and the others are not asked again."""
    agenda = Agenda(7)
    agenda.plan([(1, 1)], {}, 4, (0.0, 100.0), random.Random(1))
    agenda.plan([(1, 1), (1, 5)], {}, 4, (50.0, 100.0), random.Random(1))
    assert [miner for _, miner in agenda.moments].count((1, 1)) == 4
    assert all(when >= 50 for when, miner in agenda.moments if miner == (1, 5))
    agenda.plan([(9, 9)], {}, 4, (101.0, 100.0), random.Random(1))
    assert (9, 9) not in agenda.planned


def test_a_moment_is_handed_out_once() -> None:
    """Even when the loop was late."""
    agenda = Agenda(7)
    agenda.plan([(1, 1)], {}, 10, (0.0, 100.0), random.Random(3))
    assert len(agenda.due(50.0)) + len(agenda.due(1e9)) == 10
    assert agenda.due(1e9) == []
