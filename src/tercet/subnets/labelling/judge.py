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
from tercet.subnets.labelling.skills import Consensus, Floats, Votes, estimate
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
_MOST = 1 << 20
"""Numbers in one array while voters are measured: a market's round fits at once, a large order goes in parts."""
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
    standing = [voters[index].answers for index in view.standing]
    values = _values(what, [view.consensus.labels(), *(answers.votes for answers in standing)])
    for place, index in enumerate(view.standing):
        found[index] = _score(what, standing[place], view.measures[place], values[0], values[place + 1])
    return [found[index] for index in range(len(voters))], view.consensus


def best_score(what: Round, answers: Answers) -> float:
    """The most that any honest judge can give for these answers, going by gold alone."""
    upper = _most(what, answers)
    return _skill(upper, what.chance) if upper < 1 else 1.0


def is_guess(what: Round, answers: Answers) -> bool:
    """Whether gold alone shows, to any judge, that this is no better than guessing."""
    return _most(what, answers) <= what.chance


def _most(what: Round, answers: Answers) -> float:
    """The accuracy that gold allows at the most."""
    (found,), (count,) = _gold_record(what, answers.votes[None])
    return _wilson(found, count)[1]


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
    votes = np.stack([voters[index].answers.votes for index in standing])
    consensus = estimate(votes, what.classes, what.gold)
    measures = [
        found
        for part in _parts(len(votes), consensus.evidence.size)
        for found in _measure(what, votes, consensus, part)
    ]
    return _View(standing, consensus, measures)


def _parts(count: int, size: int) -> list[Votes]:
    """The numbers below `count`, as many at a time as keep arrays of `size` for each of them small."""
    step = max(1, _MOST // size)
    return [np.arange(start, min(count, start + step)) for start in range(0, count, step)]


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
    standing = view.standing
    alike = _all_shared_errors(what, np.stack([voters[index].answers.votes for index in standing]), view.consensus)
    entries = [Entry(voters[index].uid, voters[index].order, place) for place, index in enumerate(standing)]
    copies = find_copies(entries, lambda first, second: float(alike[first, second]), COPY_SHARE)
    found = {}
    for index in standing:
        uid = voters[index].uid
        if uid in copies:
            original = copies[uid]
            reason = f"repeats the errors of miner {original}, which answered earlier: a copy is no second voice"
            found[index] = Finding(0.0, reason, COPY, original)
    return found


def _all_shared_errors(what: Round, votes: Votes, consensus: Consensus) -> Floats:
    """(voters, voters): `shared_errors` of any two, going by gold, and elsewhere by what all others agree on."""
    alike = np.zeros((len(votes), len(votes)))
    first, second = np.triu_indices(len(votes), 1)
    for part in _parts(len(first), consensus.evidence.size):
        one, two = first[part], second[part]
        agreed = consensus.without_pairs(one, two, _CERTAIN)
        truth = np.where(what.gold >= 0, what.gold, agreed)
        alike[one, two] = alike[two, one] = shared_errors(votes[one], votes[two], truth)
    return alike


def shared_errors(mine: Votes, theirs: Votes, truth: Votes) -> Floats:
    """How far one of two voters follows the other into its errors, 0 to 1; 0 when there are too few to say.

    Of the errors of one, the share that the other repeats rather than gets right. Who copies can hide equal errors by
    changing some answers at random, but only luck makes it right where the original is wrong.

    Args:
        mine: (..., items) votes of one, -1 where there is none.
        theirs: (..., items) of the other.
        truth: (..., items) -1 where nobody knows it.

    """
    both = (truth >= 0) & (mine >= 0) & (theirs >= 0)
    wrong, also = both & (mine != truth), both & (theirs != truth)
    same = (wrong & also & (mine == theirs)).sum(axis=-1)
    rather = np.minimum((wrong & ~also).sum(axis=-1), (also & ~wrong).sum(axis=-1))
    return np.asarray(np.where(same < _COPY_ERRORS, 0.0, same / np.maximum(same + rather, 1)))


def _measure(what: Round, votes: Votes, consensus: Consensus, places: Votes) -> list[dict[str, float]]:
    """How often each of these voters is right: counted on gold, elsewhere estimated from what all others say.

    An item is worth as much as the others know of it. With p their probabilities of its labels, a right vote agrees
    with them by R = sum(p^2) on average, a wrong one by Q = (1 - R) / (classes - 1); so agreement less Q, over R - Q,
    estimates the share of right votes. What the voter left out counts as wrong.
    """
    votes, gold = votes[places], what.gold >= 0
    said = votes >= 0
    others = consensus.without(places)
    right = np.square(others).sum(axis=2)
    wrong = (1 - right) / (what.classes - 1)
    agreement = np.take_along_axis(others, np.maximum(votes, 0)[..., None], 2)[..., 0]
    hits = np.where(gold, votes == what.gold, np.where(said, agreement - wrong, 0.0)).sum(axis=1)
    weight = np.where(gold, 1.0, right - wrong)
    known = (np.where(said, weight, 0.0) if what.partial else weight).sum(axis=1)
    records = zip(hits.tolist(), known.tolist(), *_gold_record(what, votes), said.mean(axis=1).tolist(), strict=True)
    return [
        {
            # Gold is the truth and the rest is hearsay: friends cannot lift anybody above what gold allows.
            "accuracy": min(1.0, max(0.0, hit / weighed), _wilson(found, count)[1]) if weighed else 0.0,
            "gold": found / count if count else 0.0,
            "items": max(1.0, weighed),
            "answered": 1.0 if what.partial else answered,
        }
        for hit, weighed, found, count, answered in records
    ]


def _gold_record(what: Round, votes: Votes) -> tuple[list[int], list[int]]:
    """Of each voter: how many gold items it has right, and how many count."""
    gold = np.broadcast_to(what.gold >= 0, votes.shape)
    if what.partial:
        gold = gold & (votes >= 0)
    return (gold & (votes == what.gold)).sum(axis=1).tolist(), gold.sum(axis=1).tolist()


def _score(
    what: Round, answers: Answers, measures: Mapping[str, float], ideal: Bound | None, own: Bound | None
) -> Finding:
    measures = {**measures, "calibration": _calibration(what, answers)}
    skill = _skill(measures["accuracy"], what.chance)
    score, reason = skill * (1 - _CALIBRATION + _CALIBRATION * measures["calibration"]), ""
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


def _values(what: Round, sets: Sequence[Votes]) -> Sequence[Bound | None]:
    """What a model learns from each set of labels; None where that is not measured."""
    return [None] * len(sets) if what.exam is None else what.exam.gains(sets)


def _wilson(right: int, count: int) -> tuple[float, float]:
    """The interval in which the true share lies, as far as `count` items can tell (Wilson, 99 %)."""
    if not count:
        return 0.0, 1.0
    share, spread = right / count, _WIDE**2 / count
    middle = share + spread / 2
    reach = _WIDE * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return max(0.0, (middle - reach) / (1 + spread)), min(1.0, (middle + reach) / (1 + spread))
