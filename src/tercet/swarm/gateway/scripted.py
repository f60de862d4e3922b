"""A script that plays a model, for tests, tours and replays. It says `scripted` in every receipt and listing."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tercet.errors import ThinkingError, UsageError
from tercet.market import Price, Usage
from tercet.swarm.gateway.call import Call, Completion, Cost

__all__ = ["Script", "ScriptedUpstream", "load_script"]

_Answer: TypeAlias = Completion | str | Mapping[str, Any]
Script: TypeAlias = Callable[[Call], _Answer | Awaitable[_Answer]]
"""What answers a call: a text, a JSON object (for schemas), or a whole `Completion`."""
_MOST_SCRIPT_BYTES = 4 << 20


class ScriptedUpstream:
    """Answers by a script. Tokens are counted as four characters each, so that budgets and prices work."""

    name = "scripted"
    account = ""

    def __init__(self, script: Script, *, model: str = "scripted", price: Price | None = None) -> None:
        """Free, unless it is given a price to charge."""
        self._script = script
        self._price = price or Price()
        self.models: Sequence[str] = (model,)

    def price(self, model: str) -> Price:  # noqa: ARG002 - one price for all
        """The price it was given."""
        return self._price

    def samples(self, call: Call) -> int:  # noqa: ARG002 - a script needs one try
        """One."""
        return 1

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def find_cost(self, call: str) -> Cost:  # noqa: ARG002 - a script charges for answers only
        """Nothing."""
        return Cost()

    async def complete(self, call: Call) -> Completion:
        """Ask the script."""
        answer = self._script(call)
        found = await answer if inspect.isawaitable(answer) else answer
        assert isinstance(found, Completion | str | Mapping), found
        completion = _completion(found)
        if completion.usage == Usage():
            said = completion.text or json.dumps(list(completion.tool_calls))
            prompt = json.dumps(list(call.messages), ensure_ascii=False, default=str)
            usage = Usage(_tokens(prompt), min(_tokens(said), call.max_tokens))
            completion = Completion(
                text=completion.text, tool_calls=completion.tool_calls, finish=completion.finish, usage=usage,
                charged=completion.charged, receipt=completion.receipt,
            )  # fmt: skip
        return completion


def _completion(answer: _Answer) -> Completion:
    if isinstance(answer, Completion):
        return answer
    return Completion(text=answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False))


def _tokens(text: str) -> int:
    return -(-len(text) // 4)


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    agent: str = "*"
    """Pattern of the node's path, such as `*/coder-*`."""
    task: str = "*"
    says: str = ""
    """Regular expression, searched in the last message."""
    text: str | None = None
    """The answer, or"""
    object: Any = None
    """the answer as JSON, or"""
    tool: str | None = None
    """the tool to call,"""
    arguments: Mapping[str, Any] = Field(default_factory=dict)
    """with these, or"""
    files: Mapping[str, str] | None = None
    """files, as an author answers: path to where the text is, from the script's folder. Read when it answers."""
    fails: str | None = None
    """Or why the model fails."""
    times: int = Field(default=0, ge=0)
    """How often it answers; 0 is always."""
    seconds: float = Field(default=0.0, ge=0, le=60)
    """How long it thinks."""


class _Rules(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: Sequence[_Rule] = Field(min_length=1, max_length=10_000)


def load_script(path: Path) -> Script:
    """A script from a JSON file of rules; the first that fits answers. docs/reference/swarm-gateway.md has the fields.

    Raises:
        UsageError: it cannot be read, or is no such file.

    """
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_SCRIPT_BYTES + 1)
        if len(raw) > _MOST_SCRIPT_BYTES:
            raise UsageError(f"The script {str(path)!r} is larger than 4 MiB. Make it shorter.")
        rules = _Rules.model_validate_json(raw).rules
        patterns = [re.compile(rule.says, re.DOTALL) for rule in rules]
    except OSError as error:
        raise UsageError(f"The script {str(path)!r} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UsageError(f"The script {str(path)!r} is wrong at {where}: {first['msg']}.") from error
    except re.error as error:
        raise UsageError(f"The script {str(path)!r} has a bad pattern {error.pattern!r}: {error}.") from error
    used = [0] * len(rules)

    async def answer(call: Call) -> _Answer:
        last = json.dumps(call.messages[-1].get("content"), ensure_ascii=False) if call.messages else ""
        for place, (rule, pattern) in enumerate(zip(rules, patterns, strict=True)):
            spent = rule.times and used[place] >= rule.times
            if not spent and _fits(rule, pattern, call, last):
                used[place] += 1
                await asyncio.sleep(rule.seconds)
                return _play(rule, place, used[place], path.parent)
        raise ThinkingError(f"No rule of the script {path.name!r} fits this call of {call.agent!r}.", again=False)

    return answer


def _fits(rule: _Rule, pattern: re.Pattern[str], call: Call, last: str) -> bool:
    return fnmatchcase(call.agent, rule.agent) and fnmatchcase(call.task, rule.task) and bool(pattern.search(last))


def _play(rule: _Rule, place: int, time: int, folder: Path) -> Completion:
    if rule.fails is not None:
        raise ThinkingError(f"The script says: {rule.fails}")
    if rule.tool is not None:
        function = {"name": rule.tool, "arguments": json.dumps(rule.arguments)}
        call = {"id": f"script-{place}-{time}", "type": "function", "function": function}
        return Completion(tool_calls=(call,), finish="tool_calls")
    if rule.files is not None:
        rows = [{"path": name, "content": _text_of(folder / source)} for name, source in rule.files.items()]
        return Completion(text=json.dumps({"files": rows}, ensure_ascii=False))
    return Completion(text=rule.text if rule.text is not None else json.dumps(rule.object, ensure_ascii=False))


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ThinkingError(f"The script names {path.name!r}, which cannot be read: {error}.", again=False) from error
