"""Who plays in the demo, and how fast: the actors, and the pace that two cores can hold for each model.

The figures come from research on the models and from runs: a core writes 38 tokens a second with smol, 10 with small,
6 with large, and checking an answer costs a validator about half of what writing it cost the miner.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

__all__ = ["CAST", "PACES", "VALIDATORS", "Actor", "Kind", "Pace", "measure_crowding", "smaller_than"]

Kind: TypeAlias = Literal["honest", "cheat", "mortal"]


@dataclass(frozen=True, slots=True)
class Actor:
    """One miner of the cast."""

    name: str
    kind: Kind
    story: str
    """What it does; `{model}` and `{smaller}` are filled in."""
    arguments: Sequence[str] = ()
    """Of `tercet mine`, beyond what all miners get."""


CAST = (
    Actor("honest", "honest", "serves {model}, as promised"),
    Actor("honest-slow", "honest", "serves {model}, as promised, on a slower machine", ("--throttle", "{throttle}")),
    Actor("liar", "cheat", "promises {model} and serves {smaller}", ("-o", "behaviour=liar")),
    Actor("cacher", "cheat", "sends canned sentences instead of running {model}", ("-o", "behaviour=cacher")),
    Actor("mortal", "mortal", "serves {model}, as promised, until it is killed half-way"),
)
VALIDATORS = ("validator-1", "validator-2", "validator-3")


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things take with one model on two cores."""

    commit_seconds: int
    reveal_seconds: int
    warm_up_seconds: int
    """Of measuring before the first paid epoch: the first questions also open channels, and all roles are cold."""
    challenges: int
    """To each miner, by each validator, in each epoch."""
    answer_seconds: float
    """How long validators wait for an answer: all miners of the cast write at once on this one machine, also when two
    validators happen to ask in the same moment."""
    buyers: int
    """Requests in flight through the gateway."""
    throttle: float
    """Seconds that the slow miner waits before each answer."""
    ready_seconds: float
    """How long all roles may take to load their models at the same time."""

    def stretched(self, factor: float) -> Pace:
        """The same play on a machine that gives us only a part of its processor."""
        return replace(
            self,
            commit_seconds=round(self.commit_seconds * factor),
            reveal_seconds=round(self.reveal_seconds * factor),
            warm_up_seconds=round(self.warm_up_seconds * factor),
            answer_seconds=self.answer_seconds * factor,
            ready_seconds=self.ready_seconds * factor,
        )

    @property
    def epoch_seconds(self) -> int:
        """The length of an epoch, closing left out."""
        return self.commit_seconds + self.reveal_seconds


PACES: Mapping[str, Pace] = {
    "smol": Pace(28, 6, 12, 1, 30.0, 2, 0.5, 120.0),
    "small": Pace(32, 7, 14, 1, 60.0, 2, 1.0, 180.0),
    "large": Pace(90, 12, 40, 1, 90.0, 2, 2.0, 300.0),
}


def smaller_than(model: str) -> str:
    """What the liar serves when `model` is promised, in words."""
    return {"large": "small", "small": "smol"}.get(model, f"{model} with a third of its layers taken out")


def measure_crowding(seconds: float = 0.4, most: float = 1.5) -> float:
    """How many times longer work takes because others use the processor now: 1 (nobody else) to `most`."""
    cores = os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as threads:
        shares = list(threads.map(_processor_share, [seconds] * cores))
    return min(most, max(1.0, cores / max(0.01, sum(shares))))


def _processor_share(seconds: float) -> float:
    """The part of a core that this thread gets while it works as hard as it can; hashing lets go of Python's lock."""
    block, began, used = bytes(1 << 20), time.perf_counter(), time.thread_time()
    while time.perf_counter() - began < seconds:
        hashlib.sha256(block)
    return (time.thread_time() - used) / (time.perf_counter() - began)
