"""What a market's miners and validators agree on, and what one miner is asked in one round."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tercet.errors import TaskError
from tercet.market import Task, Usage

__all__ = ["SIZES", "RoundTask", "Rules", "Shape", "parse_task"]

_HASH = re.compile(r"[0-9a-f]{64}")
_MODEL = re.compile(r"[\w.:-]{1,200}")
_BOUNDS = {
    "steps": (1, 100_000),
    "batch": (1, 4096),
    "context": (8, 8192),
    "fraction": (1, 1024),
    "rank": (0, 4096),
}
_MOST_TOKENS = 1 << 32


@dataclass(frozen=True, slots=True)
class Shape:
    """Of the byte-level model."""

    width: int
    layers: int
    heads: int
    context: int = 64


SIZES = {
    "nano": Shape(48, 2, 4),
    "tiny": Shape(64, 2, 4),
    "small": Shape(96, 3, 4),
    "medium": Shape(192, 4, 6, 128),
    "large": Shape(512, 8, 8, 256),
}
"""By name: 0.07, 0.12, 0.36, 1.9 and 25 million parameters."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is trained, on what, and how much of it in one round. Part of every task, so miners need not be told."""

    model: str = "small"
    """A size of `model.SIZES`, or a factory that miners and validators have installed themselves."""
    corpus: str = ""
    """sha256 of the text, hex."""
    steps: int = 20
    """Inner steps of a round: batches that a miner is assigned."""
    batch: int = 16
    """Windows in a batch."""
    context: int = 64
    """Tokens in a window."""
    fraction: int = 8
    """One value in so many travels."""
    rate: float = 0.7
    """Of the outer step."""
    momentum: float = 0.5
    rank: int = 0
    """Of the low-rank adapters that are trained instead of the model itself; 0 trains all of it."""
    base: str = ""
    """sha256 of the weights under the adapters, hex; empty where the model brings its own."""

    @property
    def tokens(self) -> int:
        """Trained on in one round by one miner."""
        return self.steps * self.batch * self.context

    @property
    def digest(self) -> str:
        """Goes into every checkpoint's name, hex."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class RoundTask:
    """A miner's share of one round."""

    rules: Rules
    round: int
    """Of the checkpoint: outer steps so far."""
    checkpoint: str
    """Digest of what to start from, hex. Where it comes from does not matter: it is checked."""
    seed: bytes
    """32 bytes that draw the assigned windows."""

    def to_json(self) -> Task:
        """As it travels."""
        return {
            "kind": "round",
            "round": self.round,
            "checkpoint": self.checkpoint,
            "seed": self.seed.hex(),
            "rules": asdict(self.rules),
        }

    @property
    def limit(self) -> Usage:
        """What it consumes."""
        return Usage(0, self.rules.tokens)


def parse_task(task: Task) -> RoundTask:
    """Read a stranger's task.

    Raises:
        TaskError: it is none.

    """
    rules = _parse_rules(task.get("rules"))
    number, checkpoint, seed = task.get("round"), task.get("checkpoint"), task.get("seed")
    if task.get("kind") != "round" or type(number) is not int or not 0 <= number < 1 << 31:
        raise TaskError('A training task is {"kind": "round", "round", "checkpoint", "seed", "rules"}.')
    if not _is_hash(checkpoint) or not _is_hash(seed):
        raise TaskError("The task's checkpoint and seed must be 64 hex digits each.")
    return RoundTask(rules, number, str(checkpoint), bytes.fromhex(str(seed)))


def _parse_rules(value: Any) -> Rules:
    if not isinstance(value, Mapping) or set(value) != set(Rules.__dataclass_fields__):
        raise TaskError(f"The task's rules must be {', '.join(Rules.__dataclass_fields__)}.")
    if not isinstance(value["model"], str) or not _MODEL.fullmatch(value["model"]) or not _is_hash(value["corpus"]):
        raise TaskError("The task's rules name no model or no corpus.")
    if value["base"] != "" and not _is_hash(value["base"]):
        raise TaskError("The task's base must be 64 hex digits, or nothing.")
    for name, (least, most) in _BOUNDS.items():
        if type(value[name]) is not int or not least <= value[name] <= most:
            raise TaskError(f"The task's {name} must be a whole number from {least} to {most}.")
    for name in ("rate", "momentum"):
        if type(value[name]) not in (int, float) or not 0 <= value[name] <= 2:
            raise TaskError(f"The task's {name} must be a number from 0 to 2.")
    rules = Rules(**{**value, "rate": float(value["rate"]), "momentum": float(value["momentum"])})
    if rules.tokens > _MOST_TOKENS:
        raise TaskError(f"The task asks for {rules.tokens} tokens, more than {_MOST_TOKENS}.")
    return rules


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and _HASH.fullmatch(value) is not None
