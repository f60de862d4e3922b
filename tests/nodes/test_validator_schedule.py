"""When a validator asks, commits, reveals and closes: decided from the chain's time alone."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.nodes.schedule import Agenda, EpochFacts, Moments, Phase, Step, Window, next_step

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


WINDOW = Window(0.0, 100.0)


def drain(agenda: Agenda) -> list[list[tuple[int, int]]]:
    """All bursts that are left."""
    return [agenda.due(1e9) for _ in range(len(agenda.moments))]


@given(
    st.floats(0, 1e9),
    st.floats(0.001, 1e6),
    st.floats(0, 1e6),
    st.integers(1, 50),
    st.integers(),
)
def test_moments_keep_apart_and_in_their_window(start: float, length: float, gap: float, count: int, seed: int) -> None:
    """Two bursts do not meet: there is an answer's time between them, or half of an even share of the window."""
    moments = Window(start, start + length, gap).draw(count, random.Random(seed))
    slack = 1e-6 * (1 + length) + start * 1e-9
    assert len(moments) == count
    assert start - slack <= moments[0] <= moments[-1] <= start + length + slack
    apart = min(gap, length / (2 * count))
    assert all(later - sooner >= apart - slack for sooner, later in pairwise(moments))


def test_moments_are_spread_over_the_whole_window() -> None:
    """No burst at the start that a miner could wait for."""
    times = [moment for seed in range(250) for moment in Window(0.0, 100.0, 5.0).draw(4, random.Random(seed))]
    for tenth in range(10):
        assert 60 < sum(10 * tenth <= when < 10 * tenth + 10 for when in times) < 140


def test_all_miners_are_asked_at_the_same_moments() -> None:
    """So whoever serves three names is asked three times at once."""
    agenda = Agenda(7)
    agenda.plan([(1, 1), (2, 2), (3, 3)], {}, 4, WINDOW, random.Random(1))
    assert len(agenda.moments) == 4
    assert drain(agenda) == [[(1, 1), (2, 2), (3, 3)]] * 4


@pytest.mark.parametrize(("together", "paid"), [(True, 1.0), (False, 3.0)])
def test_three_names_on_one_machine_are_three_times_as_slow(together: bool, paid: float) -> None:
    """One machine does one answer in a second, and shares itself evenly by those that it works on.

    Asked as the agenda asks, its three names together look as good as one machine; asked one by one, as three.
    """
    names = [(uid, 1) for uid in (1, 2, 3)]
    agenda = Agenda(7)
    agenda.plan(names, {}, 4, Window(0.0, 100.0, 10.0), random.Random(1))
    bursts = drain(agenda) if together else [[name] for burst in drain(agenda) for name in burst]
    seconds = [(name, float(len(burst))) for burst in bursts for name in burst]
    speed = {name: fmean(1 / spent for asked, spent in seconds if asked == name) for name in names}
    assert sum(speed.values()) == pytest.approx(paid)


def test_a_restart_asks_only_what_is_missing() -> None:
    """Findings on disk count; the budget of questions is an epoch's, not a process's. The last bursts are complete."""
    agenda = Agenda(7)
    agenda.plan([(1, 1), (2, 2), (3, 3)], {(1, 1): 3, (2, 2): 9}, 4, WINDOW, random.Random(1))
    assert drain(agenda) == [[(3, 3)]] * 3 + [[(1, 1), (3, 3)]]


def test_a_late_miner_joins_the_moments_that_are_left() -> None:
    """It has no moment of its own, and the others are not asked again."""
    agenda = Agenda(7)
    agenda.plan([(1, 1)], {}, 4, WINDOW, random.Random(1))
    agenda.due(agenda.moments[0])
    assert agenda.plan([(1, 1), (1, 5)], {}, 4, Window(50.0, 100.0), random.Random(1)) == [(1, 5)]
    assert drain(agenda) == [[(1, 1), (1, 5)]] * 3
    assert agenda.plan([(1, 1), (9, 9)], {}, 4, Window(50.0, 100.0), random.Random(1)) == [(9, 9)]
    assert drain(agenda) == []
    assert agenda.plan([(8, 8)], {}, 4, Window(101.0, 100.0), random.Random(1)) == []
    assert (8, 8) not in agenda.left


def test_moments_are_drawn_when_there_is_somebody_to_ask() -> None:
    """The first miner of a market finds all of them ahead."""
    agenda = Agenda(7)
    assert agenda.plan([], {}, 4, WINDOW, random.Random(1)) == []
    agenda.plan([(1, 1)], {}, 4, Window(90.0, 100.0), random.Random(1))
    assert len(agenda.moments) == 4
    assert agenda.moments[0] >= 90


def test_a_late_turn_asks_one_burst_after_the_other() -> None:
    """Even when all moments were slept through: a heap of questions would make honest miners look slow."""
    agenda = Agenda(7)
    agenda.plan([(1, 1), (2, 1)], {}, 10, WINDOW, random.Random(3))
    assert agenda.due(-1.0) == []
    assert [agenda.due(1e9) for _ in range(11)] == [[(1, 1), (2, 1)]] * 10 + [[]]


@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(0, 5)), max_size=12),
    st.integers(0, 5),
    st.integers(),
)
def test_nobody_is_asked_too_often(arrivals: list[tuple[int, int, int]], count: int, seed: int) -> None:
    """Whoever comes when, and whatever was taken before: count is never exceeded, and no burst asks anybody twice."""
    agenda, draws, present = Agenda(7), random.Random(seed), set[tuple[int, int]]()
    asked: Counter[tuple[int, int]] = Counter()
    taken = {(uid, generation): before for uid, generation, before in arrivals}
    for uid, generation, _ in arrivals:
        present.add((uid, generation))
        agenda.plan(present, taken, count, Window(0.0, 100.0, 3.0), draws)
        if draws.random() < 0.5:
            asked.update(agenda.due(1e9))
    for burst in drain(agenda):
        assert len(burst) == len(set(burst))
        asked.update(burst)
    assert all(asked[who] + min(count, taken[who]) <= count for who in present)
