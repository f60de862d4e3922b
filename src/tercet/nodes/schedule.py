"""When a validator does what. Pure: the chain's time comes in, a step goes out.

A validator measures the whole time, not only while the market waits for commits: a miner that works well in one
phase and badly in the other would not be seen otherwise. What it sees after its commit counts for the next epoch.
"""

from __future__ import annotations

import bisect
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

__all__ = ["Agenda", "ChainClock", "EpochFacts", "Moments", "Phase", "Step", "next_step"]


class Phase(Enum):
    """The phases of an epoch, as the contract numbers them."""

    COMMIT = 0
    REVEAL = 1
    OVER = 2
    """The reveal phase is past: anybody may close."""
    CLOSING = 3
    ENDED = 4
    """The market is wound down: there is no further epoch."""


@dataclass(frozen=True, slots=True)
class EpochFacts:
    """Where the market and this validator stand. All times are the chain's, in Unix seconds."""

    epoch: int
    phase: Phase
    now: float
    started_at: float
    commit_ends: float
    reveal_ends: float
    committed: bool
    """Whether this validator's commit of this epoch stands on chain."""
    revealed: bool


@dataclass(frozen=True, slots=True)
class Moments:
    """The moments that one validator picks in one epoch: its own, so that not all come at once."""

    measure_ends: float
    """The last moment to ask for this epoch."""
    commit_at: float
    reveal_at: float
    close_at: float

    @classmethod
    def draw(cls, facts: EpochFacts, margin: float, tail: float, draws: random.Random) -> Moments:
        """Pick them.

        Args:
            facts: of the epoch.
            margin: seconds before the commit phase ends by which the commit is on its way, at the latest
                half of it later.
            tail: seconds that an answer takes: nothing is asked so late that it would not count.
            draws: where the randomness comes from.

        """
        commit_at = facts.commit_ends - margin * draws.uniform(0.5, 1.0)
        reveal_seconds = facts.reveal_ends - facts.commit_ends
        return cls(
            measure_ends=facts.commit_ends - margin - tail,
            commit_at=commit_at,
            # The first half: a lost transaction can be sent again.
            reveal_at=facts.commit_ends + reveal_seconds * draws.uniform(0.05, 0.4),
            # Whoever closes first pays the gas; the others find it done.
            close_at=facts.reveal_ends + draws.uniform(0.0, min(3.0, reveal_seconds)),
        )


class Step(Enum):
    """What to do next besides measuring."""

    WAIT = "wait"
    COMMIT = "commit"
    REVEAL = "reveal"
    CLOSE = "close"
    STOP = "stop"


def next_step(facts: EpochFacts, moments: Moments) -> Step:
    """The one step that is due."""
    match facts.phase:
        case Phase.COMMIT if not facts.committed and facts.now >= moments.commit_at:
            return Step.COMMIT
        case Phase.REVEAL if facts.committed and not facts.revealed and facts.now >= moments.reveal_at:
            return Step.REVEAL
        case Phase.OVER | Phase.CLOSING if facts.now >= moments.close_at:
            return Step.CLOSE
        case Phase.ENDED:
            return Step.STOP
    return Step.WAIT


@dataclass(slots=True)
class Agenda:
    """Whom to ask when, for one epoch's weights. Grows as miners register; never asks one tenant twice too often."""

    target: int
    """The epoch whose weights the answers count for."""
    moments: list[tuple[float, tuple[int, int]]] = field(default_factory=list)
    """(when, (uid, generation)), soonest first."""
    planned: set[tuple[int, int]] = field(default_factory=set)

    def plan(
        self,
        miners: Iterable[tuple[int, int]],
        taken: Mapping[tuple[int, int], int],
        count: int,
        window: tuple[float, float],
        draws: random.Random,
    ) -> list[tuple[int, int]]:
        """Spread what is missing of `count` questions to each miner not yet planned evenly at random over `window`.

        Args:
            miners: (uid, generation) of every registered miner.
            taken: how often each was asked already, before a restart.
            count: questions a miner in one epoch.
            window: from when to when; a window that is over plans nothing.
            draws: where the randomness comes from.

        Returns:
            Who is new.

        """
        start, end = window
        new = sorted(set(miners) - self.planned) if start < end else []
        for miner in new:
            self.planned.add(miner)
            for _ in range(count - taken.get(miner, 0)):
                bisect.insort(self.moments, (draws.uniform(start, end), miner))
        return new

    def due(self, now: float) -> list[tuple[int, int]]:
        """Take out whose moment has come."""
        cut = bisect.bisect_right(self.moments, now, key=lambda moment: moment[0])
        taken, self.moments = self.moments[:cut], self.moments[cut:]
        return [miner for _, miner in taken]


@dataclass(slots=True)
class ChainClock:
    """The chain's time between two looks at it. A chain tells whole seconds; this keeps the finest bound seen."""

    offset: float | None = None

    def observe(self, chain_seconds: int, local_seconds: float) -> float:
        """Take in what the chain said just now; the chain's time as a fraction.

        Args:
            chain_seconds: timestamp that a block would get now, floored.
            local_seconds: of a clock that never jumps; only differences count.

        """
        seen = chain_seconds - local_seconds
        # A floored time is late by up to a second, so the largest offset is the truest. Much less than that: the
        # chain was restarted and has forgotten its time travel.
        if self.offset is None or seen > self.offset or seen < self.offset - 60:
            self.offset = seen
        return local_seconds + self.offset
