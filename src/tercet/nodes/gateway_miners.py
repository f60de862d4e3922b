"""What a gateway remembers of each miner: how quick it was, how often it failed, how busy it is with our calls.

Kept in memory only: a restarted gateway measures anew. Quality is not measured here; it comes from the ledger.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tercet.errors import MinerError, MinerMisbehaved, MinerRefused
from tercet.market import Offer, Price, Taste, Usage, rank, rest_seconds
from tercet.market.route import Dice
from tercet.nodes.buyer import offer_price
from tercet.nodes.directory import MinerEntry

__all__ = ["MinerNotes"]

_SMOOTHING = 0.3
"""How much the newest measurement counts; the rest is history."""
_TYPICAL_TOKENS = 128
"""Latency is compared for answers of at most this many tokens: most end long before their limit."""


@dataclass(slots=True)
class _Pace:
    """Smoothed measurements of one kind of work, in seconds."""

    first: float
    per_token: float

    def expect(self, tokens: int) -> float:
        return self.first + min(tokens, _TYPICAL_TOKENS) * self.per_token

    def learn(self, first: float, per_token: float) -> None:
        self.first += _SMOOTHING * (first - self.first)
        self.per_token += _SMOOTHING * (per_token - self.per_token)


@dataclass(slots=True)
class _Note:
    paces: dict[str, _Pace] = field(default_factory=dict)
    in_flight: int = 0
    failures: int = 0
    rests_until: float = 0.0


class MinerNotes:
    """Notes by (uid, generation): a new holder of a uid starts with a clean sheet."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._notes: dict[tuple[int, int], _Note] = {}

    def _note(self, miner: MinerEntry) -> _Note:
        return self._notes.setdefault((miner.uid, miner.generation), _Note())

    def offer(self, miner: MinerEntry, kind: str, price: Price, limit: Usage) -> Offer:
        """What `miner` offers for a task of this kind and limit, as far as we know."""
        note = self._note(miner)
        pace = note.paces.get(kind)
        return Offer(
            uid=miner.uid,
            price=price.charge(limit),
            quality=min(1.0, max(0.0, miner.share)),
            latency=None if pace is None else pace.expect(limit.completion),
            proven=miner.proven,
            in_flight=note.in_flight,
            resting=max(0.0, note.rests_until - self._clock()),
        )

    def rank(
        self, miners: Iterable[MinerEntry], kind: str, limit: Usage, dice: Dice, taste: Taste | None = None
    ) -> list[tuple[MinerEntry, Price]]:
        """Those of `miners` that have told a price, with it; whom to ask first in front."""
        deals = {miner.uid: (miner, price) for miner in miners if (price := offer_price(miner)) is not None}
        offers = [self.offer(miner, kind, price, limit) for miner, price in deals.values()]
        return [deals[offer.uid] for offer in rank(offers, dice, taste)]

    def started(self, miner: MinerEntry) -> None:
        """A call to it begins."""
        self._note(miner).in_flight += 1

    def ended(self, miner: MinerEntry) -> None:
        """A call to it is over, however it went."""
        self._note(miner).in_flight -= 1

    def succeeded(self, miner: MinerEntry, kind: str, first_seconds: float, total_seconds: float, usage: Usage) -> None:
        """It gave a whole and verified answer."""
        note = self._note(miner)
        per_token = (total_seconds - first_seconds) / max(1, usage.completion)
        note.paces.setdefault(kind, _Pace(first_seconds, per_token)).learn(first_seconds, per_token)
        note.failures, note.rests_until = 0, 0.0

    def failed(self, miner: MinerEntry, *, weight: int = 1, at_least: float = 0.0) -> None:
        """It failed: let it rest, twice as long each time; `weight` failures at once, `at_least` so many seconds.

        Calls that fail while it rests already are the same trouble seen again, and double nothing.
        """
        note, now = self._note(miner), self._clock()
        note.failures = note.failures + weight if now >= note.rests_until else max(note.failures, weight)
        note.rests_until = max(note.rests_until, now + max(at_least, rest_seconds(note.failures)))

    def blame(self, miner: MinerEntry, error: MinerError) -> None:
        """Remember a failure, by its kind: who refuses with a reason did nothing wrong, who cheats rests for long."""
        if isinstance(error, MinerRefused) and (error.retry_after or error.code == "bad_task"):
            self.busy(miner, error.retry_after)
        else:
            self.failed(miner, weight=4 if isinstance(error, MinerMisbehaved) else 1)

    def busy(self, miner: MinerEntry, seconds: float) -> None:
        """It asked to be left alone for a while. No fault."""
        note = self._note(miner)
        note.rests_until = max(note.rests_until, self._clock() + seconds)
