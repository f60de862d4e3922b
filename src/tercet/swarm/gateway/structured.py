"""JSON answers and tool calls from models that only write text: what they are told, and how their text is read.

A model that can be held to a grammar gets one (`build_grammar`), others a sentence (`instruct`); both answers are read by
`read_answer`. A tool is called by `{"tool": name, "arguments": {...}}`; otherwise the answer is `{"answer": text}`, or
what the schema says.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tercet.market.text import decode_json
from tercet.swarm.gateway.call import Call, Completion
from tercet.swarm.gateway.shapes import find_fault

__all__ = ["build_grammar", "flatten", "instruct", "is_structured", "read_answer"]

_COMPACT = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}


def is_structured(call: Call) -> bool:
    """Whether plain text will not do."""
    return call.schema is not None or bool(call.tools)


def flatten(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The conversation as plain texts: tool calls as the JSON that asks for them, their results as the user's words."""
    return [_plain(message) for message in messages]


def _plain(message: Mapping[str, Any]) -> dict[str, str]:
    role, text = str(message.get("role", "user")), _text(message.get("content"))
    if role == "tool":
        return {"role": "user", "content": f"Result of the tool call: {text}"}
    calls = [
        json.dumps({"tool": call["function"]["name"], "arguments": decode_json(call["function"]["arguments"]) or {}})
        for call in message.get("tool_calls") or ()
    ]
    return {"role": "system" if role == "developer" else role, "content": "\n".join(filter(None, [text, *calls]))}


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return "" if content is None else str(content)


def instruct(call: Call) -> Call:
    """The same call in plain texts, with a sentence that says how to answer; without schema and tools."""
    messages = flatten(call.messages)
    if is_structured(call):
        lead = messages.pop(0)["content"] + "\n\n" if messages and messages[0]["role"] == "system" else ""
        messages.insert(0, {"role": "system", "content": lead + _instruction(call)})
    return replace(call, messages=messages, schema=None, tools=None)


def _instruction(call: Call) -> str:
    parts = ["Answer with one JSON object and nothing else: no explanation, no code fence."]
    for tool in _tools(call):
        words = {"name": tool["name"], "about": tool.get("description", ""), "arguments": tool.get("parameters", {})}
        parts.append(f"You may use this tool: {json.dumps(words)}")
    if call.tools:
        parts.append('To use a tool, answer {"tool": its name, "arguments": {...}}.')
    if call.schema is not None:
        parts.append(
            f"{'Otherwise your' if call.tools else 'Your'} answer must fit this schema: {json.dumps(call.schema)}"
        )
    elif call.tools:
        parts.append('Otherwise answer {"answer": your text}.')
    return "\n".join(parts)


def build_grammar(call: Call) -> str:
    """A grammar for llguidance that lets pass only fitting answers, as compact JSON; empty where text will do."""
    if not is_structured(call):
        return ""
    schema = {"x-guidance": _COMPACT, **_shape(call)}
    return "%llguidance {}\nstart: %json " + json.dumps(schema)


def _shape(call: Call) -> dict[str, Any]:
    if not call.tools:
        return dict(call.schema or {})
    choices = [_tool_shape(tool) for tool in _tools(call)]
    choices.append(dict(call.schema) if call.schema is not None else _object(answer={"type": "string"}))
    shared: dict[str, Any] = {}
    for choice in choices:
        inner = choice.get("properties", {}).get("arguments", {})
        for each in (choice, inner):
            shared |= each.pop("$defs", {})
    return {"anyOf": choices, **({"$defs": shared} if shared else {})}


def _tool_shape(tool: Mapping[str, Any]) -> dict[str, Any]:
    return _object(tool={"const": tool["name"]}, arguments=dict(tool.get("parameters") or {"type": "object"}))


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _tools(call: Call) -> list[Mapping[str, Any]]:
    return [tool.get("function", tool) for tool in call.tools or ()]


def read_answer(call: Call, text: str) -> Completion | str:
    """What the model meant by `text`: an answer without its costs, or (a str) what is wrong with it."""
    if not is_structured(call):
        return Completion(text=text)
    value = _find_json(text)
    if value is None:
        return "it is no JSON"
    if isinstance(value, dict) and "tool" in value and call.tools:
        return _read_tool_call(call, value)
    if call.schema is not None:
        return find_fault(value, call.schema) or Completion(text=json.dumps(value, ensure_ascii=False))
    if isinstance(value, dict) and isinstance(value.get("answer"), str):
        return Completion(text=value["answer"])
    return 'it is neither a tool call nor {"answer": text}'


def _read_tool_call(call: Call, value: Mapping[str, Any]) -> Completion | str:
    tool = next((tool for tool in _tools(call) if tool["name"] == value["tool"]), None)
    if tool is None:
        return f"there is no tool {str(value['tool'])[:80]!r}"
    arguments = value.get("arguments", {})
    if fault := find_fault(arguments, {"type": "object", **(tool.get("parameters") or {})}):
        return fault.replace("the answer", "arguments", 1)
    function = {"name": tool["name"], "arguments": json.dumps(arguments, ensure_ascii=False)}
    called = {"id": f"call_{secrets.token_hex(6)}", "type": "function", "function": function}
    return Completion(tool_calls=(called,), finish="tool_calls")


def _find_json(text: str) -> Any:
    """The JSON in a text, with whatever is chattered around it left away."""
    if (value := decode_json(text)) is not None:
        return value
    begin, end = text.find("{"), text.rfind("}")
    return decode_json(text[begin : end + 1]) if 0 <= begin < end else None
