"""Tools and typed answers for models that write JSON at best: one schema that only a valid choice fits.

The model writes `{"tool": name, "arguments": {...}}` to have a tool called, or `{"answer": ...}` when it is done. The
schema binds its sampling, so that a model of half a billion parameters cannot write anything else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_ai.messages import ModelResponsePart, TextPart, ToolCallPart
from pydantic_ai.tools import ToolDefinition

from tercet.market.text import decode_json
from tercet.swarm.dialogue import tool_action

__all__ = ["Choices"]

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Choices:
    """What a model may answer."""

    tools: Sequence[ToolDefinition]
    output: Schema | None
    """Schema of a typed answer; None where text is meant."""
    text: bool
    """Whether a text may be the answer."""

    @property
    def schema(self) -> Schema | None:
        """What the text must fit; None where any text will do."""
        if not self.tools:
            return self.output
        options = [_object(tool={"const": tool.name}, arguments=tool.parameters_json_schema) for tool in self.tools]
        if self.output is not None or self.text:
            options.append(_object(answer=self.output or {"type": "string"}))
        return options[0] if len(options) == 1 else {"anyOf": options}

    @property
    def advice(self) -> str:
        """What the model is told of its choices; empty where it has none."""
        if not self.tools:
            return ""
        lines = ["Reply with one JSON object and nothing else. To use a tool:"]
        for tool in self.tools:
            about = (tool.description or "").strip().replace("\n", " ")
            fields = tool.parameters_json_schema.get("properties", {})
            shape = json.dumps(tool_action(tool.name, {name: _kind(field) for name, field in fields.items()}))
            lines.append(f"- {shape}{f'  {about}' if about else ''}")
        if self.output is not None:
            lines.append('When you have the answer: {"answer": {...}}')
        elif self.text:
            lines.append('When you have the answer: {"answer": "text"}')
        return "\n".join(lines)

    def parse(self, text: str, receipt: str) -> list[ModelResponsePart]:
        """The parts that the text stands for; none where it stands for nothing, so that the engine asks again."""
        if not self.tools:
            return [TextPart(text)] if text.strip() else []
        chosen = decode_json(text)
        if not isinstance(chosen, dict):
            return []
        names = {tool.name for tool in self.tools}
        if isinstance(tool := chosen.get("tool"), str) and tool in names and isinstance(chosen.get("arguments"), dict):
            return [ToolCallPart(tool, chosen["arguments"], tool_call_id=receipt)]
        if "answer" not in chosen:
            return []
        answer = chosen["answer"]
        return [TextPart(answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False))]


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _kind(field: object) -> str:
    found = field if isinstance(field, dict) else {}
    return str(found.get("description") or found.get("type") or "any")
