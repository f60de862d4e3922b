"""Miners that cheat, for demonstrations and tests: each does to a judge what a real one would try.

liar      promises the market's model and serves a smaller one, with that one's honest log-probabilities
cacher    never runs the model: canned sentences in the right tokens, with made-up log-probabilities
replayer  runs the model once for a question, then sends that answer for every other seed, true log-probabilities included
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Literal, TypeAlias

from tercet.errors import UsageError
from tercet.subnets.inference.generate import TextFlow, encode_prompt, generate
from tercet.subnets.inference.gguf import drop_layers
from tercet.subnets.inference.hub import find_model
from tercet.subnets.inference.models import models_directory
from tercet.subnets.inference.pull import Progress
from tercet.subnets.inference.serve import ModelServer
from tercet.subnets.inference.tasks import ChatTask
from tercet.subnets.mechanism import Piece

__all__ = ["BEHAVIOURS", "Answering", "Behaviour", "answering", "served_by_liar"]

Behaviour: TypeAlias = Literal["honest", "liar", "cacher", "replayer"]
BEHAVIOURS: tuple[Behaviour, ...] = ("honest", "liar", "cacher", "replayer")
Answering: TypeAlias = Callable[[ModelServer, ChatTask, str], AsyncIterator[Piece]]
"""From a server, a task and the model's promised name to the pieces of an answer."""

_SMALLER = {"large": "small", "small": "smol"}
_DROPPED = range(12, 16)
"""Layers of smol's 30 that its smaller copy lacks: it still writes sentences."""
_CANNED = (
    "That is a great question. There are many ways to look at it, and the best one depends on what you need. In general, start with the basics, take it step by step, and ask for help when you are not sure how to go on. ",
    "Thank you for asking. Here is a short overview: first, consider your goal; second, compare the options that you have; third, choose the one that fits best and try it in practice before you decide. ",
    "It is important to remember that every situation is different. A good rule is to keep things simple, to check your results twice, and to write down what you have learned for the next time. ",
)


def served_by_liar(promised: str, directory: Path | None, progress: Progress | None = None) -> Path:
    """The file a liar serves instead of `promised`: the next smaller catalogue model, or a thinned-out smol."""
    if promised in _SMALLER:
        return find_model(_SMALLER[promised], directory, progress)
    if promised != "smol":
        raise UsageError(
            f"A liar needs a model of the catalogue to lie about, not {promised!r}. Use smol, small or large."
        )
    thin = (directory or models_directory()) / "smollm2-135m-thin.gguf"
    source = find_model("smol", directory, progress)
    if not thin.exists():
        drop_layers(source, thin, _DROPPED)
    return thin


def answering(behaviour: Behaviour) -> Answering:
    """How a miner of this behaviour answers chat tasks."""
    if behaviour == "cacher":
        return _canned
    return _Replay() if behaviour == "replayer" else generate


async def _canned(server: ModelServer, task: ChatTask, model: str) -> AsyncIterator[Piece]:
    """A sentence that fits every question a little, padded to the length asked for."""
    prompt = await encode_prompt(server, task)
    lottery = random.Random(hashlib.sha256(_question(task)).digest())
    text = lottery.choice(_CANNED)
    tokens = (await server.encode(text, special=False) * (1 + task.max_tokens // 8))[: task.max_tokens]
    flow = TextFlow(task.stop)
    said = flow.feed((await server.decode(tokens)).encode())
    pairs = [[token, round(-(lottery.random() ** 3) * 4, 4)] for token in tokens]
    usage = {"prompt": len(prompt), "completion": len(tokens)}
    yield {"text": said + flow.finish(), "tokens": pairs, "finish": "length", "usage": usage, "model": model}


class _Replay:
    """Keeps the first answer to every question."""

    def __init__(self) -> None:
        self._kept: dict[bytes, list[Piece]] = {}

    async def __call__(self, server: ModelServer, task: ChatTask, model: str) -> AsyncIterator[Piece]:
        kept = self._kept.get(_question(task))
        if kept is None:
            kept = [piece async for piece in generate(server, task, model)]
            self._kept[_question(task)] = kept
        for piece in kept:
            yield piece


def _question(task: ChatTask) -> bytes:
    """What a cache would use as its key: all but the seed."""
    return json.dumps([list(task.messages), task.max_tokens, task.temperature, list(task.stop)]).encode()
