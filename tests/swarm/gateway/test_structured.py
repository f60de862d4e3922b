"""Shapes in words: what models are told, and how what they write is read."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.swarm.gateway import Call, Completion
from tercet.swarm.gateway.shapes import find_fault
from tercet.swarm.gateway.structured import build_grammar, flatten, instruct, read_answer

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "required": ["what"]}}}
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def call(**options: Any) -> Call:
    return Call(
        agent="run", messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "?"}], **options
    )


@pytest.mark.parametrize(
    ("value", "schema", "fault"),
    [
        (3, {"type": "integer"}, ""),
        (True, {"type": "integer"}, "must be of type"),
        (3.5, {"type": ["integer", "null"]}, "must be of type"),
        ("x", {"enum": ["a"]}, "must be one of"),
        ("x", {"const": "y"}, "must be 'y'"),
        ([1, "2"], {"items": {"type": "integer"}}, r"the answer\[1\]"),
        ({"a": 1}, {"required": ["b"]}, "lacks 'b'"),
        ({"a": 1}, {"additionalProperties": False}, "not allowed"),
        ({"a": {"b": 1}}, {"properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"maxItems": 0, "type": "array"}}}, "answer.a"),
        (1, {"anyOf": [{"type": "string"}, {"type": "null"}]}, "none of its 2"),
        (1, {"anyOf": [{"type": "string"}, {"type": "integer"}]}, ""),
        (7, {"maximum": 6}, "out of bounds"),
        ("abc", {"maxLength": 2}, "out of bounds"),
        ({"a": 1}, {"$ref": "#/$defs/none"}, ""),
    ],
)  # fmt: skip
def test_shapes_are_checked(value: Any, schema: Any, fault: str) -> None:
    """The first fault is told with its place; what fits has none."""
    found = find_fault(value, schema)
    assert found == "" if fault == "" else re.search(fault, found)


def test_a_schema_that_names_itself_ends() -> None:
    """A recursive schema checks a deep value, and one that only points to itself stops."""
    find_fault({"a": {"a": {}}}, {"$ref": "#"})
    tree = {"type": "object", "properties": {"next": {"$ref": "#"}}}
    assert find_fault({"next": {"next": 3}}, tree) == "the answer.next.next must be of type object"


@given(
    anything, st.dictionaries(st.sampled_from(["type", "items", "enum", "minItems", "properties", "$ref"]), anything)
)
def test_answers_of_any_kind_are_read(value: Any, schema: Any) -> None:
    """Whatever JSON a model writes, it is an answer or a reason why not."""
    for each in (call(tools=[TOOL]), call(schema=schema), call(tools=[TOOL], schema=schema)):
        for text in (json.dumps(value), json.dumps({"tool": value}), json.dumps({"tool": "look", "arguments": value})):
            assert isinstance(read_answer(each, text), Completion | str)


@given(st.text())
def test_texts_of_any_kind_are_read(text: str) -> None:
    """Braces in chatter break nothing."""
    assert isinstance(read_answer(call(tools=[TOOL]), "{" + text + "}"), Completion | str)


def test_a_conversation_with_tools_becomes_plain_text() -> None:
    """Calls as the JSON that asks for them, results as the user's words: roles that every model knows."""
    called = {"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"what": "x"}'}}
    flat = flatten(
        [
            {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]},
            {"role": "assistant", "content": None, "tool_calls": [called]},
            {"role": "tool", "tool_call_id": "1", "content": "found"},
        ]
    )
    assert flat == [
        {"role": "system", "content": "Be brief."},
        {"role": "assistant", "content": '{"tool": "look", "arguments": {"what": "x"}}'},
        {"role": "user", "content": "Result of the tool call: found"},
    ]


def test_the_instruction_joins_the_system_message() -> None:
    """One system message, ours behind theirs; a call that wants text gets none."""
    told = instruct(call(tools=[TOOL]))
    assert [message["role"] for message in told.messages] == ["system", "user"]
    assert told.messages[0]["content"].startswith("Be brief.\n\nAnswer with one JSON object")
    assert '"name": "look"' in told.messages[0]["content"]
    assert told.tools is None
    assert instruct(call()).messages[0]["content"] == "Be brief."
    assert build_grammar(call()) == ""
    assert build_grammar(call(tools=[TOOL])).startswith("%llguidance {}\nstart: %json {")
