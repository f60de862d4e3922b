"""Who is how good, and what is what: Dawid and Skene's estimate from votes alone, or with gold as anchors.

Dawid, Skene (1979), Maximum likelihood estimation of observer error-rates using the EM algorithm. Ours differs in two
points, both for batches of a hundred items where a full confusion matrix has more cells than there are votes: rows of
the matrix are pulled towards a voter of the same overall accuracy whose errors are even, and items whose label is known
keep it through all rounds. A vote may be missing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Consensus", "Floats", "Votes", "estimate", "majority"]

Votes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_ROUNDS = 60
_SETTLED = 1e-3
"""The most that a round may move a probability for the estimate to stand: skills then lie within 1e-5 of their limit."""
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
    evidence: Floats
    """(classes, items): log-odds of the labels before anchors: their prior, and what all votes add."""
    shares: Floats
    """(voters, classes, items): what each vote adds to that; 0 where it is missing."""

    def labels(self) -> Votes:
        """(items,): the most probable label of each."""
        return np.asarray(self.posterior.argmax(axis=1), np.int64)

    def confidence(self) -> Floats:
        """(items,): its probability."""
        return np.asarray(self.posterior.max(axis=1), np.float64)

    def without(self, *voters: int | Votes) -> Floats:
        """(items, classes): the posterior of everybody else, anchors aside: nobody is measured by its own word.

        Of an array of voters it is one for each of them: (voters, items, classes).
        """
        others = self.evidence - sum(self.shares[each] for each in voters)
        return _softmax(others, -2).swapaxes(-1, -2)

    def without_pairs(self, first: Votes, second: Votes, certain: float) -> Votes:
        """(pairs, items): the label that all but two voters agree on, with a probability of `certain` at least; else -1.

        Most are plain to see from all votes together: a label that leads by more than both voters add to it leads
        without them. Only the others are worked out.
        """
        label = self.evidence.argmax(axis=0)
        lead = np.partition(self.evidence, -2, axis=0)
        lift = np.take_along_axis(self.shares, label[None, None], 1)[:, 0] - self.shares.min(axis=1)
        left = lead[-1] - lead[-2] - lift[first] - lift[second]
        found = np.broadcast_to(label, left.shape).copy()
        # Of the other labels each has at most exp(-left) of what the leading one has.
        pair, item = np.nonzero(left < math.log((len(self.evidence) - 1) * certain / (1 - certain)))
        odds = self.evidence[:, item].T - self.shares[first[pair], :, item] - self.shares[second[pair], :, item]
        chances = _softmax(odds, 1)
        found[pair, item] = np.where(chances.max(axis=1) >= certain, chances.argmax(axis=1), -1)
        return found


def majority(votes: Votes, classes: int) -> Votes:
    """(items,): the label with the most votes, the lowest of those that draw; -1 without any vote."""
    counts = _one_hot(votes, classes).reshape(len(votes), classes, -1).sum(axis=0)
    return np.where(counts.sum(axis=0) > 0, counts.argmax(axis=0), -1)


def estimate(votes: Votes, classes: int, anchors: Votes | None = None) -> Consensus:
    """Estimate labels and skills together, by expectation and maximisation.

    Inside, labels come before items: numpy adds up along the first axis several times faster than along a short last.

    Args:
        votes: (voters, items), index of the label, -1 where there is no vote. At least one voter and one item.
        classes: how many labels there are.
        anchors: (items,), the label where it is known for certain, else -1.

    """
    said = _one_hot(votes, classes)
    known = np.full(votes.shape[1], -1) if anchors is None else anchors
    fixed = known >= 0
    truth, even = np.eye(classes)[:, known[fixed]], np.eye(classes)
    posterior = _first_guess(votes, said, known, classes)
    for _ in range(_ROUNDS):
        posterior[:, fixed] = truth
        log_prior = np.log((posterior.sum(axis=1) + 1) / (posterior.shape[1] + classes))
        confusion = _maximise(_count(said, posterior), even)
        tables = np.log(confusion)
        # The voters' tables side by side: one product adds up what all their votes say of every label.
        evidence = log_prior[:, None] + tables.swapaxes(0, 1).reshape(classes, -1) @ said
        found = _softmax(evidence, 0)
        found[:, fixed] = truth
        moved, posterior = np.abs(found - posterior).max(), found
        if moved < _SETTLED:
            break
    counts = _count(said, posterior)
    right, cast = counts.trace(axis1=1, axis2=2), counts.sum(axis=(1, 2))
    shares = tables @ said.reshape(len(votes), classes, -1)
    return Consensus(posterior.T, confusion, right / np.maximum(cast, 1), log_prior, evidence, shares)


def _first_guess(votes: Votes, said: Floats, known: Votes, classes: int) -> Floats:
    """(classes, items): every vote weighed by its voter's record on gold; equally where there is none."""
    accuracy = np.full(len(votes), 0.7)
    fixed = known >= 0
    if fixed.any():
        cast, right = (votes[:, fixed] >= 0).sum(axis=1), (votes[:, fixed] == known[fixed]).sum(axis=1)
        accuracy = (right + _DOUBT) / (cast + 2 * _DOUBT)
    accuracy = np.clip(accuracy, 1 / classes, 0.99)
    odds = np.log(accuracy * (classes - 1) / (1 - accuracy))
    return _softmax(np.tensordot(odds, said.reshape(len(votes), classes, -1), 1), 0)


def _count(said: Floats, posterior: Floats) -> Floats:
    """(voters, classes, classes): how often each voter said what, by what the item probably is: true label, label said."""
    classes = len(posterior)
    return np.asarray((posterior @ said.T).reshape(classes, -1, classes).swapaxes(0, 1))


def _maximise(counts: Floats, even: Floats) -> Floats:
    """(voters, classes, classes): each voter's confusion; `even` is the unit matrix."""
    cast, right = counts.sum(axis=2, keepdims=True), np.einsum("vcc->v", counts)
    accuracy = (right + _DOUBT / 2) / (cast.sum(axis=(1, 2)) + _DOUBT)
    off = (1 - accuracy) / (len(even) - 1)
    pull = (_PULL * off)[:, None, None] + (_PULL * (accuracy - off))[:, None, None] * even
    return np.asarray(np.maximum((counts + pull) / (cast + _PULL), _TINY))


def _one_hot(votes: Votes, classes: int) -> Floats:
    """(voters * classes, items): 1 where a voter says that an item is of a class."""
    said = votes[:, None, :] == np.arange(classes)[:, None]
    return np.asarray(said.reshape(-1, votes.shape[1]), np.float64)


def _softmax(logits: Floats, axis: int) -> Floats:
    raised = logits - logits.max(axis=axis, keepdims=True)
    np.exp(raised, out=raised)
    return np.asarray(raised / raised.sum(axis=axis, keepdims=True))
