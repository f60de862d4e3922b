"""HTTP to agents that nobody trusts: bounded in size and time, no redirects, no proxy or key from our environment."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx

from tercet.swarm.answers import PLAIN, Bounds

__all__ = ["bounded_client"]

_CONNECT_SECONDS = 10.0


class _Bounded(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream, bounds: Bounds) -> None:
        self._stream, self._bounds = stream, bounds

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            yield self._bounds.take(chunk)

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Transport(httpx.AsyncHTTPTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["accept-encoding"] = PLAIN
        response = await super().handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        whose, encoding = f"The agent at {request.url.host}", response.headers.get("content-encoding", "")
        response.stream = _Bounded(response.stream, Bounds(whose, encoding))
        return response


def bounded_client(*, silence: float, token: str = "") -> httpx.AsyncClient:
    """A client for one agent. `silence` is the longest it may say nothing, in seconds."""
    return httpx.AsyncClient(
        transport=_Transport(),
        timeout=httpx.Timeout(silence, connect=_CONNECT_SECONDS),
        headers={"Authorization": f"Bearer {token}"} if token else None,
        follow_redirects=False,
        trust_env=False,
    )
