"""Did a miner train on what it was assigned, and does its update help? Losses say, on windows drawn afterwards.

Of each update two things are measured, both at half of it added to the checkpoint:

gain    how much lower the loss gets on windows that are drawn from the whole text, the same for all miners (nats/token)
proof   whether it helps more on the miner's own assigned windows than there. Windows differ a lot in how hard they are,
        so each loss is compared with the one under a reference: the mean of updates of *other* miners, who have not seen
        these windows; what is left is compared by rank. Under no difference it is a standard normal draw, so rounds add
        up. A round has two references, the means of its two halves, and a miner is compared with the half it is not in:
        a reference of its own for each miner costs as much again as measuring its gain.

A copy, a miner with data of its own and noise have no proof, whatever their gain. One that trains on a part of what it
was assigned has a part of it: ranks count how many windows were learned, not how well. What rounds add up to and what
it earns is told in `standing`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median_high

import numpy as np
import numpy.typing as npt

from tercet.errors import SubnetError
from tercet.subnets.kit import Entry, derive, find_copies, lottery
from tercet.subnets.training.compress import Update
from tercet.subnets.training.data import Corpus
from tercet.subnets.training.model import Trainee, Vector, Windows
from tercet.subnets.training.outer import Checkpoint
from tercet.subnets.training.standing import (
    LEAST_NORM,
    MOST_NORM,
    NONE_BELOW,
    TRIAL_ROUNDS,
    Measure,
    Pay,
    Standard,
    Standing,
    find_usual_gain,
    price_standing,
    weigh_round,
)
from tercet.subnets.training.tasks import Rules

__all__ = ["COPY", "Entrant", "Judge", "Reference", "Ruling", "Sample"]

Losses = npt.NDArray[np.float64]

COPY = 0.9
"""Cosine from which two updates do not come about independently; honest ones stay below 0.7."""
HALF = np.float32(0.5)
"""Of an update is added to measure it: a lone update goes a little too far, the mean of many does not."""


FEW = 3
"""So many useful updates are not divided: each is compared with all the others, since a half could be chance's choice."""


@dataclass(frozen=True, slots=True)
class Sample:
    """How many windows an update is measured on. More costs more and tells more: as the root of their harmonic mean."""

    assigned: int = 56
    random: int = 56


@dataclass(frozen=True, slots=True)
class Reference:
    """What an update is compared with: the checkpoint with the mean of other miners' updates."""

    theta: Vector = field(repr=False)
    losses: Losses = field(repr=False)
    """On the shared windows."""
    peers: Sequence[str]
    """Digests of the updates."""


