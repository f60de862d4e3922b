"""What a miner's rounds add up to, and what that earns. Knows numbers, not models: an auditor prices the same way.

A round counts for as much as it tells. While the model learns which bytes are frequent, all windows teach the same and
proofs are small whatever a miner does: what the others prove in a round is its weight. Gains shrink as the model gets
better, so they are counted in what was usual in their round: whoever came late is measured by the rounds it was in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

__all__ = [
    "LEAST_GAIN",
    "LEAST_NORM",
    "MOST_NORM",
    "NONE_BELOW",
    "TRIAL_ROUNDS",
    "Measure",
    "Pay",
    "Standard",
    "Standing",
    "find_usual_gain",
    "price_standing",
    "weigh_round",
]

LEAST_NORM, MOST_NORM = 0.5, 10.0
"""Times the median norm: below nothing is paid for it, above it is no training."""
MEMORY = 0.85
"""What a round counts for beside the one after it."""
CONFIDENCE = 2.326
"""Standard deviations by which a proof must be above zero to count at all: 99 %, one side."""
SURE = 1.751
"""And above `NONE_BELOW` of what is usual, to be paid: 96 %."""
NONE_BELOW, FULL_FROM = 0.5, 0.9
"""Share of the others' proof where pay begins, and from which it is whole."""
LEAST_ROUNDS = 3
"""Before them nothing is proven: luck in one round is cheap for whoever comes under many names."""
TRIAL_ROUNDS = 8
"""A newcomer's rounds without proof in which its updates still go into the model where they help. None is paid for: what
is paid to whoever has shown nothing is paid to every name that somebody invents."""
LEAST_WEIGHT = 0.3
"""Of a round in which nobody proves anything."""
LEAST_GAIN = 1e-6
"""Nats per token: less is no gain that others could be measured by."""


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
    weight: float = 1.0
    """What the round counts for in this miner's standing: `weigh_round`."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of one miner from all its rounds; sums in which older rounds count less."""

    rounds: int = 0
    weight: float = 0.0
    square: float = 0.0
    proof: float = 0.0
    gain: float = 0.0

    def after(self, measure: Measure, usual: float) -> Standing:
        """With one more round, in which a gain of `usual` was usual."""
        weight = measure.weight
        return Standing(
            self.rounds + 1,
            MEMORY * self.weight + weight,
            MEMORY**2 * self.square + weight**2,
            MEMORY * self.proof + weight * measure.proof,
            MEMORY * self.gain + weight * measure.gain / usual,
        )

    @property
    def mean_proof(self) -> float:
        """Of a round."""
        return self.proof / self.weight if self.weight else 0.0

    @property
    def mean_gain(self) -> float:
        """Of a round, times what was usual in it."""
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


def weigh_round(others: Iterable[Measure]) -> float:
    """What a round counts for, by what all but the miner itself prove in it: the mean of the better half.

    A miner's own luck has no part in it, and useless updates little. Nobody else there: one.
    """
    proofs = sorted((each.proof for each in others if each.gain > 0 and not each.flaw), reverse=True)
    return max(LEAST_WEIGHT, fmean(proofs[: max(1, len(proofs) // 2)])) if proofs else 1.0


def find_usual_gain(measures: Iterable[Measure]) -> float:
    """The median size of a gain in a round, nats per token, above zero: what gains of that round are counted in."""
    gains = [abs(each.gain) for each in measures if not each.flaw and each.size >= LEAST_NORM]
    return max(LEAST_GAIN, median(gains)) if gains else 1.0


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
