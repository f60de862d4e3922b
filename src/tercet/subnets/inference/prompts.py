"""The prompts that ship, and tasks drawn from them: a validator's challenge is what a buyer might ask."""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Sequence
from importlib.resources import files

from tercet.market import Task

__all__ = ["draw_chat", "draw_embed", "load_prompts"]

_SYSTEMS = (
    "You are a helpful assistant.",
    "Answer briefly.",
    "You are a patient teacher. Use simple words.",
    "You are a careful programmer.",
    "Reply in plain text, without lists.",
)
_TOKENS = (24, 32, 40, 48, 64)
_TEMPERATURES = (0.2, 0.5, 0.7, 0.7, 0.8, 1.0, 1.0)
"""None is 0: greedy answers are too easy to keep."""


@functools.cache
def load_prompts() -> Sequence[str]:
    """All prompts of `prompts.txt`, one a line."""
    text = (files("tercet.subnets.inference") / "prompts.txt").read_text("utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


def draw_chat(beacon: bytes) -> Task:
    """A chat task, the same for the same beacon."""
    lottery = _lottery(beacon)
    messages = [{"role": "user", "content": lottery.choice(load_prompts())}]
    if lottery.random() < 0.3:
        messages.insert(0, {"role": "system", "content": lottery.choice(_SYSTEMS)})
    return {
        "kind": "chat",
        "messages": messages,
        "max_tokens": lottery.choice(_TOKENS),
        "temperature": lottery.choice(_TEMPERATURES),
        "seed": lottery.randrange(2**31),
        "stop": ["\n\n"] if lottery.random() < 0.1 else [],
    }


def draw_embed(beacon: bytes) -> Task:
    """An embedding task, the same for the same beacon."""
    lottery = _lottery(beacon)
    return {"kind": "embed", "input": lottery.sample(load_prompts(), lottery.randint(1, 4))}


def _lottery(beacon: bytes) -> random.Random:
    return random.Random(hashlib.sha256(b"tercet-challenge/1" + beacon).digest())
