"""Which miner to buy from: a pure ranking by price x measured quality x latency, with bounded exploration.

The score of an offer whose quality is known (a *proven* miner) is

    score = quality ** a / ((1 + price) ** b * (latency * (1 + in_flight)) ** c)

with `quality` its share of the consensus weight (0..1, the best miner has 1), `price` the credit units that this very
task can cost, and `latency` the seconds expected; a miner that is busy with n calls of ours is expected to take n + 1
times as long, so that simultaneous calls spread. A proven miner nobody has timed yet counts as quick as the quickest:
it is tried soon, and then counts as what it is.

The order is: rested proven miners by score, then rested unproven ones by lot (before validators have measured, a quick
cheap answer says nothing, and the quickest of all is a miner that does not work), then miners that rest after failures,
the soonest awake first. Nobody is ever left out, so somebody answers if anybody can.

Exploration: with probability `explore` one other rested miner goes first; half of these draws take an unproven miner
when there is one, the rest a proven runner-up. It never promotes an offer dearer than `dearest` times the first's price,
so that exploring is bounded in money as well as in share.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Dice", "Offer", "Taste", "rank", "rest_seconds", "score"]


class Dice(Protocol):
    """Where chance comes from: `random.Random(seed)` will do, and makes a ranking repeatable."""

    def random(self) -> float:
        """A number in [0, 1)."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What one miner offers for one task, and what is known of it."""

    uid: int
    price: int
    """Credit units the task can cost at most, 0 or more."""
    quality: float
    """Consensus weight over the best miner's, 0 to 1."""
    latency: float | None
    """Seconds expected for the task; None when nobody has timed this miner."""
    proven: bool = True
    """Whether validators have measured it well enough to be paid in full."""
    in_flight: int = 0
    """Our calls it is busy with."""
    resting: float = 0.0
    """Seconds until it is to be tried again after failures; 0 when it may be tried now."""


@dataclass(frozen=True, slots=True)
class Taste:
    """What a buyer cares about: the exponents of the score, and the bounds of exploration."""

    quality: float = 2.0
    price: float = 1.0
    latency: float = 1.0
    explore: float = 0.1
    """Probability that a miner other than the best goes first, 0 to 1."""
    dearest: float = 4.0
    """Exploration passes over offers dearer than this many times the first's price."""


_SHORTEST = 1e-3
"""Seconds. Below a millisecond latency says nothing, and it must not divide by zero."""


def score(offer: Offer, taste: Taste, unknown_latency: float = 1.0) -> float:
    """How good an offer is, higher is better; see the formula above. `unknown_latency` stands in for None."""
    latency = max(_SHORTEST, unknown_latency if offer.latency is None else offer.latency)
    cost = (1 + offer.price) ** taste.price * (latency * (1 + offer.in_flight)) ** taste.latency
    return float(offer.quality**taste.quality / cost)


def rank(offers: Iterable[Offer], dice: Dice, taste: Taste | None = None) -> list[Offer]:
    """All `offers`, the one to try first in front. The order of the input does not matter; equal scores draw lots."""
    taste = taste or Taste()
    lots = [(offer, dice.random()) for offer in sorted(offers, key=lambda offer: offer.uid)]
    quickest = min((offer.latency for offer, _ in lots if offer.latency is not None), default=1.0)

    def place(item: tuple[Offer, float]) -> tuple[float, bool, float, float]:
        offer, lot = item
        return (offer.resting, not offer.proven, -score(offer, taste, quickest) if offer.proven else 0.0, lot)

    order = [offer for offer, _ in sorted(lots, key=place)]
    return _explore(order, dice, taste)


def _explore(order: list[Offer], dice: Dice, taste: Taste) -> list[Offer]:
    """`order`, sometimes with one of the others in front."""
    if dice.random() >= taste.explore:
        return order
    newcomers_turn, lot = dice.random() < 0.5, dice.random()
    others = [offer for offer in order[1:] if not offer.resting and offer.price <= taste.dearest * (1 + order[0].price)]
    chosen = _draw([offer for offer in others if offer.proven != newcomers_turn] or others, lot)
    return order if chosen is None else [chosen, *(offer for offer in order if offer is not chosen)]


def _draw(offers: Sequence[Offer], lot: float) -> Offer | None:
    return offers[int(lot * len(offers))] if offers else None


def rest_seconds(failures: int, shortest: float = 2.0, longest: float = 120.0) -> float:
    """How long a miner rests after `failures` in a row: doubling from `shortest` up to `longest` seconds, 0 after none."""
    if failures <= 0:
        return 0.0
    return float(min(longest, shortest * 2.0 ** min(failures - 1, 30)))
