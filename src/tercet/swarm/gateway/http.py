"""Thinking bought from any address that speaks OpenAI's language, the market's gateway included.

The market's gateway says what it charged, so prices are learned there; elsewhere a table has them. Whoever cannot take
schemas and tools (it answers 422 or 400) is told in words, and asked afresh with another seed when its answer does not
fit: a second question about the first answer helps small models nothing. Keys are sent, and never shown.
Each request has an idempotency key, under which the market's gateway sells once and says later what it charged.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

from tercet.errors import OutOfBudgetError, ThinkingError
from tercet.market import Price, Usage
from tercet.market.text import decode_json
from tercet.swarm.gateway.call import Call, Completion, Cost, Prices
from tercet.swarm.gateway.reading import read_completion
from tercet.swarm.gateway.structured import instruct, is_structured, read_answer

__all__ = ["HttpUpstream"]

log = logging.getLogger(__name__)

_SAMPLES = 3
_MOST_BYTES = 8 << 20
_RETRIES = 2
_RETRY_SECONDS = 0.25
_LONGEST_REST = 5.0
_BUSY = {429, 503}
"""It was not taken: trying again is safe."""
_BROKEN = {502, 504}
"""Somebody on the way broke off: it may have been taken, and paid."""
_KEY_HEADER = "Idempotency-Key"
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
            self._session = aiohttp.ClientSession(
                headers=headers, timeout=timeout, connector=connector, cookie_jar=aiohttp.DummyCookieJar()
            )
        try:
            listed = await self._look("/models")
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
                completion = await self._ask(call, 0)
            except _CannotError:
                self._speaks_schemas = False
            else:
                self._speaks_schemas = True
                return _checked(call, completion)
        if not is_structured(call):
            return await self._ask(call, 1)
        return await self._sample(call)

    async def find_cost(self, call: str) -> Cost:
        """What all requests of a call cost; only a market's gateway can be asked, and it accepts none of them any more."""
        if not self._market:
            raise ThinkingError(f"{self.name} cannot be asked what a call cost.", again=False)
        total = Cost()
        for number in range(_SAMPLES + 1):
            found = await self._give_up(_request_key(call, number))
            total = total.plus(found.cost)
            if number and found.receipt is None:
                break  # the next request leaves only when the one before was answered
        return total

    async def _sample(self, call: Call) -> Completion:
        """Ask in words until an answer fits, each time afresh."""
        told, paid, fault = instruct(call), Completion(), ""
        try:
            for number in range(_SAMPLES):
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
                f"{self.name} gave no answer of the shape that was asked for, in {_SAMPLES} tries: {fault}."
                " Ask a larger model, or for a simpler shape."
            ),
            paid,
        )

    async def _ask(self, call: Call, number: int) -> Completion:
        raw = await self._buy(_body(call, self._model(call.model)), _request_key(call.key, number))
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
            found = await self._look("/budget")
        except ThinkingError:
            return False
        self.account = str(found.get("key", ""))[:200]
        return found.get("object") == "budget"

    # the wire

    async def _look(self, path: str) -> dict[str, Any]:
        """One JSON object that costs nothing to read."""
        status, data = await self._send("GET", path)
        return self._judge(status, data)

    async def _buy(self, body: Mapping[str, Any], key: str) -> dict[str, Any]:
        """An answer. Whatever goes wrong once the request may have arrived is an error that says so: it may be charged."""
        headers = {_KEY_HEADER: key} if key else {}
        try:
            status, data = await self._send("POST", "/chat/completions", body, headers)
        except asyncio.CancelledError as stop:
            raise ThinkingError(f"{self.name} was given up before it had answered.", unsure=True) from stop
        return self._judge(status, data)

    async def _give_up(self, key: str) -> _Ended:
        """Close a request of ours at the market's gateway, whether it arrived or not.

        Raises:
            ThinkingError: it cannot say now; or never, where it is older than this path.

        """
        try:
            async with asyncio.timeout(_LONGEST_REST):
                status, _, data = await self._exchange("DELETE", f"/calls/{key}", None, {})
            if status == 200:
                return _Ended.model_validate(decode_json(data))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ThinkingError(f"{self.name} cannot be asked what a call cost: {type(error).__name__}.") from error
        raise ThinkingError(f"{self.name} does not say what a call cost.", again=status == 202 or status >= 500)

    async def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body; tried again where it was not taken yet, or where the seller knows our key and sells once."""
        busy = _BUSY | _BROKEN if self._market or method == "GET" else _BUSY
        for number in range(_RETRIES + 1):
            last = number == _RETRIES
            try:
                status, rest, data = await self._exchange(method, path, body, headers or {})
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                if not last:
                    await _rest_before(number, 0.0)
                    continue
                raise ThinkingError(f"{self.name} cannot be reached: {error}. Is the gateway up?") from error
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                words = self._clean(f"{type(error).__name__} {error}".strip())
                raise ThinkingError(
                    f"{self.name} broke off: {words}. Try again, or look into its log.", unsure=True
                ) from error
            if status in busy and not last:
                await _rest_before(number, rest)
                continue
            return status, data
        raise AssertionError

    async def _exchange(
        self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> tuple[int, float, bytes]:
        if self._session is None:
            raise ThinkingError(f"{self.name} is closed.")
        # Redirects would carry the key to wherever they point.
        async with self._session.request(
            method, self.name + path, json=body, headers=headers, allow_redirects=False
        ) as response:
            data = b""
            while chunk := await response.content.read(1 << 16):
                data += chunk
                if len(data) > _MOST_BYTES:
                    raise ThinkingError(
                        f"{self.name} answered more than {_MOST_BYTES >> 20} MiB, which nobody asked for.", unsure=True
                    )
            return response.status, _rest(response.headers.get("Retry-After", "")), data

    def _judge(self, status: int, data: bytes) -> dict[str, Any]:
        found = decode_json(data)
        if status == 200:
            if isinstance(found, dict):
                return found
            raise ThinkingError(f"{self.name} answered with something that is no JSON object.", unsure=True)
        words = self._clean(_message(found) or f"status {status}")
        if status == 402:
            raise OutOfBudgetError(
                node="run", needed=0, left=0, message=f"The key at {self.name} is out of money: {words}"
            )
        if status in (401, 403):
            raise ThinkingError(f"{self.name} refuses the key: {words}", again=False)
        if status in (400, 422) and isinstance(found, dict):
            raise _CannotError(f"{self.name} refuses the question: {words}", again=False)
        raise ThinkingError(
            f"{self.name} failed with status {status}: {words}",
            again=status >= 500 or status in (409, 429),
            unsure=(status >= 500 and status not in _BUSY) or (self._market and (status >= 500 or status == 409)),
        )

    def _clean(self, text: str) -> str:
        """A stranger's words: short, printable, and without our key, should they repeat it."""
        text = text.replace(self._key, "[key]") if self._key else text
        return "".join(letter if letter.isprintable() else " " for letter in text)[:300]


class _CannotError(ThinkingError):
    """It does not take the question in this form."""


class _EndedReceipt(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    usage: Mapping[str, NonNegativeInt]


class _Ended(BaseModel):
    """What the market's gateway says of a call that is over."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    object: Literal["call"]
    state: Literal["ended"]
    given_up: Literal[True]
    charged: int = Field(ge=0, lt=2**63)
    receipt: _EndedReceipt | None

    @property
    def cost(self) -> Cost:
        usage = {} if self.receipt is None else self.receipt.usage
        return Cost(self.charged, usage.get("prompt", 0), usage.get("completion", 0))


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


def _request_key(call: str, number: int) -> str:
    """The idempotency key of a call's request: 0 with its own schema, from 1 on in words."""
    return f"{call}-{number}" if call else ""


async def _rest_before(number: int, wanted: float) -> None:
    await asyncio.sleep(max(wanted, _RETRY_SECONDS * 2**number))


def _rest(header: str) -> float:
    try:
        return min(max(float(header), 0.0), _LONGEST_REST)
    except ValueError:
        return 0.0


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable()
