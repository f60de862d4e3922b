"""Writes an answer: every piece as soon as it is made, and all of it at once when nothing had to wait."""

from __future__ import annotations

import asyncio
import hashlib

from aiohttp import web

from tercet.errors import WireError

HIGH_WATER_BYTES = 1 << 18


class CallerGoneError(WireError):
    """Who asked has left, or takes nothing of what is written."""


class Outlet:
    """The body of one answer.

    Pieces are put in a buffer and flushed when the event loop next turns. Work that never waits ends
    before that: its answer goes out whole, with a Content-Length, in one write. Work that waits
    between pieces has each one sent at once.
    """

    def __init__(self, request: web.BaseRequest, write_seconds: float) -> None:
        self._request, self._write_seconds = request, write_seconds
        self._loop = asyncio.get_running_loop()
        self._hash = hashlib.sha256()
        self._buffer: list[bytes] = []
        self._waiting = 0
        self._soon: asyncio.Handle | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._response: web.StreamResponse | None = None
        self.pieces = 0

    @property
    def sent(self) -> bool:
        """Whether anything has left, so that the HTTP status is spent."""
        return self._response is not None

    def digest(self) -> bytes:
        """sha256 of all pieces so far."""
        return self._hash.digest()

    async def put(self, line: bytes) -> None:
        """Send a piece. Waits only for a caller that takes less than we make; `CallerGoneError` when it takes nothing."""
        self._hash.update(line)
        self._buffer.append(line)
        self._waiting += len(line)
        self.pieces += 1
        if self._flushing is not None and (self._flushing.done() or self._waiting > HIGH_WATER_BYTES):
            await self._flushing
            self._flushing = None
        if self._soon is None and self._flushing is None:
            self._soon = self._loop.call_soon(self._begin_flush)

    async def finish(self, trailer: bytes) -> web.StreamResponse:
        """Send the trailer and end the answer."""
        if self._soon is not None:
            self._soon.cancel()
        if self._flushing is not None:
            await self._flushing
        self._buffer.append(trailer)
        if self._response is None:
            return web.Response(body=b"".join(self._buffer), content_type="application/x-ndjson")
        await self._flush()
        try:
            async with asyncio.timeout(self._write_seconds):
                await self._response.write_eof()
        except (TimeoutError, ConnectionError) as error:
            raise CallerGoneError("the caller left") from error
        return self._response

    def close(self) -> None:
        """Let go of what is still to be sent."""
        if self._soon is not None:
            self._soon.cancel()
        if self._flushing is not None and not self._flushing.cancel() and not self._flushing.cancelled():
            self._flushing.exception()  # seen: the caller has left, and that was said already

    def _begin_flush(self) -> None:
        self._soon = None
        self._flushing = self._loop.create_task(self._flush())

    async def _flush(self) -> None:
        try:
            async with asyncio.timeout(self._write_seconds):
                await self._write()
        except (TimeoutError, ConnectionError) as error:
            raise CallerGoneError("the caller left") from error

    async def _write(self) -> None:
        if self._response is None:
            self._response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
            self._response.enable_chunked_encoding()
            await self._response.prepare(self._request)
        while self._buffer:
            data, self._buffer, self._waiting = b"".join(self._buffer), [], 0
            await self._response.write(data)
