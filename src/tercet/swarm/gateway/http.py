"""Thinking bought from any address that speaks OpenAI's language, the market's gateway included.

The market's gateway says what it charged, so prices are learned there; elsewhere a table has them. Whoever cannot take
schemas and tools (it answers 422 or 400) is told in words, and asked afresh with another seed when its answer does not
fit: a second question about the first answer helps small models nothing. Keys are sent, and never shown.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tercet.errors import OutOfBudgetError, ThinkingError
from tercet.market import Price, Usage
from tercet.market.text import decode_json
from tercet.swarm.gateway.call import Call, Completion, Prices
from tercet.swarm.gateway.structured import instruct, is_structured, read_answer

__all__ = ["HttpUpstream", "read_completion"]

log = logging.getLogger(__name__)

_SAMPLES = 3
_MOST_BYTES = 8 << 20
_RETRIES = 2
_RETRY_SECONDS = 0.25
_LONGEST_REST = 5.0
_TRY_AGAIN = (429, 502, 503, 504)
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
        self._key = key
        self._table = dict(prices or {})
        self._prices = Prices(prices)
        self._seen: dict[str, Price] = {}
        self._market = False
        self._speaks_schemas: bool | None = None
        """Unknown until it was tried."""
        self._seconds = seconds
        self._session: aiohttp.ClientSession | None = None

    def price(self, model: str) -> Price | None:
        """From the table; at the market, four times the dearest seen, and None before the first."""
        model = self._model(model)
        if self._market and model not in self._table:
            seen = self._seen.get(model)
            return None if seen is None else seen.scaled(_DEARER_BPS)
        return self._prices.of(model)

    def samples(self, call: Call) -> int:
        """A few where it has to be told in words."""
        return _SAMPLES if is_structured(call) and not self._speaks_schemas else 1

    async def open(self) -> None:
        """Look what there is.

        Raises:
            ThinkingError: nobody answers there, or the key is refused.

        """
        if self._session is None:
            headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
            timeout = aiohttp.ClientTimeout(total=None, connect=10, sock_read=self._seconds)
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(headers=headers, timeout=timeout, connector=connector)
        try:
            listed = await self._request("GET", "/models")
            names = [
                item["id"] for item in listed.get("data", ()) if isinstance(item, dict) and _is_name(item.get("id"))
            ]
            self.models = (*self.models, *(name for name in names if name not in self.models))
            if not self.models:
                raise ThinkingError(f"{self.name} lists no models. Name one with --model.")
            self._market = await self._is_market()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def complete(self, call: Call) -> Completion:
        """Ask it, in its own words for schemas and tools where it has them."""
        if is_structured(call) and self._speaks_schemas is not False:
            try:
                completion = await self._ask(call)
            except _CannotError:
                self._speaks_schemas = False
            else:
                self._speaks_schemas = True
                return _checked(call, completion)
        if not is_structured(call):
            return await self._ask(call)
        return await self._sample(call)

    async def _sample(self, call: Call) -> Completion:
        """Ask in words until an answer fits, each time afresh."""
        told, paid, fault = instruct(call), Completion(), ""
        try:
            for number in range(_SAMPLES):
                answer = await self._ask(_afresh(told, number))
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
                f"{self.name} gave no answer of the shape that was asked for, in {_SAMPLES} tries: {fault}."
                " Ask a larger model, or for a simpler shape."
            ),
            paid,
        )

    async def _ask(self, call: Call) -> Completion:
        raw = await self._request("POST", "/chat/completions", _body(call, self._model(call.model)))
        completion = read_completion(raw, call, self.name)
        if completion.charged is not None:
            self._learn(self._model(call.model), completion)
        return completion

    def _model(self, name: str) -> str:
        return name or next(iter(self.models), "")

    def _learn(self, model: str, completion: Completion) -> None:
        tokens = max(1, completion.usage.prompt + completion.usage.completion)
        each = -(-(completion.charged or 0) * 1000 // tokens)
        self._seen[model] = Price(0, each, each).at_least(self._seen.get(model, Price()))

    async def _is_market(self) -> bool:
        try:
            return (await self._request("GET", "/budget")).get("object") == "budget"
        except ThinkingError:
            return False

    # the wire

    async def _request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One JSON object; tried again where it was not taken yet, never where it may have been paid."""
        for number in range(_RETRIES + 1):
            last = number == _RETRIES
            try:
                status, rest, data = await self._exchange(method, path, body)
            except aiohttp.ClientConnectorError as error:
                if not last:
                    await asyncio.sleep(_RETRY_SECONDS * 2**number)
                    continue
                raise ThinkingError(f"{self.name} cannot be reached: {error}. Is the gateway up?") from error
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                words = self._clean(f"{type(error).__name__} {error}".strip())
                raise ThinkingError(f"{self.name} broke off: {words}. Try again, or look into its log.") from error
            if status in _TRY_AGAIN and not last:
                await asyncio.sleep(max(rest, _RETRY_SECONDS * 2**number))
                continue
            return self._judge(status, data)
        raise AssertionError

    async def _exchange(self, method: str, path: str, body: Mapping[str, Any] | None) -> tuple[int, float, bytes]:
        if self._session is None:
            raise ThinkingError(f"{self.name} is closed.")
        # Redirects would carry the key to wherever they point.
        async with self._session.request(method, self.name + path, json=body, allow_redirects=False) as response:
            data = b""
            while chunk := await response.content.read(1 << 16):
                data += chunk
                if len(data) > _MOST_BYTES:
                    raise ThinkingError(
                        f"{self.name} answered more than {_MOST_BYTES >> 20} MiB, which nobody asked for."
                    )
            return response.status, _rest(response.headers.get("Retry-After", "")), data

    def _judge(self, status: int, data: bytes) -> dict[str, Any]:
        found = decode_json(data)
        if status == 200:
            if isinstance(found, dict):
                return found
            raise ThinkingError(f"{self.name} answered with something that is no JSON object.")
        words = self._clean(_message(found) or f"status {status}")
        if status == 402:
            raise OutOfBudgetError(
                node="run", needed=0, left=0, message=f"The key at {self.name} is out of money: {words}"
            )
        if status in (401, 403):
            raise ThinkingError(f"{self.name} refuses the key: {words}", again=False)
        if status in (400, 422) and isinstance(found, dict):
            raise _CannotError(f"{self.name} refuses the question: {words}", again=False)
        raise ThinkingError(f"{self.name} failed with status {status}: {words}", again=status >= 500 or status == 429)

    def _clean(self, text: str) -> str:
        """A stranger's words: short, printable, and without our key, should they repeat it."""
        text = text.replace(self._key, "[key]") if self._key else text
        return "".join(letter if letter.isprintable() else " " for letter in text)[:300]


