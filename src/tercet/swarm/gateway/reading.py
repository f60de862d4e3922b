"""Answers in OpenAI's shape, read from whoever sent them: nothing is taken that such an answer cannot be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tercet.errors import ThinkingError
from tercet.market import Price, Usage
from tercet.swarm.gateway.call import Call, Completion

__all__ = ["read_completion"]


class _Strange(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Function(_Strange):
    name: str = Field(min_length=1, max_length=200)
    arguments: str = Field(default="{}", max_length=1 << 20)


class _ToolCall(_Strange):
    id: str = Field(default="", max_length=200)
    function: _Function


class _Message(_Strange):
    content: str | None = None
    tool_calls: Sequence[_ToolCall] | None = Field(default=None, max_length=64)


class _Choice(_Strange):
    message: _Message
    finish_reason: str | None = None


class _Usage(_Strange):
    prompt_tokens: int = Field(default=0, ge=0)
    completion_tokens: int = Field(default=0, ge=0)


class _Price(_Strange):
    per_request: int = Field(ge=0, lt=2**63)
    prompt_per_1k: int = Field(ge=0, lt=2**63)
    completion_per_1k: int = Field(ge=0, lt=2**63)


class _Tercet(_Strange):
    receipt: str = Field(max_length=200)
    miner: int | None = None
    operator: str | None = Field(default=None, max_length=100)
    cost: int = Field(ge=0, lt=2**63)
    price: _Price | None = None


class _Body(_Strange):
    choices: Sequence[_Choice] = Field(min_length=1, max_length=16)
    usage: _Usage | None = None
    tercet: _Tercet | None = None


def read_completion(raw: Mapping[str, Any], call: Call, name: str) -> Completion:
    """Read a stranger's answer; usage that no such answer can have is cut down to what it can.

    Raises:
        ThinkingError: it is not in OpenAI's shape, or empty.

    """
    try:
        body = _Body.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ThinkingError(f"{name} answered junk: {where}: {first['msg']}.", unsure=True) from None
    choice, limit = body.choices[0], call.limit
    text = _encodable(choice.message.content or "")
    calls = tuple(_tool_call(place, each) for place, each in enumerate(choice.message.tool_calls or ()))
    told = body.usage or _Usage(prompt_tokens=limit.prompt // 4, completion_tokens=len(text) // 4)
    usage = Usage(min(told.prompt_tokens, limit.prompt), min(told.completion_tokens, limit.completion))
    receipt: dict[str, Any] = {"name": name}
    if body.tercet is not None:
        receipt |= {"receipt": body.tercet.receipt, "miner": body.tercet.miner, "operator": body.tercet.operator}
    finish = choice.finish_reason if choice.finish_reason in ("stop", "length", "tool_calls") else "stop"
    return Completion(
        text=text,
        tool_calls=calls,
        finish="tool_calls" if calls else str(finish),
        usage=usage,
        charged=None if body.tercet is None else body.tercet.cost,
        price=_price(body.tercet),
        receipt=receipt,
    )


def _price(told: _Tercet | None) -> Price | None:
    return None if told is None or told.price is None else Price(**told.price.model_dump())


def _tool_call(place: int, call: _ToolCall) -> dict[str, Any]:
    function = {"name": _encodable(call.function.name), "arguments": _encodable(call.function.arguments)}
    return {"id": _encodable(call.id) or f"call_{place}", "type": "function", "function": function}


def _encodable(text: str) -> str:
    """Half a character, which JSON can carry and nothing else can, becomes a question mark."""
    return text.encode(errors="replace").decode()
