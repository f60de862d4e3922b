"""HTTP to agents that nobody trusts: bounded in size and time, no redirects, no proxy or key from our environment."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import httpx

from tercet.errors import AgentError

__all__ = ["MAX_ANSWER", "bounded_client"]

MAX_ANSWER = 4 << 20
"""Bytes of one answer, of all events of a stream together."""
_CONNECT_SECONDS = 10.0


MAX_DEPTH = 64
"""Levels of nesting that an answer's JSON may have: parsers recurse."""
_MARKS = re.compile(rb'\\\\.|["\[\]{}]', re.DOTALL)


class Depth:
    """How deep the JSON that flows past is nested."""

    def __init__(self) -> None:
        self._level, self._in_string, self._left = 0, False, b""

    def passes(self, chunk: bytes) -> bool:
        """Look at the next piece; False once it is too deep."""
        data = self._left + chunk
        tail = len(data) - len(data.rstrip(b"\\"))
        self._left = data[-1:] if tail % 2 else b""  # the character that this backslash is for has not come yet
        for mark in _MARKS.findall(data[: len(data) - len(self._left)]):
            if mark == b'"':
                self._in_string = not self._in_string
            elif not self._in_string and len(mark) == 1:
                self._level = max(0, self._level + (1 if mark in b"[{" else -1))
                if self._level > MAX_DEPTH:
                    return False
        return True


class _Bounded(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream, host: str) -> None:
        self._stream, self._host = stream, host

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size, depth = 0, Depth()
        async for chunk in self._stream:
            size += len(chunk)
            if size > MAX_ANSWER:
                raise AgentError(f"The agent at {self._host} answers more than {MAX_ANSWER} bytes.")
            if not depth.passes(chunk):
                raise AgentError(
                    f"The agent at {self._host} answers with JSON that is nested beyond {MAX_DEPTH} levels."
                )
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Transport(httpx.AsyncHTTPTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["accept-encoding"] = "identity"  # a bomb is as large as it looks
        response = await super().handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Bounded(response.stream, request.url.host)
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
