"""Miners that cheat, for demonstrations and tests: each does to a judge what a real one would try.

guesser   a label at random for every item, said with confidence
constant  the same label for every item
copycat   another miner's answers, a little later, one in ten of them changed so that it does not show
hunter    does the work only for items that it has seen before, since gold comes back, and guesses the rest
spammer   answers at once, without a look, as if it were sure
"""

from __future__ import annotations

import asyncio
import random
from typing import Literal, Protocol, TypeAlias

import numpy as np

from tercet.subnets.labelling.skills import Floats, Votes
from tercet.subnets.labelling.tasks import Batch

__all__ = ["BEHAVIOURS", "Behaviour", "Rogue", "Worker"]

Behaviour: TypeAlias = Literal["honest", "guesser", "constant", "copycat", "hunter", "spammer"]
BEHAVIOURS: tuple[Behaviour, ...] = ("honest", "guesser", "constant", "copycat", "hunter", "spammer")

_LATER_SECONDS = 0.5
_CHANGED = 0.1


class Worker(Protocol):
    """Whoever does honest work: a model, blocking."""

    def check(self, batch: Batch) -> None:
        """Refuse what it cannot do."""

    def label(self, batch: Batch) -> tuple[Votes, Floats]:
        """Votes and confidence."""


class Rogue:
    """A cheat with an honest worker at hand, whose work it spares itself where it can."""

    def __init__(self, behaviour: Behaviour, worker: Worker, seed: int = 0) -> None:
        """The worker is the victim when the rogue is a copycat."""
        self._behaviour, self._worker = behaviour, worker
        self._draws = random.Random(seed)
        self._seen: set[bytes] = set()

    async def label(self, batch: Batch) -> tuple[Votes, Floats]:
        """Votes and confidence, by the rogue's rule."""
        count, classes = len(batch.items), len(batch.labels)
        guesses = np.array([self._draws.randrange(classes) for _ in range(count)])
        sure = np.full(count, 0.95)
        match self._behaviour:
            case "constant":
                return np.full(count, self._draws.randrange(classes)), sure
            case "spammer":
                return guesses, np.ones(count)
            case "copycat":
                votes, confidence = await asyncio.to_thread(self._worker.label, batch)
                await asyncio.sleep(_LATER_SECONDS)
                changed = np.array([self._draws.random() < _CHANGED for _ in range(count)])
                return np.where(changed, guesses, votes), confidence
            case "hunter":
                votes, confidence = await asyncio.to_thread(self._worker.label, batch)
                back = np.array([item.digest in self._seen for item in batch.items])
                self._seen |= {item.digest for item in batch.items}
                return np.where(back, votes, guesses), np.where(back, confidence, sure)
        return guesses, sure
