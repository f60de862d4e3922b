"""What a set of labels is worth: how much better a model that learned from it does on items that it never saw.

The model is a softmax regression, small and always the same; the items held out are the validator's own. The gain is
over a constant guess, paired item by item, and bounded from below, so that luck is not paid for.
"""

from __future__ import annotations

import numpy as np

from tercet.subnets.kit.beacon import derive
from tercet.subnets.kit.paired import Bound, bound_gain
from tercet.subnets.labelling.skills import Floats, Votes

__all__ = ["fit", "value_of"]

_STEPS = 25
_RATE = 8.0
_DECAY = 1e-3


def fit(features: Floats, labels: Votes, classes: int) -> Floats:
    """(features + 1, classes): weights of a softmax regression after a fixed number of Nesterov's steps."""
    inputs = np.hstack([features, np.ones((len(features), 1))])
    truth = np.eye(classes)[labels]
    # The loss curves at most as much as the largest eigenvalue of the inputs' covariance, over two.
    rate = _RATE / max(1.0, float((inputs**2).sum(axis=1).mean()))
    weights = np.zeros((inputs.shape[1], classes))
    ahead = weights
    for step in range(_STEPS):
        logits = inputs @ ahead
        chances = np.exp(logits - logits.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        slope = inputs.T @ (chances - truth) / len(inputs) + _DECAY * ahead
        moved = ahead - rate * slope
        ahead = moved + step / (step + 3) * (moved - weights)
        weights = moved
    return weights


def predict(weights: Floats, features: Floats) -> Votes:
    """(items,): the label that the model says."""
    return np.asarray((features @ weights[:-1] + weights[-1]).argmax(axis=1), np.int64)


def value_of(
    features: Floats,
    labels: Votes,
    held_out: Floats,
    truth: Votes,
    classes: int,
    *,
    seed: bytes = b"",
    resamples: int = 0,
) -> Bound:
    """The gain in accuracy on held-out items of a model that learned these labels, over a constant guess.

    Args:
        features: (items, features) of what was labelled.
        labels: (items,), -1 where there is none: such items are left out.
        held_out: (held out, features)
        truth: (held out,) their labels.
        classes: how many labels there are.
        seed: of the bootstrap.
        resamples: of the labelled set, drawn with replacement: the gain is their mean, so that it does not hang on
            a few lucky items. 0 learns from the set as it is.

    """
    there = np.flatnonzero(labels >= 0)
    if not len(there):
        return bound_gain([])
    guess = np.bincount(labels[there], minlength=classes).argmax()
    right = np.zeros(len(truth))
    draws = np.random.default_rng(int.from_bytes(derive(seed, "bootstrap")[:8], "big"))
    rounds = [there] if not resamples else [draws.choice(there, len(there)) for _ in range(resamples)]
    for chosen in rounds:
        right += predict(fit(features[chosen], labels[chosen], classes), held_out) == truth
    return bound_gain((right / len(rounds) - (truth == guess)).tolist())
