"""What the answers of a batch are worth, and to whom it is owed.

Some items are gold: drawn by a seed that came after the answers were signed, from those whose label the judge knows.
For the others the voters are held against each other, weighed by their skills, each without its own word. Whoever
cannot be told from a guesser, or repeats another's errors, is worth nothing. `benchmarks/labelling.py` prints what
honest work and cheats earn by these thresholds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tercet.subnets.kit.beacon import lottery
from tercet.subnets.kit.copies import Entry, find_copies
from tercet.subnets.kit.paired import Bound
from tercet.subnets.labelling.answers import Answers
from tercet.subnets.labelling.skills import Consensus, Votes, estimate
from tercet.subnets.labelling.value import Exam

__all__ = [
    "COPY",
    "COPY_SHARE",
    "GUESS",
    "Finding",
    "Round",
    "Voter",
    "appraise",
    "best_score",
    "draw_gold",
    "is_guess",
    "shared_errors",
]

GUESS, COPY = "guess", "copy"
_SURE = 1.645
"""Standard errors by which a voter must beat guessing."""
_WIDE = 2.576
"""Standard errors by which gold may be kinder or harder than the rest, for an honest voter in a hundred."""
COPY_SHARE = 0.9
"""Of one voter's errors that another does not get right: as many, made by both alike, do not come about independently."""
_COPY_ERRORS = 5
"""Equal errors that are needed to say so."""
_CERTAIN = 0.7
"""Probability from which a label that others agree on counts as the truth when errors are compared."""
_WEAK = 0.02
"""The least that is paid for work that is better than guessing."""
_CALIBRATION, _VALUE = 0.1, 0.2
"""Shares of the score: for saying how sure one is, and for what a model learns from the labels."""


@dataclass(frozen=True, slots=True)
class Round:
    """A batch as its judge sees it."""

    classes: int
    gold: Votes
    """(items,): the label where the item is gold, else -1."""
    chance: float
    """What a constant guess gets right: the share of the most frequent label, at least 1 / classes."""
    exam: Exam | None = None
    """Of what a model learns from the labels; None when that is not measured."""
    partial: bool = False
    """Voters were asked about a part of the items each: what they did not say is not held against them."""


@dataclass(frozen=True, slots=True)
class Voter:
    """One miner's answer, and when it came."""

    uid: int
    order: tuple[int, ...]
    """Milliseconds from the question to the answer, then the generation of its slot: who copies comes later."""
    answers: Answers


@dataclass(frozen=True, slots=True)
class Finding:
    """What one voter's answer is worth."""

    score: float
    reason: str = ""
    fault: str = ""
    """`GUESS` or `COPY` when the score is 0."""
    original: int = 0
    """Uid of whom it copies; 0 for nobody."""
    measures: Mapping[str, float] = field(default_factory=dict)


def draw_gold(seed: bytes, known: Sequence[int], count: int) -> list[int]:
    """Which of the items with a known label are gold, ascending."""
    return sorted(lottery(seed, "gold").sample(sorted(known), min(count, len(known))))


def appraise(what: Round, voters: Sequence[Voter]) -> tuple[Sequence[Finding], Consensus | None]:
    """One finding per voter, in order, and the consensus of those that are paid; None when nobody is."""
    found: dict[int, Finding] = {}
    view = _look(what, voters, range(len(voters)))
    # Without the faulty ones somebody else may turn out to have lived on their word: guessers are looked for again.
    for fault in (_guessers, _copiers, _guessers):
        faulty = {} if view is None else fault(what, voters, view)
        found |= faulty
        if view is not None and faulty:
            view = _look(what, voters, [index for index in view.standing if index not in faulty])
    if view is None:
        return [found[index] for index in range(len(voters))], None
    ideal = _value(what, view.consensus.labels())
    for index, measures in zip(view.standing, view.measures, strict=True):
        found[index] = _score(what, voters[index].answers, measures, ideal)
    return [found[index] for index in range(len(voters))], view.consensus


