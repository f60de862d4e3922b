"""Did a miner train on what it was assigned, and does its update help? Losses say, on windows drawn afterwards.

Of each update two things are measured, both at half of it added to the checkpoint:

gain    how much lower the loss gets on windows that are drawn from the whole text, the same for all miners (nats/token)
proof   whether it helps more on the miner's own assigned windows than there. Windows differ a lot in how hard they are,
        so each loss is compared with the one under the mean of the *other* miners' updates, who have not seen these
        windows; what is left is compared by rank. Under no difference it is a standard normal draw, so rounds add up.

A copy, a miner with data of its own and noise have no proof, whatever their gain. One that trains on a part of what it
was assigned has a part of it: ranks count how many windows were learned, not how well. Proof and gain are averaged over
rounds, the older ones counting less. A miner is paid once its proof is above zero with 99 % confidence and above half
of what is usual with 95 %: in proportion to its gain, and less the further its proof stays behind. Nobody lives on the
past: a round with far less proof than the miner's own rounds before is worth nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median, median_high
from typing import Any

import numpy as np
import numpy.typing as npt

from tercet.errors import SubnetError
from tercet.subnets.kit import Entry, derive, find_copies, lottery
from tercet.subnets.training.compress import Update
from tercet.subnets.training.data import Corpus
from tercet.subnets.training.model import Trainee, Vector, Windows
from tercet.subnets.training.outer import Checkpoint
from tercet.subnets.training.tasks import Rules

__all__ = [
    "COPY",
    "Entrant",
    "Judge",
    "Measure",
    "Pay",
    "Ruling",
    "Sample",
    "Standard",
    "Standing",
    "price_standing",
]

Losses = npt.NDArray[np.float64]

COPY = 0.9
"""Cosine from which two updates do not come about independently; honest ones stay below 0.7."""
HALF = np.float32(0.5)
"""Of an update is added to measure it: a lone update goes a little too far, the mean of many does not."""
LEAST_NORM, MOST_NORM = 0.5, 10.0
"""Times the median norm: below nothing is paid for it, above it is no training."""
MEMORY = 0.85
"""What a round counts for beside the one after it."""
CONFIDENCE = 2.326
"""Standard deviations by which a proof must be above zero to count at all: 99 %, one side."""
SURE = 1.645
"""And above `NONE_BELOW` of what is usual, to be paid: 95 %."""
NONE_BELOW, FULL_FROM = 0.5, 0.9
"""Share of the others' proof where pay begins, and from which it is whole."""
LEAST_ROUNDS = 3
"""Before them nothing is proven: luck in one round is cheap for whoever comes under many names."""
TRIAL_ROUNDS = 8
"""A newcomer's rounds without proof in which its updates still go into the model where they help. None is paid for: what
is paid to whoever has shown nothing is paid to every name that somebody invents."""


