"""Thinking on this machine: a shipped model, held to shapes by a grammar, and started again when it dies."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tercet.errors import ThinkingError
from tercet.swarm.gateway import Call, LocalUpstream
from tercet.swarm.gateway.shapes import find_fault

pytestmark = [pytest.mark.model, pytest.mark.slow]

COLOURS = {
    "type": "object",
    "properties": {
        "colours": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "minItems": 2, "maxItems": 2}
    },
    "required": ["colours"],
    "additionalProperties": False,
}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"$ref": "#/$defs/City"}},
                "required": ["city"],
                "additionalProperties": False,
                "$defs": {"City": {"enum": ["Paris", "Rome"]}},
            },
        },
    }
]


def call(text: str = "Name two colours.", **options: Any) -> Call:
    return Call(
        agent="run", messages=[{"role": "user", "content": text}], temperature=0.0, **{"max_tokens": 40, **options}
    )


@pytest.fixture
async def local() -> AsyncIterator[LocalUpstream]:
    upstream = LocalUpstream("smol", context=2048)
    await upstream.open()
    yield upstream
    await upstream.close()


async def test_a_small_model_is_held_to_a_schema_and_to_tools(local: LocalUpstream) -> None:
    """Even 135 million weights answer in shape, as compact JSON; a dead process is started again."""
    completion = await local.complete(call(schema=COLOURS))
    assert find_fault(json.loads(completion.text), COLOURS) == ""
    assert completion.usage.completion < 20
    completion = await local.complete(call("Weather in Rome? Use the tool.", tools=TOOLS, max_tokens=60))
    if completion.tool_calls:
        assert json.loads(completion.tool_calls[0]["function"]["arguments"])["city"] in {"Paris", "Rome"}
    assert completion.receipt == {"name": "local smol"}
    with pytest.raises(ThinkingError, match="cut off after 3 tokens"):
        await local.complete(call(schema=COLOURS, max_tokens=3))
    assert local.pid is not None
    os.kill(local.pid, signal.SIGKILL)
    await asyncio.sleep(0.2)
    assert (await local.complete(call())).text


async def test_a_model_that_cannot_be_had_is_said() -> None:
    """By its name, with what can be done."""
    with pytest.raises(ThinkingError, match="cannot think here"):
        await LocalUpstream("no-such-model").open()
