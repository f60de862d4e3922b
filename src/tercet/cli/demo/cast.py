"""Who plays in the demo, and how fast: the actors, and the pace that two cores can hold for each model.

The figures come from research on the models and from runs: a core writes 38 tokens a second with smol, 10 with small,
6 with large, and checking an answer costs a validator about half of what writing it cost the miner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["CAST", "PACES", "VALIDATORS", "Actor", "Kind", "Pace", "smaller_than"]

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
    """How long validators wait for an answer."""
    buyers: int
    """Requests in flight through the gateway."""
    throttle: float
    """Seconds that the slow miner waits before each answer."""
    ready_seconds: float
    """How long all roles may take to load their models at the same time."""

    @property
    def epoch_seconds(self) -> int:
        """The length of an epoch, closing left out."""
        return self.commit_seconds + self.reveal_seconds


PACES: Mapping[str, Pace] = {
    "smol": Pace(28, 6, 12, 1, 20.0, 2, 0.5, 120.0),
    "small": Pace(36, 8, 18, 1, 30.0, 2, 1.0, 180.0),
    "large": Pace(90, 12, 40, 1, 60.0, 2, 2.0, 300.0),
}


def smaller_than(model: str) -> str:
    """What the liar serves when `model` is promised, in words."""
    return {"large": "small", "small": "smol"}.get(model, f"{model} with a third of its layers taken out")