@dataclass(frozen=True, slots=True)
class Sample:
    """How many windows an update is measured on. More costs more and tells more."""

    assigned: int = 48
    random: int = 40


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of one miner from all its rounds; sums in which older rounds count less."""

    rounds: int = 0
    weight: float = 0.0
    square: float = 0.0
    proof: float = 0.0
    gain: float = 0.0

    def after(self, proof: float, gain: float) -> Standing:
        """With one more round."""
        return Standing(
            self.rounds + 1,
            MEMORY * self.weight + 1,
            MEMORY**2 * self.square + 1,
            MEMORY * self.proof + proof,
            MEMORY * self.gain + gain,
        )

    @property
    def mean_proof(self) -> float:
        """Of a round."""
        return self.proof / self.weight if self.weight else 0.0

    @property
    def mean_gain(self) -> float:
        """Of a round, nats per token."""
        return self.gain / self.weight if self.weight else 0.0

    def surpasses(self, proof: float, deviations: float) -> bool:
        """Whether its mean proof is above that, by so many standard deviations of chance."""
        return (self.mean_proof - proof) * self.weight > deviations * math.sqrt(self.square)

    @property
    def proven(self) -> bool:
        """It trains on what it is assigned, and that helps."""
        return self.rounds >= LEAST_ROUNDS and self.surpasses(0.0, CONFIDENCE) and self.mean_gain > 0

    def to_json(self) -> list[float]:
        """For a file."""
        return [self.rounds, self.weight, self.square, self.proof, self.gain]

    @classmethod
    def from_json(cls, value: Any) -> Standing:
        """Read what `to_json` wrote. Raises `ValueError`."""
        rounds, *sums = (float(part) for part in value)
        if len(sums) != 4 or not all(map(math.isfinite, (rounds, *sums))):
            raise ValueError("A standing is five finite numbers.")
        return cls(int(rounds), *sums)


@dataclass(frozen=True, slots=True)
class Standard:
    """What is usual in a round among those who are proven: what a full score takes."""

    proof: float
    gain: float

    @classmethod
    def among(cls, standings: Iterable[Standing]) -> Standard:
        """The medians; nobody proven: all of nothing."""
        proven = [standing for standing in standings if standing.proven]
        if not proven:
            return cls(0.0, 0.0)
        return cls(median(each.mean_proof for each in proven), median(each.mean_gain for each in proven))


@dataclass(frozen=True, slots=True)
class Pay:
    """What a standing is worth, and why not more."""

    score: float
    reason: str = ""


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
class Measure:
    """What was found of one update in one round."""

    gain: float = 0.0
    proof: float = 0.0
    size: float = 0.0
    """Its norm over the median."""
    flaw: str = ""
    """What makes it worthless at once; empty when nothing does."""
    copied: str = ""
    """Digest of the update that this one copies; empty when it copies none."""
    peers: Sequence[str] = ()
    """Digests of the updates that it was compared with."""


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
        after = dict(standings)
        for entrant, found in zip(entrants, measures, strict=True):
            if entrant.update is not None:
                who = (entrant.uid, entrant.generation)
                after[who] = standings.get(who, Standing()).after(found.proof, found.gain)
        present = {(entrant.uid, entrant.generation) for entrant in entrants}
        standard = Standard.among(after[who] for who in present if who in after)
        pay = [
            _pay(entrant, found, after.get((entrant.uid, entrant.generation)), standard)
            for entrant, found in zip(entrants, measures, strict=True)
        ]
        accepted = [
            entrant.update
            for entrant, found in zip(entrants, measures, strict=True)
            if entrant.update is not None
            and _helps(found, after[entrant.uid, entrant.generation], standard, bool(standard.proof))
        ]
        return Ruling(measures, pay, after, standings, standard, middle, accepted)

    def measure(
        self, checkpoint: Checkpoint, seed: bytes, entrants: Sequence[Entrant]
    ) -> tuple[Sequence[Measure], float]:
        """What each does, in order; and the median norm of those that help, which no useless update can move."""
        shared = self._draw_shared(seed)
        base = self._losses(checkpoint.theta, shared)
        helped: dict[int, tuple[Losses, float]] = {}
        found: list[Measure] = []
        for index, entrant in enumerate(entrants):
            measure = Measure(flaw=entrant.reason)
            if entrant.update is not None and not entrant.update.norm:
                measure = Measure(flaw="the update changes nothing")
            elif entrant.update is not None:
                losses = self._losses(self._moved(checkpoint.theta, entrant.update), shared)
                gain = float((base - losses).mean())
                if math.isfinite(gain):
                    helped[index] = losses, gain
                    measure = Measure(gain=gain)
                else:
                    measure = Measure(flaw="the model's loss is not finite with this update")
            found.append(measure)
        norms = {index: _update(entrants[index]).norm for index in helped}
        usual = [norm for index, norm in norms.items() if helped[index][1] > 0] or list(norms.values())
        middle = median_high(usual) if usual else 0.0
        for index, norm in norms.items():
            size = norm / middle
            flaw = f"the update is {size:.3g} times as large as the median" if size > MOST_NORM else ""
            found[index] = replace(found[index], size=size, flaw=flaw)
            if flaw:
                del helped[index]
        compare = _comparison()
        alike = {
            (index, other)
            for index in helped
            for other in helped
            if other < index and compare(_update(entrants[other]), _update(entrants[index])) >= COPY
        }
        for index, (losses, _) in helped.items():
            peers = [
                other
                for other, (_, gain) in helped.items()
                if gain > 0 and other != index and (max(index, other), min(index, other)) not in alike
            ]
            reference = [_update(entrants[other]) for other in peers]
            proof = self.prove(checkpoint, seed, entrants[index], reference, losses)
            digests = sorted(update.digest for update in reference)
            found[index] = replace(found[index], proof=proof, peers=digests)
        return _mark_copies(entrants, found, compare), middle

    def prove(
        self,
        checkpoint: Checkpoint,
        seed: bytes,
        entrant: Entrant,
        peers: Sequence[Update],
        losses: Losses | None = None,
    ) -> float:
        """How much more it helps on its assigned windows than elsewhere, in standard deviations of chance.

        Args:
            checkpoint: that it started from.
            seed: draws the windows.
            entrant: with an update.
            peers: whose mean it is compared with; without any, the checkpoint itself is.
            losses: of its update on the shared windows, where they are known.

        """
        shared, own = self._draw_shared(seed), self._draw_assigned(entrant.seed, seed)
        theta, reference = self._moved(checkpoint.theta, _update(entrant)), checkpoint.theta
        for peer in sorted(peers, key=lambda update: update.digest):
            reference = reference + peer.dense(self._trainee.size) * (HALF / np.float32(len(peers)))
        elsewhere = self._losses(theta, shared) if losses is None else losses
        return compare_ranks(
            self._losses(theta, own), self._losses(reference, own), elsewhere, self._losses(reference, shared)
        )

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


def price_standing(standing: Standing, standard: Standard, measure: Measure) -> Pay:
    """What a miner's standing earns.

    Args:
        standing: after this round.
        standard: of this round.
        measure: what was found in this round.

    """
    if standing.mean_gain <= 0:
        return Pay(0.0, "your updates do not lower the loss on data drawn from the text")
    if not standing.proven:
        when = "yet: that takes a few rounds" if standing.rounds <= TRIAL_ROUNDS else f"in {standing.rounds} rounds"
        return Pay(0.0, f"your updates do not show that you train on the windows that you are assigned {when}")
    if measure.proof < standing.mean_proof - CONFIDENCE:
        # Whoever stops working would live on its standing for some rounds; an honest miner is this unlucky once in 100.
        return Pay(0.0, "this round shows nothing of what you were assigned, unlike those before")
    share, size = standing.mean_proof / standard.proof, measure.size
    diligence = min(1.0, max(0.0, (share - NONE_BELOW) / (FULL_FROM - NONE_BELOW)))
    effort = min(1.0, max(0.0, (size - LEAST_NORM) / (FULL_FROM - LEAST_NORM)))
    if not standing.surpasses(NONE_BELOW * standard.proof, SURE):
        return Pay(0.0, f"not certain that you train on all of your windows: {share:.0%} of the usual proof")
    score = diligence * effort * min(1.0, standing.mean_gain / standard.gain)
    if score <= 0:
        return Pay(0.0, f"you train on too few of your windows: {share:.0%} of the usual proof, {size:.0%} of the size")
    return Pay(score, "" if score > 0.9 else f"proof {share:.0%} and size {size:.0%} of what is usual")


def _pay(entrant: Entrant, found: Measure, standing: Standing | None, standard: Standard) -> Pay:
    if found.flaw or standing is None:
        return Pay(0.0, found.flaw or entrant.reason)
    return price_standing(standing, standard, found)


def _helps(found: Measure, standing: Standing, standard: Standard, judged: bool) -> bool:
    """Whether an update goes into the next checkpoint: with the same weight as every other that does.

    Before anybody is proven every update that lowers the loss does.
    """
    if found.flaw or found.size < LEAST_NORM:
        return False
    if not judged or standing.rounds <= TRIAL_ROUNDS:
        return found.gain > 0
    return standing.proven and standing.mean_proof > NONE_BELOW * standard.proof


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
) -> Sequence[Measure]:
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
