"""How an engine's messages become the dicts that OpenAI's API has.

In two forms: with tool calls, for models that make them, and as plain talk, for models that write JSON at best.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextContent,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from tercet.errors import UsageError

__all__ = ["Message", "dialogue", "plain_dialogue", "tool_action"]

Message = Mapping[str, Any]


def dialogue(system: Sequence[str], messages: Sequence[ModelMessage]) -> list[Message]:
    """With tool calls, and answers that name theirs. `system` comes first, then the history."""
    found: list[Message] = []
    for message in messages:
        if isinstance(message, ModelResponse):
            found.append(_answer(message))
        else:
            found += [_asked(part) for part in message.parts]
    return _opened(system, found)


def plain_dialogue(system: Sequence[str], messages: Sequence[ModelMessage]) -> list[Message]:
    """As talk between `user` and `assistant` in turn: tool calls are the JSON that made them, results are told."""
    found: list[Message] = []
    for message in messages:
        if isinstance(message, ModelResponse):
            found.append({"role": "assistant", "content": "\n".join(_said(message))})
        else:
            found += [_told(part) for part in message.parts]
    return _in_turn(_opened(system, found))


def tool_action(name: str, arguments: object) -> dict[str, Any]:
    """What a model writes that cannot call tools, to have one called."""
    return {"tool": name, "arguments": arguments}


def _answer(message: ModelResponse) -> Message:
    calls = [
        {
            "id": part.tool_call_id,
            "type": "function",
            "function": {"name": part.tool_name, "arguments": part.args_as_json_str()},
        }
        for part in message.parts
        if isinstance(part, ToolCallPart)
    ]
    text = "\n\n".join(part.content for part in message.parts if isinstance(part, TextPart))
    answer: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        answer["tool_calls"] = calls
    return answer


def _said(message: ModelResponse) -> Iterator[str]:
    for part in message.parts:
        if isinstance(part, TextPart):
            yield part.content
        elif isinstance(part, ToolCallPart):
            yield json.dumps(tool_action(part.tool_name, part.args_as_dict()), ensure_ascii=False)


def _asked(part: object) -> Message:
    if isinstance(part, SystemPromptPart):
        return {"role": "system", "content": part.content}
    if isinstance(part, UserPromptPart):
        return {"role": "user", "content": _text(part)}
    if isinstance(part, ToolReturnPart):
        return {"role": "tool", "tool_call_id": part.tool_call_id, "content": part.model_response_str()}
    raise UsageError(
        f"A model here is told texts and results of tools, not {type(part).__name__}. Ask it through an agent, which prepares messages."
    )


def _told(part: object) -> Message:
    if isinstance(part, ToolReturnPart):
        return {"role": "user", "content": f"Result of {part.tool_name}:\n{part.model_response_str()}"}
    return _asked(part)


def _text(part: UserPromptPart) -> str:
    if isinstance(part.content, str):
        return part.content
    texts = [
        item if isinstance(item, str) else item.content for item in part.content if isinstance(item, str | TextContent)
    ]
    if len(texts) != len(part.content):
        raise UsageError("A model here reads text only. Put the file into the workspace and name its path.")
    return "\n\n".join(texts)


def _opened(system: Sequence[str], messages: list[Message]) -> list[Message]:
    """One system message at the start; templates of small models know no second one."""
    texts = list(system)
    while messages and messages[0]["role"] == "system":
        texts.append(messages.pop(0)["content"])
    return [{"role": "system", "content": "\n\n".join(texts)}, *messages] if texts else messages


def _in_turn(messages: Sequence[Message]) -> list[Message]:
    turns: list[Message] = []
    for message in messages:
        if turns and turns[-1]["role"] == message["role"]:
            turns[-1] = {**message, "content": f"{turns[-1]['content']}\n\n{message['content']}"}
        else:
            turns.append(message)
    return turns


def last_instructions(messages: Sequence[ModelMessage]) -> str:
    """What the newest request is told to go by, where no agent prepared it."""
    texts = (message.instructions for message in reversed(messages) if isinstance(message, ModelRequest))
    return next((text for text in texts if text), "")
