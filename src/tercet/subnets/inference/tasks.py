"""What may be asked: the shapes of tasks and their limits. Strangers' JSON becomes a frozen value here, or a `TaskError`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tercet.errors import TaskError
from tercet.market import Task, Usage

__all__ = ["MAX_TOKENS", "ChatTask", "EmbedTask", "parse_task", "task_limit"]

MAX_TOKENS = 2048
"""Completion tokens of one answer."""
_DEFAULT_TOKENS = 256
_MAX_TEXT = 200_000
"""Characters of all messages or inputs together."""
_MAX_MESSAGES = 256
_MAX_INPUTS = 256
_MAX_STOPS = 4
_ROLES = {"system", "user", "assistant"}
_TEMPLATE_TOKENS = 64
"""What a chat template adds on its own: a default system message, the opening of the assistant's turn."""
_MESSAGE_TOKENS = 16
"""What a chat template adds to a message."""


@dataclass(frozen=True, slots=True)
class ChatTask:
    """A conversation to be continued."""

    messages: Sequence[Mapping[str, str]]
    """Each {"role": system|user|assistant, "content": text}."""
    max_tokens: int
    """1 to `MAX_TOKENS`."""
    temperature: float
    """0 (always the most probable token) to 2."""
    seed: int
    """0 to 2^63 - 1. The same seed and question have the same answer: a buyer who wants variety draws one."""
    stop: Sequence[str]
    """The answer ends before the first of these; at most 4, of 1 to 64 characters."""


@dataclass(frozen=True, slots=True)
class EmbedTask:
    """Texts to be turned into vectors."""

    inputs: Sequence[str]


def parse_task(task: Task) -> ChatTask | EmbedTask:
    """Read a task. Raises `TaskError` with the field that is wrong and what it may be."""
    kind = task.get("kind") if isinstance(task, Mapping) else None
    if kind == "chat":
        return ChatTask(
            messages=_messages(task.get("messages")),
            max_tokens=_integer(task, "max_tokens", _DEFAULT_TOKENS, 1, MAX_TOKENS),
            temperature=_temperature(task.get("temperature")),
            seed=_integer(task, "seed", 0, 0, 2**63 - 1),
            stop=_stops(task.get("stop")),
        )
    if kind == "embed":
        return EmbedTask(_inputs(task.get("input")))
    raise TaskError(f"A task's kind is 'chat' or 'embed', not {_short(kind)}.")


def task_limit(task: Task) -> Usage:
    """The most `task` can consume, without a tokenizer: a token covers at least one byte of the text."""
    parsed = parse_task(task)
    if isinstance(parsed, EmbedTask):
        return Usage(sum(_bytes(text) + 2 for text in parsed.inputs), 0)
    text = sum(_bytes(message["content"]) + _MESSAGE_TOKENS for message in parsed.messages)
    return Usage(text + _TEMPLATE_TOKENS, parsed.max_tokens)


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def _messages(raw: Any) -> Sequence[Mapping[str, str]]:
    if not isinstance(raw, (list, tuple)) or not 1 <= len(raw) <= _MAX_MESSAGES:
        raise TaskError(f"messages is a list of 1 to {_MAX_MESSAGES} messages, not {_short(raw)}.")
    for message in raw:
        role = message.get("role") if isinstance(message, Mapping) else None
        if not isinstance(role, str) or role not in _ROLES:
            raise TaskError(f"A message's role is one of {', '.join(sorted(_ROLES))}; this one is {_short(message)}.")
    texts = _texts([message.get("content") for message in raw], "A message's content")
    return [{"role": message["role"], "content": text} for message, text in zip(raw, texts, strict=True)]


def _inputs(raw: Any) -> Sequence[str]:
    if not isinstance(raw, (list, tuple)) or not 1 <= len(raw) <= _MAX_INPUTS:
        raise TaskError(f"input is a list of 1 to {_MAX_INPUTS} texts, not {_short(raw)}.")
    return _texts(raw, "An input")


def _texts(raw: Sequence[Any], what: str) -> Sequence[str]:
    for text in raw:
        if not isinstance(text, str):
            raise TaskError(f"{what} is a text, not {_short(text)}.")
        if not _encodable(text):
            raise TaskError(f"{what} is not valid Unicode: it has half of a surrogate pair.")
    if sum(map(len, raw)) > _MAX_TEXT:
        raise TaskError(f"The texts have more than {_MAX_TEXT:,} characters together. Send less.")
    return raw


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _integer(task: Task, name: str, default: int, low: int, high: int) -> int:
    value = task.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise TaskError(f"{name} is a whole number from {low} to {high}, not {_short(value)}.")
    return value


def _temperature(raw: Any) -> float:
    if raw is None:
        return 1.0
    if isinstance(raw, bool) or not isinstance(raw, (int, float)) or not 0 <= raw <= 2 or not math.isfinite(raw):
        raise TaskError(f"temperature is a number from 0 to 2, not {_short(raw)}.")
    return float(raw)


def _stops(raw: Any) -> Sequence[str]:
    stops = [] if raw is None else [raw] if isinstance(raw, str) else raw
    if not isinstance(stops, (list, tuple)) or len(stops) > _MAX_STOPS:
        raise TaskError(f"stop is a list of at most {_MAX_STOPS} texts, not {_short(raw)}.")
    for stop in _texts(stops, "A stop"):
        if not 1 <= len(stop) <= 64:
            raise TaskError(f"A stop has 1 to 64 characters, not {len(stop)}.")
    return tuple(stops)


def _short(value: Any) -> str:
    return type(value).__name__ if isinstance(value, (list, tuple, dict)) or value is None else repr(value)[:60]
