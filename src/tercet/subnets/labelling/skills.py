"""Who is how good, and what is what: Dawid and Skene's estimate from votes alone, or with gold as anchors.

Dawid, Skene (1979), Maximum likelihood estimation of observer error-rates using the EM algorithm. Ours differs in two
points, both for batches of a hundred items where a full confusion matrix has more cells than there are votes: rows of
the matrix are pulled towards a voter of the same overall accuracy whose errors are even, and items whose label is known
keep it through all rounds. A vote may be missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Consensus", "Floats", "Votes", "estimate", "majority"]

Votes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_ROUNDS = 60
_SETTLED = 1e-5
_PULL = 4.0
"""Imagined votes in each row of a confusion matrix, spread as an even voter's."""
_DOUBT = 2.0
"""Imagined votes in a voter's overall accuracy, one right and one wrong."""
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Consensus:
    """What the votes say, all of them weighed by how good their voters are."""

    posterior: Floats
    """(items, classes): rows sum to 1; certain where the label is known."""
    confusion: Floats
    """(voters, classes, classes): of each voter, true label to label said; rows sum to 1."""
    skill: Floats
    """(voters,): the share of its votes that are right, as estimated."""
    log_prior: Floats
    """(classes,)"""
    shares: Floats
    """(voters, items, classes): what each vote adds to the log-odds of each label; 0 where it is missing."""

    def labels(self) -> Votes:
        """(items,): the most probable label of each."""
        return np.asarray(self.posterior.argmax(axis=1), np.int64)

    def confidence(self) -> Floats:
        """(items,): its probability."""
        return np.asarray(self.posterior.max(axis=1), np.float64)

    def without(self, *voters: int) -> Floats:
        """(items, classes): the posterior of everybody else, anchors aside: nobody is measured by its own word."""
        kept = self.log_prior + self.shares.sum(axis=0) - self.shares[list(voters)].sum(axis=0)
        return _softmax(kept)


def majority(votes: Votes, classes: int) -> Votes:
    """(items,): the label with the most votes, the lowest of those that draw; -1 without any vote."""
    counts = _one_hot(votes, classes).sum(axis=0)
    return np.where(counts.sum(axis=1) > 0, counts.argmax(axis=1), -1)


def estimate(votes: Votes, classes: int, anchors: Votes | None = None) -> Consensus:
    """Estimate labels and skills together, by expectation and maximisation.

    Args:
        votes: (voters, items), index of the label, -1 where there is no vote. At least one voter and one item.
        classes: how many labels there are.
        anchors: (items,), the label where it is known for certain, else -1.

    """
    said = _one_hot(votes, classes)
    known = np.full(votes.shape[1], -1) if anchors is None else anchors
    fixed = known >= 0
    truth = np.eye(classes)[known[fixed]]
    posterior = _first_guess(said, known, classes)
    for _ in range(_ROUNDS):
        posterior[fixed] = truth
        log_prior = np.log((posterior.sum(axis=0) + 1) / (len(posterior) + classes))
        confusion = _maximise(said, posterior, classes)
        shares = said @ np.log(confusion).transpose(0, 2, 1)
        found = _softmax(log_prior + shares.sum(axis=0))
        found[fixed] = truth
        moved, posterior = np.abs(found - posterior).max(), found
        if moved < _SETTLED:
            break
    counts = posterior.T @ said
    right, cast = counts.trace(axis1=1, axis2=2), counts.sum(axis=(1, 2))
    return Consensus(posterior, confusion, right / np.maximum(cast, 1), log_prior, shares)


def _first_guess(said: Floats, known: Votes, classes: int) -> Floats:
    """Every vote weighed by its voter's record on gold; equally where there is none."""
    fixed = known >= 0
    hits = said[:, fixed, :] @ np.ones(classes) if fixed.any() else np.zeros((len(said), 0))
    right = np.take_along_axis(said[:, fixed, :], known[fixed][None, :, None], 2)[..., 0].sum(axis=1)
    accuracy = (right + _DOUBT) / (hits.sum(axis=1) + 2 * _DOUBT)
    if not fixed.any():
        accuracy = np.full(len(said), 0.7)
    floor = 1 / classes
    accuracy = np.clip(accuracy, floor, 0.99)
    odds = np.log(accuracy * (classes - 1) / (1 - accuracy))
    return _softmax(np.tensordot(odds, said, 1))


def _maximise(said: Floats, posterior: Floats, classes: int) -> Floats:
    """(voters, classes, classes): each voter's confusion, given what the items probably are."""
    counts = posterior.T @ said
    accuracy = (counts.trace(axis1=1, axis2=2) + _DOUBT / 2) / (counts.sum(axis=(1, 2)) + _DOUBT)
    off = ((1 - accuracy) / (classes - 1))[:, None, None]
    even = np.where(np.eye(classes, dtype=bool), accuracy[:, None, None], off)
    pulled = counts + _PULL * even
    return np.asarray(np.maximum(pulled / pulled.sum(axis=2, keepdims=True), _TINY))


def _one_hot(votes: Votes, classes: int) -> Floats:
    """(voters, items, classes)"""
    said = np.zeros((*votes.shape, classes))
    voter, item = np.nonzero(votes >= 0)
    said[voter, item, votes[voter, item]] = 1
    return said


def _softmax(logits: Floats) -> Floats:
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))
