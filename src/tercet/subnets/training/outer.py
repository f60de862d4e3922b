"""From the updates of a round to the next checkpoint: the same bits on every machine.

The gated mean of the updates, each cut down to at most twice the median norm, then one step with Nesterov momentum, as
in DiLoCo. All of it is float32 arithmetic value by value in a fixed order, so two validators that accept the same
updates hold the same model, and whoever has the updates can compute it again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from tercet.subnets.training.compress import Update
from tercet.subnets.training.model import Vector

__all__ = ["CLIP", "Checkpoint", "Outer", "clip_factor", "step"]

CLIP = 2.0
"""Times the median norm that an update may have before it is cut down."""


@dataclass(frozen=True, slots=True)
class Outer:
    """How the outer step is taken; a part of the market's rules."""

    rate: float = 0.7
    momentum: float = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """Where the training stands."""

    round: int
    """Outer steps so far."""
    theta: Vector = field(repr=False)
    momentum: Vector = field(repr=False)
    rules: str = ""
    """Digest of the rules that it was trained by."""
    digest: str = field(init=False)
    """What it is known by, hex: of the values, not of a file that holds them."""

    def __post_init__(self) -> None:
        """Digest it once: it is asked for at every turn, and the values do not change."""
        state = hashlib.sha256(f"tercet/training/1\n{self.rules}\n{self.round}\n{len(self.theta)}\n".encode())
        state.update(np.ascontiguousarray(self.theta, "<f4").data)
        state.update(np.ascontiguousarray(self.momentum, "<f4").data)
        object.__setattr__(self, "digest", state.hexdigest())

    @classmethod
    def begin(cls, theta: Vector, rules: str = "") -> Checkpoint:
        """Round 0."""
        return cls(0, theta, np.zeros_like(theta), rules)


def clip_factor(norm: float, median_norm: float) -> np.float32:
    """What an update is multiplied by so that its norm is at most `CLIP` times the median."""
    limit = CLIP * median_norm
    return np.float32(1.0 if norm <= limit or not norm else limit / norm)


def step(checkpoint: Checkpoint, updates: Iterable[Update], outer: Outer) -> Checkpoint:
    """The next checkpoint. The order and repetition of updates make no difference; without any, only the round moves."""
    accepted = _in_order(updates)
    if not accepted:
        return Checkpoint(checkpoint.round + 1, checkpoint.theta, checkpoint.momentum, checkpoint.rules)
    middle = median(update.norm for update in accepted)
    total = np.zeros_like(checkpoint.theta)
    for update in accepted:
        total[update.kept] += clip_factor(update.norm, middle) * update.values
    mean: Vector = np.divide(total, np.float32(len(accepted)), dtype=np.float32)
    kept, rate = np.float32(outer.momentum), np.float32(outer.rate)
    momentum = np.add(np.multiply(kept, checkpoint.momentum, dtype=np.float32), mean, dtype=np.float32)
    ahead = np.add(mean, np.multiply(kept, momentum, dtype=np.float32), dtype=np.float32)
    theta = np.add(checkpoint.theta, np.multiply(rate, ahead, dtype=np.float32), dtype=np.float32)
    assert math.isfinite(float(np.abs(theta).max()))
    return Checkpoint(checkpoint.round + 1, theta, momentum, checkpoint.rules)


def _in_order(updates: Iterable[Update]) -> Sequence[Update]:
    by_digest = {update.digest: update for update in updates}
    return [by_digest[digest] for digest in sorted(by_digest)]
