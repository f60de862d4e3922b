"""When a validator does what. Pure: the chain's time comes in, a step goes out.

A validator measures the whole time, not only while the market waits for commits: a miner that works well in one
phase and badly in the other would not be seen otherwise. What it sees after its commit counts for the next epoch.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

__all__ = ["Agenda", "ChainClock", "EpochFacts", "Moments", "Phase", "Step", "Window", "next_step"]


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


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of the chain's time in which miners can be asked."""

    start: float
    end: float
    """The last moment to ask; a window that ends before it starts is over."""
    gap: float = 0.0
    """Seconds that an answer takes: two moments lie so far apart where there is room, so that bursts do not meet."""

    @property
    def over(self) -> bool:
        """Whether nobody can be asked any more."""
        return self.start >= self.end

    def draw(self, count: int, draws: random.Random) -> list[float]:
        """`count` moments, soonest first: evenly at random, no two closer than the gap or half of an even share."""
        length = self.end - self.start
        gap = min(self.gap, length / (2 * max(1, count)))
        room = length - gap * max(0, count - 1)
        return [
            self.start + draw * room + n * gap for n, draw in enumerate(sorted(draws.random() for _ in range(count)))
        ]


@dataclass(slots=True)
class Agenda:
    """Whom to ask when, for one epoch's weights: everybody at once, at a few moments that are drawn once.

    Names that share a machine are asked while it is busy with all of them (docs/decisions/0063-ask-everybody-at-once.md).
    Miners that register later join at the moments that are left. Nobody is asked more often than it may be.
    """

    target: int
    """The epoch whose weights the answers count for."""
    moments: list[float] = field(default_factory=list)
    """Soonest first; drawn when there is somebody to ask."""
    left: dict[tuple[int, int], int] = field(default_factory=dict)
    """How often each (uid, generation) that was planned will still be asked: at the last moments, so that whoever
    misses as much is asked together."""

    def plan(
        self,
        miners: Iterable[tuple[int, int]],
        taken: Mapping[tuple[int, int], int],
        count: int,
        window: Window,
        draws: random.Random,
    ) -> list[tuple[int, int]]:
        """Take in miners that were not planned yet. The first ones have the moments drawn.

        Args:
            miners: (uid, generation) of every registered miner.
            taken: how often each was asked already, before a restart.
            count: questions a miner in one epoch.
            window: what is left of the time; one that is over plans nothing.
            draws: where the randomness comes from.

        Returns:
            Who is new.

        """
        new = [] if window.over else sorted(set(miners) - self.left.keys())
        missing = {miner: max(0, count - taken.get(miner, 0)) for miner in new}
        if new and not self.left:
            self.moments = window.draw(max(missing.values()), draws)
        self.left |= {miner: min(due, len(self.moments)) for miner, due in missing.items()}
        return new

    def due(self, now: float) -> list[tuple[int, int]]:
        """Whom to ask at once, now: take out one moment that has come.

        One at a time: after a turn that came late, what was slept through is not asked in one heap.
        """
        if not self.moments or self.moments[0] > now:
            return []
        asked = sorted(miner for miner, left in self.left.items() if left >= len(self.moments))
        self.moments.pop(0)
        self.left |= {miner: self.left[miner] - 1 for miner in asked}
        return asked


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
