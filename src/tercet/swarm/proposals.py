"""What a model may propose as a plan: its shape, as a JSON schema, and what of it is worth nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tercet.swarm.plan import SPAN, Plan

__all__ = ["ABOUT", "TRIVIAL", "describe_roles", "judge_plan", "plan_schema", "task_schema"]

TRIVIAL = frozenset({"true", "echo", ":", "exit", "printf"})
"""Programs that test nothing."""
ABOUT: Mapping[str, str] = {
    "author": "writes the files that its task claims",
    "assistant": "works with files and tools at anything",
    "coder": "makes failing Python tests pass",
    "writer": "writes one short text file",
    "analyst": "analyses a CSV file",
    "tester": "changes nothing; its done-test is the work",
}
"""Roles that a model can ask for, in words."""
_LARGE = ("crew", "inputs", "detail")


def describe_roles(roles: Sequence[str]) -> str:
    """A line for each."""
    return "\n".join(f"- {role}: {ABOUT.get(role, 'an agent of its own')}" for role in roles)


def judge_plan(plan: Plan) -> float:
    """How good a plan is that can be run; 0 or less is refused: a done-test that tests nothing, no output at all."""
    if any(task.done.command[0] in TRIVIAL for task in plan.tasks) or not any(task.outputs for task in plan.tasks):
        return 0.0
    tested = sum(any("test" in word for word in task.done.command) for task in plan.tasks)
    return 1.0 + tested / len(plan.tasks) - 0.05 * len(plan.tasks)


def plan_schema(roles: Sequence[str], most: int = SPAN) -> dict[str, Any]:
    """What a model may write: no money, known roles only; crews, inputs and details only where there are more tasks than a crew does."""
    task = task_schema(roles, *(_LARGE if most > SPAN else ()))
    return {
        "type": "object",
        "properties": {"tasks": {"type": "array", "items": task, "minItems": 1, "maxItems": most}},
        "required": ["tasks"],
        "additionalProperties": False,
    }


def task_schema(roles: Sequence[str], *more: str) -> dict[str, Any]:
    """One task of it; `more` are names of fields that it may have as well: crew, inputs, detail."""
    short = {"type": "string", "minLength": 1, "maxLength": 80}
    names = {"type": "array", "items": {**short, "maxLength": 32}, "maxItems": 6}
    done = {
        "type": "object",
        "properties": {"command": {"type": "array", "items": short, "minItems": 1, "maxItems": 8}},
        "required": ["command"],
        "additionalProperties": False,
    }
    identifier = {"type": "string", "pattern": "^[a-z][a-z0-9-]{0,20}$"}
    optional = {
        "crew": identifier,
        "inputs": {**names, "maxItems": 16},
        "detail": {"type": "string", "maxLength": 600},
    }
    properties = {
        "id": identifier,
        "title": short,
        "role": {"enum": list(roles)},
        "needs": names,
        "outputs": names,
        "done": done,
    }
    return {
        "type": "object",
        "properties": {**properties, **{name: optional[name] for name in more}},
        "required": list(properties),
        "additionalProperties": False,
    }
