"""Thinking bought from any address that speaks OpenAI's language, the market's gateway included.

The market's gateway says what it charged and at which price, so prices are learned there; elsewhere a table has them.
Whoever cannot take schemas and tools (it answers 422 or 400) is told in words, and asked afresh with another seed when
its answer does not fit: a second question about the first answer helps small models nothing. Keys are sent, and never shown.
Each request has an idempotency key, under which the market's gateway sells once and says later what it charged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tercet.errors import OutOfBudgetError, ThinkingError
from tercet.market import Price, Usage
from tercet.swarm.gateway.call import Call, Completion, Cost, Prices
from tercet.swarm.gateway.learned import LearnedPrices
from tercet.swarm.gateway.reading import read_completion
from tercet.swarm.gateway.structured import instruct, is_structured, read_answer
from tercet.swarm.gateway.wire import CannotError, Wire

__all__ = ["HttpUpstream"]

_SAMPLES = 3
_DEARER_BPS = 40_000
"""The market's gateway tries nobody that is more than four times as dear (docs/reference/gateway.md)."""
_FRESH_TEMPERATURE = 0.7


class HttpUpstream:
    """An OpenAI-compatible endpoint."""

    def __init__(
        self,
        url: str,
        key: str = "",
        model: str = "",
        prices: Mapping[str, Price] | None = None,
        *,
        seconds: float = 120.0,
    ) -> None:
        """`url` ends in `/v1`; an empty `model` is the first that it lists; `seconds` is the longest silence."""
        self.name = url.rstrip("/")
        self.models: Sequence[str] = (model,) if model else ()
        self.account = ""
        """Of the key at the market, once that is known."""
        self._wire = Wire(self.name, key, seconds)
        self._table = dict(prices or {})
        self._prices = Prices(prices)
        self._learned = LearnedPrices()
        self._speaks_schemas: dict[str, bool] = {}
        """By model, once it was tried. Who spoke them once goes on to: its `samples` must not grow under a reservation."""

    def price(self, model: str) -> Price | None:
        """From the table; at the market, four times the dearest seen, and None before the first."""
        model = self._model(model)
        if self._wire.sells_once and model not in self._table:
            seen = self._learned.dearest(model)
            return None if seen is None else seen.scaled(_DEARER_BPS)
        return self._prices.of(model)

    def samples(self, call: Call) -> int:
        """A few where it has to be told in words."""
        return _SAMPLES if is_structured(call) and not self._speaks_schemas.get(self._model(call.model)) else 1

    async def open(self) -> None:
        """Look what there is.

        Raises:
            ThinkingError: nobody answers there, or the key is refused.

        """
        self._wire.open()
        try:
            listed = await self._wire.look("/models")
            names = [
                item["id"] for item in listed.get("data", ()) if isinstance(item, dict) and _is_name(item.get("id"))
            ]
            self.models = (*self.models, *(name for name in names if name not in self.models))
            if not self.models:
                raise ThinkingError(f"{self.name} lists no models. Name one with --model.")
            self._wire.sells_once = await self._is_market()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the connections."""
        await self._wire.close()

    async def complete(self, call: Call) -> Completion:
        """Ask it, in its own words for schemas and tools where it has them."""
        if not is_structured(call):
            return await self._ask(call, 1)
        model = self._model(call.model)
        if self._speaks_schemas.get(model, True):
            try:
                completion = await self._ask(call, 0)
            except CannotError:
                self._speaks_schemas.setdefault(model, False)
            else:
                self._speaks_schemas[model] = True
                return _checked(call, completion)
        return await self._sample(call, self.samples(call))

    async def find_cost(self, call: str) -> Cost:
        """What all requests of a call cost; only a market's gateway can be asked, and it accepts none of them any more."""
        if not self._wire.sells_once:
            raise ThinkingError(f"{self.name} cannot be asked what a call cost.", again=False)
        total = Cost()
        for number in range(_SAMPLES + 1):
            found = await self._wire.give_up(_request_key(call, number))
            total = total.plus(found.cost)
            if number and found.receipt is None:
                break  # the next request leaves only when the one before was answered
        return total

    async def _sample(self, call: Call, most: int) -> Completion:
        """Ask in words until an answer fits, each time afresh, `most` times."""
        told, paid, fault = instruct(call), Completion(), ""
        try:
            for number in range(most):
                answer = await self._ask(_afresh(told, number), number + 1)
                paid = _add(paid, answer)
                found = read_answer(call, answer.text)
                if isinstance(found, Completion):
                    return replace(found, usage=paid.usage, charged=paid.charged, receipt=answer.receipt)
                fault = "it was cut off" if answer.finish == "length" else found
        except ThinkingError as error:
            raise _with_cost(error, paid) from error
        except (OutOfBudgetError, asyncio.CancelledError) as stop:
            if paid.usage == Usage():
                raise
            # What was paid must be booked, so whoever gave us up is told in an error that can carry it.
            problem = ThinkingError(f"{self.name} gave no answer that fits before money or time ran out: {fault}.")
            raise _with_cost(problem, paid) from stop
        raise _with_cost(
            ThinkingError(
                f"{self.name} gave no answer of the shape that was asked for, in {most} {'try' if most == 1 else 'tries'}: {fault}."
                " Ask a larger model, or for a simpler shape."
            ),
            paid,
        )

    async def _ask(self, call: Call, number: int) -> Completion:
        raw = await self._wire.buy(_body(call, self._model(call.model)), _request_key(call.key, number))
        completion = read_completion(raw, call, self.name)
        if completion.charged is not None:
            self._learned.learn(self._model(call.model), completion)
        return completion

    def _model(self, name: str) -> str:
        return name or next(iter(self.models), "")

    async def _is_market(self) -> bool:
        try:
            found = await self._wire.look("/budget")
        except ThinkingError:
            return False
        self.account = str(found.get("key", ""))[:200]
        return found.get("object") == "budget"


