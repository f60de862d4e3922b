"""Miners that cheat, for demonstrations and tests: each does to a judge what a real one would try.

copier    sends again what another miner sent in the round before, out of the store
idle      sends an update that changes nothing
noisy     sends random numbers of the usual size
flipper   trains, and sends the opposite
hoarder   trains as hard as it should, on windows of its own choice
lazy      trains on a quarter of its windows
skimmer   trains on a quarter of each batch
padder    trains on a quarter of its windows, and scales the update up to the usual size
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from tercet.errors import UsageError

if TYPE_CHECKING:  # the names are needed before torch is
    from tercet.subnets.training.compress import Update
    from tercet.subnets.training.data import Corpus
    from tercet.subnets.training.inner import Batches, Learner
    from tercet.subnets.training.model import Vector

__all__ = ["BEHAVIOURS", "Behaviour", "Work", "behave"]

Behaviour: TypeAlias = Literal["honest", "copier", "idle", "noisy", "flipper", "hoarder", "lazy", "skimmer", "padder"]


@dataclass(frozen=True, slots=True)
class Work:
    """What a miner has before it when it answers."""

    theta: Vector = field(repr=False)
    batches: Batches = field(repr=False)
    corpus: Corpus = field(repr=False)
    usual: float = 1.0
    """A norm as others' updates have it."""
    chance: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    """Where a cheat's own draws come from."""
    others: Update | None = None
    """Somebody's update of the round before, where there was one."""


def _honest(learner: Learner, work: Work) -> Update:
    return learner.train(work.theta, work.batches)


def _copier(learner: Learner, work: Work) -> Update:
    return work.others if work.others is not None else _noisy(learner, work)


def _idle(learner: Learner, work: Work) -> Update:
    return learner.codec.pack(np.zeros_like(work.theta))


def _noisy(learner: Learner, work: Work) -> Update:
    noise = np.random.default_rng(int.from_bytes(work.chance)).standard_normal(work.theta.size).astype(np.float32)
    return _scaled(learner, noise, work.usual)


def _flipper(learner: Learner, work: Work) -> Update:
    return learner.send(-learner.improve(work.theta, work.batches))


def _hoarder(learner: Learner, work: Work) -> Update:
    steps, batch, tokens = work.batches.shape
    own = work.corpus.draw(work.chance, "own", steps * batch, tokens - 1)
    return learner.train(work.theta, own.reshape(work.batches.shape))


def _lazy(learner: Learner, work: Work) -> Update:
    return learner.train(work.theta, work.batches[: max(1, len(work.batches) // 4)])


def _skimmer(learner: Learner, work: Work) -> Update:
    return learner.train(work.theta, work.batches[:, : max(1, work.batches.shape[1] // 4)])


def _padder(learner: Learner, work: Work) -> Update:
    change = learner.improve(work.theta, work.batches[: max(1, len(work.batches) // 4)])
    return _scaled(learner, change, work.usual)


def _scaled(learner: Learner, change: Vector, norm: float) -> Update:
    """An update of about that norm."""
    kept = learner.codec.pack(change).norm
    return learner.codec.pack(change * np.float32(norm / kept)) if kept else learner.codec.pack(change)


_BEHAVIOURS: Mapping[str, Callable[[Learner, Work], Update]] = {
    "honest": _honest,
    "copier": _copier,
    "idle": _idle,
    "noisy": _noisy,
    "flipper": _flipper,
    "hoarder": _hoarder,
    "lazy": _lazy,
    "skimmer": _skimmer,
    "padder": _padder,
}
BEHAVIOURS = tuple(_BEHAVIOURS)
"""Every behaviour by name, the honest one first."""


def behave(behaviour: str) -> Callable[[Learner, Work], Update]:
    """How a miner of this behaviour works. Raises `UsageError` for an unknown one."""
    if behaviour not in _BEHAVIOURS:
        raise UsageError(f"No behaviour is called {behaviour!r}. Known: {', '.join(BEHAVIOURS)}.")
    return _BEHAVIOURS[behaviour]