def best_score(what: Round, answers: Answers) -> float:
    """The most that any honest judge can give for these answers, going by gold alone."""
    _, upper = _wilson(*_gold_record(what, answers))
    return _skill(upper, what.chance) if upper < 1 else 1.0


def is_guess(what: Round, answers: Answers) -> bool:
    """Whether gold alone shows, to any judge, that this is no better than guessing."""
    _, upper = _wilson(*_gold_record(what, answers))
    return upper <= what.chance


@dataclass(frozen=True, slots=True)
class _View:
    """What some of the voters say together, and how good each of them is by it."""

    standing: Sequence[int]
    """Which of the voters."""
    consensus: Consensus
    measures: Sequence[dict[str, float]]
    """In their order."""


def _look(what: Round, voters: Sequence[Voter], standing: Sequence[int]) -> _View | None:
    """None when nobody stands."""
    if not standing:
        return None
    consensus = estimate(np.stack([voters[index].answers.votes for index in standing]), what.classes, what.gold)
    measures = [_measure(what, voters[index].answers, consensus, place) for place, index in enumerate(standing)]
    return _View(standing, consensus, measures)


def _guessers(what: Round, voters: Sequence[Voter], view: _View) -> dict[int, Finding]:  # noqa: ARG001 - as `_copiers`
    """Those who are not clearly better than a constant guess."""
    found = {}
    for index, measures in zip(view.standing, view.measures, strict=True):
        bar = what.chance + _SURE * math.sqrt(what.chance * (1 - what.chance) / measures["items"])
        if measures["accuracy"] < bar:
            reason = f"{measures['accuracy']:.0%} right, and a constant guess gets {what.chance:.0%}: this is no better than guessing"
            found[index] = Finding(0.0, reason, GUESS, measures=measures)
    return found


def _copiers(what: Round, voters: Sequence[Voter], view: _View) -> dict[int, Finding]:
    """Those who repeat the errors of somebody who answered earlier."""
    standing, consensus = view.standing, view.consensus
    shares: dict[tuple[int, int], float] = {}

    def alike(first: int, second: int) -> float:
        share = shares[first, second] = _shared_errors(
            what,
            voters[standing[first]].answers.votes,
            voters[standing[second]].answers.votes,
            consensus,
            first,
            second,
        )
        return share

    entries = [Entry(voters[index].uid, voters[index].order, place) for place, index in enumerate(standing)]
    copies = find_copies(entries, alike, COPY_SHARE)
    found = {}
    for index in standing:
        uid = voters[index].uid
        if uid in copies:
            original = copies[uid]
            reason = f"repeats the errors of miner {original}, which answered earlier: a copy is no second voice"
            found[index] = Finding(0.0, reason, COPY, original)
    return found


def _shared_errors(what: Round, mine: Votes, theirs: Votes, consensus: Consensus, first: int, second: int) -> float:
    """`shared_errors`, going by gold, and elsewhere by what all others agree on."""
    others = consensus.without(first, second)
    agreed = np.where(others.max(axis=1) >= _CERTAIN, others.argmax(axis=1), -1)
    return shared_errors(mine, theirs, np.where(what.gold >= 0, what.gold, agreed))


def shared_errors(mine: Votes, theirs: Votes, truth: Votes) -> float:
    """How far one of two voters follows the other into its errors, 0 to 1; 0 when there are too few to say.

    Of the errors of one, the share that the other repeats rather than gets right. Who copies can hide equal errors by
    changing some answers at random, but only luck makes it right where the original is wrong.

    Args:
        mine: (items,) votes of one, -1 where there is none.
        theirs: (items,) of the other.
        truth: (items,) -1 where nobody knows it.

    """
    both = (truth >= 0) & (mine >= 0) & (theirs >= 0)
    wrong, also = both & (mine != truth), both & (theirs != truth)
    same = int((wrong & also & (mine == theirs)).sum())
    if same < _COPY_ERRORS:
        return 0.0
    return same / (same + min(int((wrong & ~also).sum()), int((also & ~wrong).sum())))