def _checked(call: Call, completion: Completion) -> Completion:
    """An answer of one that claims to know schemas, held to it."""
    if completion.tool_calls or call.schema is None:
        return completion
    found = read_answer(replace(call, tools=None), completion.text)
    if isinstance(found, Completion):
        return replace(completion, text=found.text)
    error = ThinkingError(f"{completion.receipt['name']} gave an answer that does not fit its schema: {found}.")
    raise _with_cost(error, completion)


def _body(call: Call, model: str) -> dict[str, Any]:
    body: dict[str, Any] = {"model": model, "messages": list(call.messages), "max_tokens": call.max_tokens}
    if call.temperature is not None:
        body["temperature"] = call.temperature
    if call.seed is not None:
        body["seed"] = call.seed
    if call.stop:
        body["stop"] = list(call.stop)
    if call.tools:
        body["tools"] = list(call.tools)
    if call.schema is not None:
        body["response_format"] = {
            "type": "json_schema", "json_schema": {"name": "answer", "schema": dict(call.schema)},
        }  # fmt: skip
    return body


def _afresh(call: Call, number: int) -> Call:
    """The same question with another seed; warm enough that another seed is another answer."""
    if number == 0:
        return call
    warm = max(call.temperature or 0.0, _FRESH_TEMPERATURE)
    return replace(call, seed=(call.seed or 0) + number, temperature=warm)


def _add(paid: Completion, answer: Completion) -> Completion:
    usage = Usage(paid.usage.prompt + answer.usage.prompt, paid.usage.completion + answer.usage.completion)
    charged = None if answer.charged is None else (paid.charged or 0) + answer.charged
    return Completion(usage=usage, charged=charged)


def _with_cost(error: ThinkingError, paid: Completion) -> ThinkingError:
    error.charged += paid.charged or 0
    error.prompt += paid.usage.prompt
    error.completion += paid.usage.completion
    return error


def _request_key(call: str, number: int) -> str:
    """The idempotency key of a call's request: 0 with its own schema, from 1 on in words."""
    return f"{call}-{number}" if call else ""


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable()
