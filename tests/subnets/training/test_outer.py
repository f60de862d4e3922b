"""The outer step: the same for the same set of updates."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tercet.subnets.training.compress import Codec, Update
from tercet.subnets.training.outer import CLIP, Checkpoint, Outer, clip_factor, step

CODEC = Codec((300,))
BEGIN = Checkpoint.begin(np.linspace(-1, 1, 300, dtype=np.float32), "rules")


def update(seed: int, scale: float = 1.0) -> Update:
    draws = np.random.RandomState(seed).random_sample(300) - 0.5
    return CODEC.pack((draws * scale).astype(np.float32))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 20), max_size=8), st.randoms(use_true_random=False))
def test_order_and_repetition_make_no_difference(seeds: list[int], draws: random.Random) -> None:
    updates = [update(seed) for seed in seeds]
    shuffled = updates * 2
    draws.shuffle(shuffled)
    assert step(BEGIN, updates, Outer()).digest == step(BEGIN, shuffled, Outer()).digest


def test_two_steps_end_at_the_same_bits_on_every_machine() -> None:
    """Pinned: validators with another sum here leave the market's model."""
    here = step(step(BEGIN, [update(1), update(2, 3.0)], Outer()), [update(3)], Outer())
    assert here.round == 2
    assert here.digest.startswith("d8cdce0c6094ff0d")


def test_nobody_moves_the_model_by_more_than_twice_the_median() -> None:
    honest, huge = [update(seed) for seed in range(4)], update(9, 1e4)
    middle = sorted(each.norm for each in [*honest, huge])[2]
    moved = step(BEGIN, [*honest, huge], Outer(1.0, 0.0)).theta - BEGIN.theta
    assert float(np.linalg.norm(moved)) < (4 * 1.1 + CLIP) * middle / 5 + 0.05
    assert clip_factor(huge.norm, middle) * huge.norm == pytest.approx(CLIP * middle)


def test_a_round_without_updates_only_counts() -> None:
    after = step(BEGIN, [], Outer())
    assert after.round == 1
    assert np.array_equal(after.theta, BEGIN.theta)
    assert after.digest != BEGIN.digest


def test_a_checkpoint_of_other_rules_has_another_name() -> None:
    assert Checkpoint.begin(BEGIN.theta, "other").digest != BEGIN.digest