def _measure(what: Round, answers: Answers, consensus: Consensus, place: int) -> dict[str, float]:
    """How often the voter is right: counted on gold, elsewhere estimated from what all others say.

    An item is worth as much as the others know of it. With p their probabilities of its labels, a right vote agrees
    with them by R = sum(p^2) on average, a wrong one by Q = (1 - R) / (classes - 1); so agreement less Q, over R - Q,
    estimates the share of right votes. What the voter left out counts as wrong.
    """
    votes, gold = answers.votes, what.gold >= 0
    others = consensus.without(place)
    right = (others**2).sum(axis=1)
    wrong = (1 - right) / (what.classes - 1)
    agreement = others[np.arange(len(votes)), np.maximum(votes, 0)]
    hits = np.where(votes >= 0, agreement - wrong, 0.0)
    hits[gold], weight = votes[gold] == what.gold[gold], np.where(gold, 1.0, right - wrong)
    if what.partial:
        weight = np.where(votes >= 0, weight, 0.0)
    known = float(weight.sum())
    found, count = _gold_record(what, answers)
    # Gold is the truth and the rest is hearsay: friends cannot lift anybody above what gold allows.
    accuracy = min(1.0, max(0.0, float(hits.sum()) / known), _wilson(found, count)[1]) if known else 0.0
    return {
        "accuracy": accuracy,
        "gold": found / count if count else 0.0,
        "items": max(1.0, known),
        "answered": 1.0 if what.partial else float((votes >= 0).mean()),
    }


def _gold_record(what: Round, answers: Answers) -> tuple[int, int]:
    gold = what.gold >= 0
    if what.partial:
        gold &= answers.votes >= 0
    return int((answers.votes[gold] == what.gold[gold]).sum()), int(gold.sum())


def _score(what: Round, answers: Answers, measures: Mapping[str, float], ideal: Bound | None) -> Finding:
    measures = {**measures, "calibration": _calibration(what, answers)}
    skill = _skill(measures["accuracy"], what.chance)
    score, reason = skill * (1 - _CALIBRATION + _CALIBRATION * measures["calibration"]), ""
    own = _value(what, answers.votes)
    if own is not None and ideal is not None and ideal.pays:
        measures["value"], measures["value_lower"] = own.mean, own.lower
        score *= 1 - _VALUE + _VALUE * min(1.0, max(0.0, own.mean / ideal.mean))
        if not own.pays:
            score, reason = (
                min(score, _WEAK),
                "a model that learns from these labels is no better than a constant guess",
            )
    if not reason and measures["answered"] < 1:
        reason = f"{1 - measures['answered']:.0%} of the items were left out"
    if not reason and skill < 0.5:
        reason = f"{measures['accuracy']:.0%} right"
    return Finding(max(_WEAK, min(1.0, score)), reason, measures=measures)


def _skill(accuracy: float, chance: float) -> float:
    """0 for a constant guess, 1 for no error."""
    return min(1.0, max(_WEAK, (accuracy - chance) / (1 - chance))) if chance < 1 else 1.0


def _calibration(what: Round, answers: Answers) -> float:
    """One minus Brier's score of the confidence, on gold: 1 is perfect, 0.75 is what saying 0.5 everywhere earns."""
    shown = (what.gold >= 0) & (answers.votes >= 0)
    if not shown.any():
        return 0.0
    right = answers.votes[shown] == what.gold[shown]
    return float(1 - ((answers.confidence[shown] - right) ** 2).mean())


def _value(what: Round, labels: Votes) -> Bound | None:
    return None if what.exam is None else what.exam.gain(labels)


def _wilson(right: int, count: int) -> tuple[float, float]:
    """The interval in which the true share lies, as far as `count` items can tell (Wilson, 99 %)."""
    if not count:
        return 0.0, 1.0
    share, spread = right / count, _WIDE**2 / count
    middle = share + spread / 2
    reach = _WIDE * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return max(0.0, (middle - reach) / (1 + spread)), min(1.0, (middle + reach) / (1 + spread))
