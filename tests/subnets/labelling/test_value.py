"""What labels are worth is what a model learns from them."""

from __future__ import annotations

import numpy as np

from tercet.subnets.labelling.features import featurise
from tercet.subnets.labelling.items import Collection, Item
from tercet.subnets.labelling.pictures import encode_png
from tercet.subnets.labelling.value import Exam

from .conftest import voter


def test_better_labels_are_worth_more(collection: Collection) -> None:
    """Right ones most, noisy ones less, random ones nothing; the bound tells."""
    features, truth = featurise(collection.items[:200]), np.array(collection.known[:200])
    held = featurise([item for item, _ in collection.held_out])
    labels = np.array([label for _, label in collection.held_out])

    exam = Exam(features, held, labels, 10)

    def value(votes: np.ndarray, resamples: int = 0) -> tuple[float, float]:
        bound = exam.gain(votes, seed=b"s", resamples=resamples)
        return bound.mean, bound.lower

    right, noisy, random = (value(voter(truth, skill, 1)) for skill in (1.0, 0.5, 0.1))
    assert right[0] > noisy[0] + 0.05 > random[0]
    assert right[1] > 0.7
    assert random[1] < 0.05
    assert abs(value(truth, resamples=6)[0] - right[0]) < 0.1
    assert value(np.full(200, -1))[1] == -np.inf
    assert value(np.full(200, 3))[0] == 0


def test_items_of_every_kind_become_rows_of_one_length() -> None:
    items = [Item("text", b"a few words"), Item("gray", bytes(range(64)), 8), Item("image", encode_png(bytes(256), 16))]
    rows = featurise(items)
    assert rows.shape == (3, 512)
    assert np.isfinite(rows).all()
    assert (featurise(items[:1]) == rows[:1]).all()


def test_sets_that_are_measured_together_gain_what_each_gains_alone(collection: Collection) -> None:
    """With gaps, without a label, and whole ones among them."""
    features, truth = featurise(collection.items[:200]), np.array(collection.known[:200])
    held = featurise([item for item, _ in collection.held_out])
    exam = Exam(features, held, np.array([label for _, label in collection.held_out]), 10)
    draws = np.random.default_rng(5)
    sets = [truth, np.where(draws.random(len(truth)) < 0.3, -1, truth), np.full(len(truth), -1), np.roll(truth, 1)]
    assert exam.gains(sets) == [exam.gain(labels) for labels in sets]
    assert exam.gains([]) == []
