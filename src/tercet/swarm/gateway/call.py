"""What an agent asks of a model and what it gets, and what the desk asks of whoever has the model. Values only."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol, Self

from tercet.market import Price, Usage

__all__ = ["Call", "Completion", "Cost", "Prices", "Reply", "Upstream"]

log = logging.getLogger(__name__)

_FRAME_TOKENS = 256
"""What a model's template adds to the messages, at most; with a sentence on the shape of the answer."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One question to a model. Its messages do not change any more once it is made."""

    agent: str
    """Path of the node that pays, such as `run/crew/coder-1`."""
    task: str = ""
    """Id of the task it is for; empty where it is for none."""
    step: str = ""
    """Key of the step: the same key of the same agent and task is answered once, and paid once. Empty: no such promise."""
    model: str = ""
    """Name of the model; empty is the upstream's first."""
    messages: Sequence[Mapping[str, Any]]
    """As OpenAI's API has them."""
    max_tokens: int = 1024
    temperature: float | None = None
    """0 to 2; None is the model's own."""
    seed: int | None = None
    schema: Mapping[str, Any] | None = None
    """JSON schema that the text has to fit."""
    tools: Sequence[Mapping[str, Any]] | None = None
    """As OpenAI's API has them."""
    stop: Sequence[str] = ()
    key: str = ""
    """By which its seller knows it again: the id of its receipt. The desk gives it one as it is sent."""

    @cached_property
    def limit(self) -> Usage:
        """The most tokens it can consume: no tokenizer makes more of a text than it has bytes."""
        asked = json.dumps([list(self.messages), self.tools, self.schema], ensure_ascii=False, default=str)
        return Usage(len(asked.encode(errors="replace")) + _FRAME_TOKENS, self.max_tokens)

    @cached_property
    def digest(self) -> str:
        """sha256 of the question in hex, whoever asks."""
        question = [
            self.model, list(self.messages), self.max_tokens, self.temperature, self.seed, self.schema, self.tools,
            list(self.stop),
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(question, sort_keys=True, default=str).encode()).hexdigest()

    def known_as(self, *, step: str = "", key: str = "") -> Self:
        """The same question with another name: what was worked out of its words is kept."""
        again = replace(self, step=step or self.step, key=key or self.key)
        again.__dict__.update({name: self.__dict__[name] for name in ("limit", "digest") if name in self.__dict__})
        return again


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What an upstream answers."""

    text: str = ""
    tool_calls: Sequence[Mapping[str, Any]] = ()
    """As OpenAI's API has them: id, type, function {name, arguments as JSON text}."""
    finish: str = "stop"
    """`stop`, `length` or `tool_calls`."""
    usage: Usage = field(default_factory=Usage)
    charged: int | None = None
    """Credit units; None where the upstream does not say, and its price decides."""
    price: Price | None = None
    """At which it was charged; None where the upstream does not say."""
    receipt: Mapping[str, Any] = field(default_factory=dict)
    """Whose work it is: upstream, and where known receipt, miner, operator."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a call consumed."""

    charged: int = 0
    """Credit units."""
    prompt: int = 0
    completion: int = 0
    """Tokens."""
    seconds: float = 0.0

    def plus(self, more: Cost) -> Cost:
        """Both together."""
        return Cost(
            self.charged + more.charged, self.prompt + more.prompt, self.completion + more.completion,
            self.seconds + more.seconds,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the agent gets."""

    text: str
    tool_calls: Sequence[Mapping[str, Any]] = ()
    finish: str = "stop"
    prompt: int = 0
    completion: int = 0
    """Tokens."""
    charged: int = 0
    """Credit units."""
    receipt: str = ""
    """Id of the `call` event in the journal."""


class Upstream(Protocol):
    """Whoever has models: an endpoint, a process, a script."""

    @property
    def name(self) -> str:
        """What receipts, reports and listings call it; a scripted one says so."""
        ...

    @property
    def account(self) -> str:
        """Whose money it takes there, where that has a name: only this account can ask later what a call cost."""
        ...

    @property
    def models(self) -> Sequence[str]:
        """Names of the models; the first is the one for who names none. Known once it is open."""
        ...

    def price(self, model: str) -> Price | None:
        """What `model` costs at most; None while nobody knows, so that one call at a time is made."""
        ...

    def samples(self, call: Call) -> int:
        """How many answers it may pay for to serve this call once."""
        ...

    async def open(self) -> None:
        """Get ready; ThinkingError when it cannot."""
        ...

    async def complete(self, call: Call) -> Completion:
        """Answer.

        Raises:
            ThinkingError: it is down, slow, refuses the question or answers junk; `unsure` where that may be charged.
            BudgetError: its own budget for us is out.

        """
        ...

    async def find_cost(self, call: str) -> Cost:
        """What the call with this key cost of which no answer came. Nothing is charged for it from now on.

        Raises:
            ThinkingError: it cannot say now; `again` is False where it never can.

        """
        ...

    async def close(self) -> None:
        """Let go of everything; twice is fine."""
        ...


class Prices:
    """Prices by model, for upstreams that do not say what they cost."""

    def __init__(self, table: Mapping[str, Price] | None = None) -> None:
        self._table = dict(table or {})
        self._warned: set[str] = set()

    def of(self, model: str) -> Price:
        """Its price; 0 where the table has none, which is said once: only limits on tokens and seconds bite then."""
        if model not in self._table and model not in self._warned:
            self._warned.add(model)
            log.warning("swarm.unpriced model=%s: it counts as free; limits on tokens and seconds still bite", model)
        return self._table.get(model, Price())
