"""An agent's tools as pydantic-ai sees them: only those it was given anything for, and a no is an answer, not an end."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic_ai.toolsets import FunctionToolset

from tercet.errors import ClaimError, RefusedError, SandboxError, ToolError
from tercet.swarm.tools import PERSON, Toolbox

__all__ = ["as_toolset"]


def as_toolset(box: Toolbox) -> FunctionToolset[Any]:
    """The tools of `box` for `Agent(toolsets=[...])`."""
    caps = box.caps
    given: list[tuple[bool, Callable[..., Awaitable[str]]]] = [
        (bool(caps.read or caps.write), box.read_file),
        (bool(caps.read or caps.write), box.read_value),
        (bool(caps.read or caps.write), box.list_files),
        (bool(caps.write), box.write_file),
        (bool(caps.commands) and box.has_sandbox, box.run),
        (bool(box.checkers) or caps.money > 0, box.state),
        (bool(box.checkers) and box.has_sandbox, box.check),
        (bool(box.model), box.review),
        (box.has_memory, box.recall),
        (box.has_memory, box.remember),
        (box.has_memory, box.share),
        (caps.may_address(PERSON) and box.has_approver, box.ask_person),
        (caps.money > 0 and box.has_purse, box.pay),
        (caps.money > 0 and box.has_purse, box.buy),
    ]
    return FunctionToolset([_answering(tool) for there, tool in given if there], id=f"tercet-{box.agent}")


def _answering(tool: Callable[..., Awaitable[str]]) -> Callable[..., Awaitable[str]]:
    """A refusal goes to the model as the tool's answer, so that it can do something else; a broken journal does not."""

    @functools.wraps(tool)
    async def call(**arguments: Any) -> str:
        try:
            return await tool(**arguments)
        except (RefusedError, ToolError, ClaimError, SandboxError) as error:
            return f"Refused: {error}"

    call.__signature__ = inspect.signature(tool, eval_str=True)  # type: ignore[attr-defined]
    return call
