"""The wire to an address that speaks OpenAI's language: requests, second tries, and what each failure may have cost.

Knows no models and no prices. A failure is `unsure` where the request may have been taken, and charged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Literal

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

from tercet.errors import OutOfBudgetError, ThinkingError
from tercet.market.text import decode_json
from tercet.swarm.gateway.call import Cost

__all__ = ["CannotError", "Ended", "Wire"]

_MOST_BYTES = 8 << 20
_RETRIES = 2
_RETRY_SECONDS = 0.25
_LONGEST_REST = 5.0
_BUSY = {429, 503}
"""It was not taken: trying again is safe."""
_BROKEN = {502, 504}
"""Somebody on the way broke off: it may have been taken, and paid."""
_KEY_HEADER = "Idempotency-Key"


class CannotError(ThinkingError):
    """It does not take the question in this form."""


class _EndedReceipt(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    usage: Mapping[str, NonNegativeInt]


class Ended(BaseModel):
    """What the market's gateway says of a call that is over."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    object: Literal["call"]
    state: Literal["ended"]
    given_up: Literal[True]
    charged: int = Field(ge=0, lt=2**63)
    receipt: _EndedReceipt | None

    @property
    def cost(self) -> Cost:
        """All of it."""
        usage = {} if self.receipt is None else self.receipt.usage
        return Cost(self.charged, usage.get("prompt", 0), usage.get("completion", 0))


class Wire:
    """Connections to one address."""

    def __init__(self, url: str, key: str, seconds: float) -> None:
        """`url` without a slash at its end; `seconds` is the longest silence."""
        self.name = url
        self.sells_once = False
        """Whether it is a market's gateway, which sells once under an idempotency key."""
        self._key = key
        self._seconds = seconds
        self._session: aiohttp.ClientSession | None = None

    def open(self) -> None:
        """Get ready to connect."""
        if self._session is None:
            headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
            timeout = aiohttp.ClientTimeout(total=None, connect=10, sock_read=self._seconds)
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(
                headers=headers, timeout=timeout, connector=connector, cookie_jar=aiohttp.DummyCookieJar()
            )

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def look(self, path: str) -> dict[str, Any]:
        """One JSON object that costs nothing to read."""
        status, data, _ = await self._send("GET", path)
        return self._judge(status, data)

    async def buy(self, body: Mapping[str, Any], key: str) -> dict[str, Any]:
        """An answer. Whatever goes wrong once the request may have arrived is an error that says so: it may be charged."""
        headers = {_KEY_HEADER: key} if key else {}
        try:
            status, data, doubt = await self._send("POST", "/chat/completions", body, headers)
        except asyncio.CancelledError as stop:
            raise ThinkingError(f"{self.name} was given up before it had answered.", unsure=True) from stop
        try:
            return self._judge(status, data)
        except (ThinkingError, OutOfBudgetError) as error:
            if not doubt:
                raise
            # The last answer costs nothing; one before it broke off, and nobody knows what that did.
            raise ThinkingError(str(error), unsure=True) from error

    async def give_up(self, key: str) -> Ended:
        """Close a request of ours at the market's gateway, whether it arrived or not.

        Raises:
            ThinkingError: it cannot say now; or never, where it is older than this path.

        """
        try:
            async with asyncio.timeout(_LONGEST_REST):
                status, _, data = await self._exchange("DELETE", f"/calls/{key}", None, {})
            if status == 200:
                return Ended.model_validate(decode_json(data))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ThinkingError(f"{self.name} cannot be asked what a call cost: {type(error).__name__}.") from error
        raise ThinkingError(f"{self.name} does not say what a call cost.", again=status == 202 or status >= 500)

    async def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes, bool]:
        """Status, body, and whether a try before the last one may have been taken.

        Tried again where it was not taken yet, or where the seller knows our key and sells once.
        """
        busy = _BUSY | _BROKEN if self.sells_once or method == "GET" else _BUSY
        doubt = False
        for number in range(_RETRIES + 1):
            last = number == _RETRIES
            try:
                status, rest, data = await self._exchange(method, path, body, headers or {})
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                if not last:
                    await _rest_before(number, 0.0)
                    continue
                raise ThinkingError(
                    f"{self.name} cannot be reached: {error}. Is the gateway up?", unsure=doubt
                ) from error
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                words = self._clean(f"{type(error).__name__} {error}".strip())
                raise ThinkingError(
                    f"{self.name} broke off: {words}. Try again, or look into its log.", unsure=True
                ) from error
            if status in busy and not last:
                doubt = doubt or status in _BROKEN
                await _rest_before(number, rest)
                continue
            return status, data, doubt
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
            raise OutOfBudgetError(f"The key at {self.name} is out of money: {words}", node="run", needed=0, left=0)
        if status in (401, 403):
            raise ThinkingError(f"{self.name} refuses the key: {words}", again=False)
        if status in (400, 422) and isinstance(found, dict):
            raise CannotError(f"{self.name} refuses the question: {words}", again=False)
        raise ThinkingError(
            f"{self.name} failed with status {status}: {words}",
            again=status >= 500 or status in (409, 429),
            unsure=(status >= 500 and status not in _BUSY) or (self.sells_once and (status >= 500 or status == 409)),
        )

    def _clean(self, text: str) -> str:
        """A stranger's words: short, printable, and without our key, should they repeat it."""
        text = text.replace(self._key, "[key]") if self._key else text
        return "".join(letter if letter.isprintable() else " " for letter in text)[:300]


def _message(found: Any) -> str:
    error = found.get("error") if isinstance(found, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) else ""


async def _rest_before(number: int, wanted: float) -> None:
    await asyncio.sleep(max(wanted, _RETRY_SECONDS * 2**number))


def _rest(header: str) -> float:
    try:
        return min(max(float(header), 0.0), _LONGEST_REST)
    except ValueError:
        return 0.0