@dataclass(frozen=True, slots=True)
class Entrant:
    """One answer of a round, read."""

    uid: int
    generation: int
    seed: bytes
    """That drew its assigned windows."""
    update: Update | None
    reason: str = ""
    """Why there is no update; empty when there is one."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """A round, judged."""

    measures: Sequence[Measure]
    """In the order of the entrants."""
    pay: Sequence[Pay]
    standings: Mapping[tuple[int, int], Standing]
    """Of all that were ever seen, by (uid, generation)."""
    before: Mapping[tuple[int, int], Standing]
    standard: Standard
    usual: float
    """The usual gain, nats per token."""
    middle: float
    """The median norm of the updates that help."""
    accepted: Sequence[Update] = field(repr=False)
    """What goes into the next checkpoint."""


class Judge:
    """Measures updates of one model on one text."""

    def __init__(self, trainee: Trainee, corpus: Corpus, rules: Rules, sample: Sample = Sample()) -> None:
        self._trainee, self._corpus, self._rules, self._sample = trainee, corpus, rules, sample
        self.windows = 0
        """Evaluated so far: what judging cost."""

    def judge(
        self,
        checkpoint: Checkpoint,
        seed: bytes,
        entrants: Sequence[Entrant],
        standings: Mapping[tuple[int, int], Standing],
    ) -> Ruling:
        """Judge a round. `seed` was not known when the answers were signed."""
        measures, middle = self.measure(checkpoint, seed, entrants)
        usual, after = find_usual_gain(measures), dict(standings)
        for entrant, found in zip(entrants, measures, strict=True):
            if entrant.update is not None:
                who = (entrant.uid, entrant.generation)
                after[who] = standings.get(who, Standing()).after(found, usual)
        present = {(entrant.uid, entrant.generation) for entrant in entrants}
        standard = Standard.among(after[who] for who in present if who in after)
        pay = [
            _pay(entrant, found, after.get((entrant.uid, entrant.generation)), standard)
            for entrant, found in zip(entrants, measures, strict=True)
        ]
        accepted = [
            entrant.update
            for entrant, found in zip(entrants, measures, strict=True)
            if entrant.update is not None and _helps(found, after[entrant.uid, entrant.generation], standard)
        ]
        return Ruling(measures, pay, after, standings, standard, usual, middle, accepted)

    def measure(
        self, checkpoint: Checkpoint, seed: bytes, entrants: Sequence[Entrant]
    ) -> tuple[Sequence[Measure], float]:
        """What each does, in order; and the median norm of those that help, which no useless update can move."""
        found, losses = self._measure_gains(checkpoint, seed, entrants)
        norms = {index: _update(entrants[index]).norm for index in losses}
        middle = median_high([norms[i] for i in losses if found[i].gain > 0] or list(norms.values()) or [0.0])
        for index, norm in norms.items():
            size = norm / middle
            flaw = f"the update is {size:.3g} times as large as the median" if size > MOST_NORM else ""
            found[index] = replace(found[index], size=size, flaw=flaw)
            if flaw:
                del losses[index]
        compare = _comparison()
        for members, others in _divide(seed, entrants, found, list(losses), compare):
            peers = [_update(entrants[other]) for other in others if found[other].gain > 0]
            reference = self.refer(checkpoint, seed, peers)
            for index in members:
                proof = self.prove(checkpoint, seed, entrants[index], reference, losses[index])
                found[index] = replace(found[index], proof=proof, peers=reference.peers)
        found = _mark_copies(entrants, found, compare)
        weights = [weigh_round(found[:index] + found[index + 1 :]) for index in range(len(found))]
        return [replace(each, weight=weight) for each, weight in zip(found, weights, strict=True)], middle

    def _measure_gains(
        self, checkpoint: Checkpoint, seed: bytes, entrants: Sequence[Entrant]
    ) -> tuple[list[Measure], dict[int, Losses]]:
        """The gain of each, in order; and losses on the shared windows, by place, of those that can be measured."""
        shared = self._draw_shared(seed)
        base = self._losses(checkpoint.theta, shared)
        found: list[Measure] = []
        known: dict[int, Losses] = {}
        for index, entrant in enumerate(entrants):
            measure = Measure(flaw=entrant.reason)
            if entrant.update is not None and not entrant.update.norm:
                measure = Measure(flaw="the update changes nothing")
            elif entrant.update is not None:
                losses = self._losses(self._moved(checkpoint.theta, entrant.update), shared)
                gain = float((base - losses).mean())
                if math.isfinite(gain):
                    known[index] = losses
                    measure = Measure(gain=gain)
                else:
                    measure = Measure(flaw="the model's loss is not finite with this update")
            found.append(measure)
        return found, known

    def refer(self, checkpoint: Checkpoint, seed: bytes, peers: Collection[Update]) -> Reference:
        """The mean of these updates, added to the checkpoint as one is; without any, the checkpoint itself."""
        theta = checkpoint.theta
        for peer in sorted(peers, key=lambda update: update.digest):
            theta = theta + peer.dense(self._trainee.size) * (HALF / np.float32(len(peers)))
        return Reference(theta, self._losses(theta, self._draw_shared(seed)), sorted(peer.digest for peer in peers))

    def prove(
        self,
        checkpoint: Checkpoint,
        seed: bytes,
        entrant: Entrant,
        reference: Reference,
        losses: Losses,
    ) -> float:
        """How much more it helps on its assigned windows than elsewhere, in standard deviations of chance.

        Args:
            checkpoint: that it started from.
            seed: draws the windows.
            entrant: with an update.
            reference: what it is compared with.
            losses: of its update on the shared windows.

        """
        own = self._draw_assigned(entrant.seed, seed)
        theta = self._moved(checkpoint.theta, _update(entrant))
        return compare_ranks(self._losses(theta, own), self._losses(reference.theta, own), losses, reference.losses)

    def gain(self, checkpoint: Checkpoint, seed: bytes, update: Update) -> tuple[float, Losses]:
        """How much lower the loss is on the shared windows, nats per token; and the losses there, which `prove` takes."""
        shared = self._draw_shared(seed)
        before = self._losses(checkpoint.theta, shared)
        losses = self._losses(self._moved(checkpoint.theta, update), shared)
        return float((before - losses).mean()), losses

    def _draw_shared(self, seed: bytes) -> Windows:
        return self._corpus.draw(seed, "random", self._sample.random, self._rules.context)

    def _draw_assigned(self, assigned: bytes, seed: bytes) -> Windows:
        """A part of the assigned windows, evenly from all batches, which nobody could foresee."""
        rules, draws = self._rules, lottery(derive(seed, "checked", assigned))
        windows = self._corpus.draw(assigned, "assigned", rules.steps * rules.batch, rules.context)
        # Each batch's windows in an order of its own; then the first of every batch, the second of every batch, ...
        turns = [sorted(range(rules.batch), key=lambda _: draws.random()) for _ in range(rules.steps)]
        lots = [
            (place, draws.random(), step * rules.batch + turn[place])
            for step, turn in enumerate(turns)
            for place in range(rules.batch)
        ]
        return windows[[index for _, _, index in sorted(lots)[: self._sample.assigned]]]

    def _moved(self, theta: Vector, update: Update) -> Vector:
        return theta + update.dense(self._trainee.size) * HALF

    def _losses(self, theta: Vector, windows: Windows) -> Losses:
        self.windows += len(windows)
        self._trainee.load(theta)
        return self._trainee.losses(windows)


def compare_ranks(own: Losses, own_reference: Losses, elsewhere: Losses, elsewhere_reference: Losses) -> float:
    """Standard deviations by which losses on own windows are lower than expected from those elsewhere.

    What is expected of a window is read off a straight line through (reference, loss) of the windows elsewhere. The
    Mann-Whitney statistic of what is left, with its normal approximation.
    """
    spread = elsewhere_reference - elsewhere_reference.mean()
    variance = float(spread @ spread)
    slope = float(spread @ (elsewhere - elsewhere.mean())) / variance if variance > 0 else 1.0
    mine, others = slope * own_reference - own, slope * elsewhere_reference - elsewhere
    if not (np.isfinite(mine).all() and np.isfinite(others).all()):
        return 0.0
    n, m = len(mine), len(others)
    above = (mine[:, None] > others[None, :]).sum() + 0.5 * (mine[:, None] == others[None, :]).sum()
    return float((above - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12))


def _pay(entrant: Entrant, found: Measure, standing: Standing | None, standard: Standard) -> Pay:
    if found.flaw or standing is None:
        return Pay(0.0, found.flaw or entrant.reason)
    return price_standing(standing, standard, found)


def _helps(found: Measure, standing: Standing, standard: Standard) -> bool:
    """Whether an update goes into the next checkpoint: with the same weight as every other that does.

    Before anybody is proven every update that lowers the loss does.
    """
    if found.flaw or found.size < LEAST_NORM:
        return False
    if not standard.proof or standing.rounds <= TRIAL_ROUNDS:
        return found.gain > 0
    return standing.proven and standing.mean_proof > NONE_BELOW * standard.proof


def _divide(
    seed: bytes,
    entrants: Sequence[Entrant],
    found: Sequence[Measure],
    places: Sequence[int],
    compare: Callable[[Update, Update], float],
) -> Sequence[tuple[Sequence[int], Sequence[int]]]:
    """Those places in groups, each with the places that it is compared with.

    Two halves by lot, those that help evenly in both; each by itself where few help. What is alike is in one group: a
    copy in the other half would know the windows of its original, and take its proof away.
    """
    family = {place: place for place in places}
    for place in places:
        for other in places:
            if other < place and compare(_update(entrants[other]), _update(entrants[place])) >= COPY:
                mine, theirs = family[place], family[other]
                family = {each: theirs if head == mine else head for each, head in family.items()}
    members: dict[int, list[int]] = {}
    for place, head in family.items():
        members.setdefault(head, []).append(place)

    def lot(alike: Iterable[int]) -> tuple[bool, bytes]:
        least = min(_update(entrants[place]).digest for place in alike)
        return all(found[place].gain <= 0 for place in alike), derive(seed, "half", least)

    drawn = sorted(members.values(), key=lot)
    if sum(any(found[place].gain > 0 for place in alike) for alike in drawn) <= FEW:
        return [(alike, [place for place in places if place not in alike]) for alike in drawn]
    one, two = ([place for alike in drawn[start::2] for place in alike] for start in (0, 1))
    return (one, two), (two, one)


def _comparison() -> Callable[[Update, Update], float]:
    """`Update.cosine`, worked out once for each pair."""
    known: dict[frozenset[str], float] = {}

    def compare(one: Update, other: Update) -> float:
        pair = frozenset((one.digest, other.digest))
        if pair not in known:
            known[pair] = one.cosine(other)
        return known[pair]

    return compare


def _mark_copies(
    entrants: Sequence[Entrant], found: Sequence[Measure], compare: Callable[[Update, Update], float]
) -> list[Measure]:
    """Of updates that are alike, the one that its owner's windows prove is the original: only its owner had them."""
    sound = [index for index, measure in enumerate(found) if not measure.flaw]
    entries = [
        Entry(index, (-round(found[index].proof * 1_000_000), entrants[index].uid), _update(entrants[index]))
        for index in sound
    ]
    copies = find_copies(entries, compare, COPY)
    return [
        replace(
            measure,
            flaw=f"the update is a copy of miner {entrants[copies[index]].uid}'s",
            copied=_update(entrants[copies[index]]).digest,
        )
        if index in copies
        else measure
        for index, measure in enumerate(found)
    ]


def _update(entrant: Entrant) -> Update:
    if entrant.update is None:
        raise SubnetError("An entrant without an update has none to measure.")
    return entrant.update
