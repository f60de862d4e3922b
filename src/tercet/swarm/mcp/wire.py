"""HTTP to servers of tools that nobody trusts, as `a2a.wire` to agents: the library of theirs has a client of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2

from tercet.swarm.answers import PLAIN, Bounds

__all__ = ["bounded_client"]


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, bounds: Bounds) -> None:
        self._stream, self._bounds = stream, bounds

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            yield self._bounds.take(chunk)

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Transport(httpx2.AsyncHTTPTransport):
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.headers["accept-encoding"] = PLAIN
        response = await super().handle_async_request(request)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        whose, encoding = f"The server at {request.url.host}", response.headers.get("content-encoding", "")
        response.stream = _Bounded(response.stream, Bounds(whose, encoding))
        return response


def bounded_client(*, silence: float, token: str = "") -> httpx2.AsyncClient:
    """A client for one server. `silence` is the longest it may say nothing, in seconds."""
    return httpx2.AsyncClient(
        transport=_Transport(),
        timeout=silence,
        headers={"Authorization": f"Bearer {token}"} if token else None,
        follow_redirects=False,
        trust_env=False,
    )
