"""What agents of other frameworks ask in OpenAI's language, read strictly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tercet.errors import CallError
from tercet.market.text import decode_json
from tercet.swarm.gateway.call import Call

__all__ = ["Ask", "read_ask"]

_DEFAULT_TOKENS = 1024


class _Strict(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class _Shape(_Strict):
    json_schema: Annotated[Mapping[str, Any], Field(alias="schema")] = {"type": "object"}


class _Format(_Strict):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _Shape = _Shape()


class _Function(_Strict):
    name: str = Field(min_length=1, max_length=200)
    arguments: str = "{}"


class _ToolCall(_Strict):
    id: str = ""
    type: Literal["function"] = "function"
    function: _Function


class _Message(_Strict):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Sequence[Mapping[str, Any]] | None = None
    tool_calls: Sequence[_ToolCall] | None = None
    tool_call_id: str | None = None
    name: str | None = None


class _ToolBody(_Strict):
    name: str = Field(min_length=1, max_length=200)
    description: str | None = None
    parameters: Mapping[str, Any] | None = None
    strict: bool | None = None


class _Tool(_Strict):
    type: Literal["function"]
    function: _ToolBody


class _StreamOptions(_Strict):
    include_usage: bool = False


class Ask(_Strict):
    """A body of POST /v1/chat/completions, as an agent sends it."""

    model: str = ""
    messages: Sequence[_Message] = Field(min_length=1, max_length=2000)
    max_tokens: int | None = Field(default=None, ge=1, le=1 << 20)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=1 << 20)
    temperature: float | None = Field(default=None, ge=0, le=2)
    seed: int | None = None
    stop: str | Annotated[Sequence[str], Field(max_length=8)] | None = None
    tools: Sequence[_Tool] | None = Field(default=None, max_length=128)
    tool_choice: Any = None
    response_format: _Format | None = None
    n: Literal[1] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None

    def call(self, node: str, task: str, step: str) -> Call:
        """The same for the desk, for whom `node` pays."""
        wanted = self.response_format
        return Call(
            agent=node,
            task=task,
            step=step,
            model=self.model,
            messages=[message.model_dump(exclude_none=True) for message in self.messages],
            max_tokens=self.max_completion_tokens or self.max_tokens or _DEFAULT_TOKENS,
            temperature=self.temperature,
            seed=self.seed,
            schema=None if wanted is None or wanted.type == "text" else wanted.json_schema.json_schema,
            tools=None
            if self.tool_choice == "none" or not self.tools
            else [tool.model_dump(exclude_none=True) for tool in self.tools],
            stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
        )


def read_ask(body: bytes) -> Ask:
    """Read what an agent sent.

    Raises:
        CallError: it is no JSON object (400), or a field is out of range (422); it names the field.

    """
    raw = decode_json(body)
    if not isinstance(raw, dict):
        raise CallError("The body is not a JSON object.", status=400, code="invalid_json")
    try:
        return Ask.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CallError(f"{where}: {first['msg']}.", param=str(first["loc"][0])) from None
