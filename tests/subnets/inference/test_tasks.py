"""A stranger's task becomes a frozen value, or an error that names the field."""

from __future__ import annotations

from typing import Any

import pytest

from tercet.errors import TaskError
from tercet.subnets.inference.tasks import ChatTask, EmbedTask, parse_task, task_limit

CHAT = {"kind": "chat", "messages": [{"role": "user", "content": "Hello"}]}


def test_defaults_are_those_of_ordinary_clients() -> None:
    """256 tokens, temperature 1, no stop, seed 0."""
    task = parse_task(CHAT)
    assert isinstance(task, ChatTask)
    assert (task.max_tokens, task.temperature, task.seed, task.stop) == (256, 1.0, 0, ())


def test_nulls_count_as_absent_and_one_stop_may_be_a_text() -> None:
    """As OpenAI clients send them."""
    task = parse_task({**CHAT, "max_tokens": None, "temperature": None, "seed": None, "stop": "END"})
    assert isinstance(task, ChatTask)
    assert task.stop == ("END",)
    assert task.max_tokens == 256


def test_the_limit_is_an_upper_bound_without_a_tokenizer() -> None:
    """Bytes, not characters: an emoji may be four tokens."""
    limit = task_limit({**CHAT, "messages": [{"role": "user", "content": "😀" * 10}], "max_tokens": 5})
    assert limit.prompt >= 40
    assert limit.completion == 5
    assert task_limit({"kind": "embed", "input": ["ab", "c"]}).prompt == 7


WRONG: dict[str, Any] = {
    "kind": {"kind": "paint"},
    "no messages": {"kind": "chat"},
    "empty messages": {**CHAT, "messages": []},
    "messages of another type": {**CHAT, "messages": "Hello"},
    "unknown role": {**CHAT, "messages": [{"role": "nobody", "content": "x"}]},
    "unhashable role": {**CHAT, "messages": [{"role": [], "content": "x"}]},
    "content not a text": {**CHAT, "messages": [{"role": "user", "content": 5}]},
    "half a surrogate": {**CHAT, "messages": [{"role": "user", "content": "\ud800"}]},
    "too much text": {**CHAT, "messages": [{"role": "user", "content": "x" * 200_001}]},
    "no tokens": {**CHAT, "max_tokens": 0},
    "too many tokens": {**CHAT, "max_tokens": 10**9},
    "tokens true": {**CHAT, "max_tokens": True},
    "cold": {**CHAT, "temperature": -0.1},
    "hot": {**CHAT, "temperature": 2.1},
    "not a number": {**CHAT, "temperature": float("nan")},
    "negative seed": {**CHAT, "seed": -1},
    "fraction of a seed": {**CHAT, "seed": 1.5},
    "many stops": {**CHAT, "stop": list("abcde")},
    "empty stop": {**CHAT, "stop": [""]},
    "no inputs": {"kind": "embed", "input": []},
    "input not a text": {"kind": "embed", "input": [1]},
    "not an object": ["chat"],
}


@pytest.mark.parametrize("task", WRONG.values(), ids=WRONG)
def test_a_wrong_task_is_refused(task: Any) -> None:
    """With what the field may be."""
    with pytest.raises(TaskError, match=r"\."):
        parse_task(task)


def test_an_embedding_task_is_its_texts() -> None:
    """Nothing else in it."""
    assert parse_task({"kind": "embed", "input": ["a", "b"]}) == EmbedTask(["a", "b"])
