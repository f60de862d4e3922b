"""What a set of labels is worth: how much better a model that learned from it does on items that it never saw.

The model is a ridge regression, always the same; the items held out are the validator's own. Its answers are linear in
the labels, so all that is costly is done once for a batch, whoever labels it. The gain is over a constant guess, paired
item by item, and bounded from below, so that luck is not paid for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tercet.subnets.kit.beacon import derive
from tercet.subnets.kit.paired import Bound, bound_gain
from tercet.subnets.labelling.skills import Floats, Votes

__all__ = ["Exam"]

_DOUBT = 2.0
"""How far labels are doubted, in items: the ridge over the mean square of an item's length."""
_TINY = 1e-12


class Exam:
    """Items that are labelled, and others that show what was learned."""

    def __init__(self, features: Floats, held_out: Floats, truth: Votes, classes: int) -> None:
        """Look at a batch.

        Args:
            features: (items, features) of what is labelled.
            held_out: (held out, features)
            truth: (held out,) their labels.
            classes: how many labels there are.

        """
        self._inputs, self._held_out, self._truth, self._classes = features, held_out, truth, classes
        self._whole: Floats | None = None

    def gains(self, sets: Sequence[Votes]) -> list[Bound]:
        """The `gain` of each of these sets of labels; those without gaps are learned together."""
        whole = [labels for labels in sets if (labels >= 0).all()]
        learned = iter(self._predict_whole(np.stack(whole)) if whole else ())
        return [
            self._bound(labels, next(learned) == self._truth) if (labels >= 0).all() else self.gain(labels)
            for labels in sets
        ]

    def gain(self, labels: Votes, *, seed: bytes = b"", resamples: int = 0) -> Bound:
        """The gain in accuracy on held-out items of a model that learned these labels, over a constant guess.

        Args:
            labels: (items,), -1 where there is none: such items are left out.
            seed: of the bootstrap.
            resamples: of the labelled set, drawn with replacement: the gain is their mean, so that it does not hang on
                a few lucky items. 0 learns from the set as it is.

        """
        there = np.flatnonzero(labels >= 0)
        if not len(there):
            return bound_gain([])
        right = np.zeros(len(self._truth))
        draws = np.random.default_rng(int.from_bytes(derive(seed, "bootstrap")[:8], "big"))
        rounds = [there] if not resamples else [draws.choice(there, len(there)) for _ in range(resamples)]
        for chosen in rounds:
            right += self._predict(chosen, labels[chosen]) == self._truth
        return self._bound(labels[there], right / len(rounds))

    def _bound(self, labels: Votes, right: npt.NDArray[Any]) -> Bound:
        """Right answers on held-out items, beside those of a constant guess by these labels."""
        guess = np.bincount(labels, minlength=self._classes).argmax()
        return bound_gain((right.astype(np.float64) - (self._truth == guess)).tolist())

    def _predict_whole(self, sets: Votes) -> Votes:
        """(sets, held out): as `_predict`, of labels for all items. sets: (sets, items)."""
        said = (sets[:, None] == np.arange(self._classes)[:, None]).astype(np.float64)
        usual = said.mean(axis=2, keepdims=True)
        weights = (said - usual) @ self._learner(np.arange(len(self._inputs))).T
        middle = self._inputs.mean(axis=0)
        return np.asarray((weights @ (self._held_out - middle).T + usual).argmax(axis=1), np.int64)

    def _predict(self, chosen: Votes, labels: Votes) -> Votes:
        """(held out,): the label that a model of these items' labels says."""
        said = np.eye(self._classes)[labels]
        usual = said.mean(axis=0)
        middle = self._inputs[chosen].mean(axis=0)
        weights = self._learner(chosen) @ (said - usual)
        return np.asarray(((self._held_out - middle) @ weights + usual).argmax(axis=1), np.int64)

    def _learner(self, chosen: Votes) -> Floats:
        """(features, chosen): what turns the labels of these items into weights; of all items it is made once."""
        whole = len(chosen) == len(self._inputs) and bool((np.diff(chosen) == 1).all())
        if whole and self._whole is not None:
            return self._whole
        inputs = self._inputs[chosen]
        inputs = inputs - inputs.mean(axis=0)
        ridge = max(_TINY, _DOUBT * float((inputs**2).sum(axis=1).mean()))
        items, features = inputs.shape
        # The smaller of the two matrices is inverted; the ridge keeps it far from singular.
        if features < items:
            found = np.linalg.inv(inputs.T @ inputs + ridge * np.eye(features)) @ inputs.T
        else:
            found = inputs.T @ np.linalg.inv(inputs @ inputs.T + ridge * np.eye(items))
        if whole:
            self._whole = np.asarray(found)
        return np.asarray(found)
