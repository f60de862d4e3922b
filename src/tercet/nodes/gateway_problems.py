"""What a client of the gateway is told when something fails: an HTTP status, and words in OpenAI's shape."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tercet.errors import (
    BudgetSpentError,
    BusyError,
    CallError,
    MinerError,
    NoMinerError,
    SubnetError,
    UnknownKeyError,
)
from tercet.nodes.gateway_openai import build_error

__all__ = ["Problem", "explain"]


@dataclass(frozen=True, slots=True)
class Problem:
    """An error on its way to a client."""

    status: int
    kind: str
    code: str
    message: str
    param: str | None = None
    retry_after: float | None = None
    """Seconds; None where trying again would not help."""

    def content(self) -> dict[str, Any]:
        """The body, and the event of a stream that has begun."""
        return build_error(self.message, self.kind, self.code, self.param)

    def response(self) -> web.Response:
        """The whole answer; where it helps to try again, it says when."""
        headers = {}
        if self.retry_after is not None:
            headers = {
                "Retry-After": str(max(1, math.ceil(self.retry_after))),
                "retry-after-ms": str(max(1, math.ceil(self.retry_after * 1000))),
            }
        return web.json_response(self.content(), status=self.status, headers=headers)


def explain(error: BaseException) -> Problem:
    """What a client is told, and with which HTTP status."""
    text = str(error)
    match error:
        case UnknownKeyError():
            return Problem(401, "invalid_request_error", "invalid_api_key", text)
        case BudgetSpentError():
            return Problem(402, "insufficient_quota", "insufficient_quota", text)
        case CallError():
            return Problem(error.status, "invalid_request_error", error.code, text, error.param)
        case SubnetError():
            return Problem(422, "invalid_request_error", "invalid_value", text)
        case NoMinerError():
            return Problem(503, "server_error", "no_miner", text, retry_after=error.retry_after)
        case BusyError():
            return Problem(503, "server_error", "busy", text, retry_after=error.retry_after)
        case MinerError():
            return Problem(502, "server_error", "miner_failed", f"The miner failed in the middle: {text}")
        case TimeoutError():
            return Problem(408, "invalid_request_error", "too_slow", "The body did not arrive in time.")
        case web.HTTPRequestEntityTooLarge():
            return Problem(413, "invalid_request_error", "too_large", "The body is too large. Send less than 1 MiB.")
        case web.HTTPException():
            return Problem(
                error.status, "invalid_request_error", "not_found", f"{error.reason}: see docs/reference/gateway.md."
            )
        case _:
            return Problem(503, "server_error", "unavailable", text, retry_after=2.0)