class _CannotError(ThinkingError):
    """It does not take the question in this form."""


class _Strange(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Function(_Strange):
    name: str = Field(min_length=1, max_length=200)
    arguments: str = Field(default="{}", max_length=1 << 20)


class _ToolCall(_Strange):
    id: str = Field(default="", max_length=200)
    function: _Function


class _Message(_Strange):
    content: str | None = None
    tool_calls: Sequence[_ToolCall] | None = Field(default=None, max_length=64)


class _Choice(_Strange):
    message: _Message
    finish_reason: str | None = None


class _Usage(_Strange):
    prompt_tokens: int = Field(default=0, ge=0)
    completion_tokens: int = Field(default=0, ge=0)


class _Tercet(_Strange):
    receipt: str = Field(max_length=200)
    miner: int | None = None
    operator: str | None = Field(default=None, max_length=100)
    cost: int = Field(ge=0, lt=2**63)


class _Body(_Strange):
    choices: Sequence[_Choice] = Field(min_length=1, max_length=16)
    usage: _Usage | None = None
    tercet: _Tercet | None = None


def read_completion(raw: Mapping[str, Any], call: Call, name: str) -> Completion:
    """Read a stranger's answer; usage that no such answer can have is cut down to what it can.

    Raises:
        ThinkingError: it is not in OpenAI's shape, or empty.

    """
    try:
        body = _Body.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ThinkingError(f"{name} answered junk: {where}: {first['msg']}.") from None
    choice, limit = body.choices[0], call.limit
    text = _encodable(choice.message.content or "")
    calls = tuple(_tool_call(place, each) for place, each in enumerate(choice.message.tool_calls or ()))
    told = body.usage or _Usage(prompt_tokens=limit.prompt // 4, completion_tokens=len(text) // 4)
    usage = Usage(min(told.prompt_tokens, limit.prompt), min(told.completion_tokens, limit.completion))
    receipt: dict[str, Any] = {"name": name}
    if body.tercet is not None:
        receipt |= {"receipt": body.tercet.receipt, "miner": body.tercet.miner, "operator": body.tercet.operator}
    finish = choice.finish_reason if choice.finish_reason in ("stop", "length", "tool_calls") else "stop"
    return Completion(
        text=text,
        tool_calls=calls,
        finish="tool_calls" if calls else str(finish),
        usage=usage,
        charged=None if body.tercet is None else body.tercet.cost,
        receipt=receipt,
    )


def _tool_call(place: int, call: _ToolCall) -> dict[str, Any]:
    function = {"name": _encodable(call.function.name), "arguments": _encodable(call.function.arguments)}
    return {"id": _encodable(call.id) or f"call_{place}", "type": "function", "function": function}


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


def _message(found: Any) -> str:
    error = found.get("error") if isinstance(found, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) else ""


def _rest(header: str) -> float:
    try:
        return min(max(float(header), 0.0), _LONGEST_REST)
    except ValueError:
        return 0.0


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable()


def _encodable(text: str) -> str:
    """Half a character, which JSON can carry and nothing else can, becomes a question mark."""
    return text.encode(errors="replace").decode()
