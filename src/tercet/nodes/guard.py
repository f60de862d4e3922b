"""Time limits and counts for connections, in front of aiohttp's HTTP protocol, which has none for headers."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from tercet.errors import RefusalError
from tercet.nodes.admission import Limits
from tercet.nodes.wire import encode_refusal


class Guard(asyncio.Protocol):
    """One connection: notes by when it must have sent its next headers.

    A timer for each request would cost more than parsing it, so a connection only notes its deadline
    and one sweep a second closes those that are past it.
    """

    __slots__ = ("_door", "_idle", "_inner", "_transport", "address", "deadline")

    def __init__(self, door: Door, inner: RequestHandler) -> None:
        self._door, self._inner = door, inner
        self._transport: asyncio.Transport | None = None
        self._idle = False
        self.address = ""
        """The remote address, without its port."""
        self.deadline: float | None = None
        """Loop time at which it is closed; None while a handler works."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it, or turn it away."""
        assert isinstance(transport, asyncio.Transport)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""
        if not self._door.enter(self, self._inner):
            transport.abort()
            return
        self._transport = transport
        self.deadline = self._door.now() + self._door.limits.header_seconds
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """The first bytes after a pause start the time limit of a request's headers."""
        if self._transport is None:
            return
        if self._idle:
            self._idle = False
            self.deadline = self._door.now() + self._door.limits.header_seconds
        self._inner.data_received(data)

    def eof_received(self) -> None:
        """Passed on."""
        if self._transport is not None:
            self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Uncount it."""
        if self._transport is not None:
            self._door.leave(self, self._inner)
            self._inner.connection_lost(exc)
            self._transport = None

    def pause_writing(self) -> None:
        """Passed on."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Passed on."""
        self._inner.resume_writing()

    def begin_work(self) -> None:
        """The headers are complete: from here the handler keeps its own time."""
        self._idle, self.deadline = False, None

    def end_work(self) -> None:
        """The answer is out; the connection may rest for a while."""
        self._idle, self.deadline = True, self._door.now() + self._door.limits.idle_seconds

    def abort(self) -> None:
        """Close at once, without a word: who is past the time limit is not listening."""
        if self._transport is not None:
            self._transport.abort()


class Door:
    """The connections of one listener: how many there may be, and by when each must speak."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._guards: dict[RequestHandler, Guard] = {}
        self._addresses: Counter[str] = Counter()
        self.now = asyncio.get_running_loop().time

    def enter(self, guard: Guard, inner: RequestHandler) -> bool:
        """Whether there is room for one more connection, in all and from its address."""
        full = len(self._guards) >= self.limits.connections
        if full or self._addresses[guard.address] >= self.limits.connections_per_address:
            return False
        self._guards[inner] = guard
        self._addresses[guard.address] += 1
        return True

    def leave(self, guard: Guard, inner: RequestHandler) -> None:
        """A connection is over."""
        del self._guards[inner]
        self._addresses[guard.address] -= 1
        if not self._addresses[guard.address]:
            del self._addresses[guard.address]

    def guard(self, inner: RequestHandler) -> Guard | None:
        """The guard of a connection, None when it is already gone."""
        return self._guards.get(inner)

    def sweep(self) -> None:
        """Close every connection that is past its deadline."""
        now = self.now()
        late = [guard for guard in self._guards.values() if guard.deadline is not None and guard.deadline < now]
        for guard in late:
            guard.abort()

    async def sweep_forever(self) -> None:
        """Sweep as often as the shortest limit asks for, at least once a second."""
        while True:
            await asyncio.sleep(min(1.0, self.limits.header_seconds / 4))
            self.sweep()


class QuietHandler(RequestHandler):
    """aiohttp's protocol, less its error pages: those repeat a stranger's bytes, ours never do."""

    __slots__ = ()

    def handle_error(self, *_: Any, **__: Any) -> web.StreamResponse:
        """Bytes that are no HTTP get `bad_request`."""
        status, body = encode_refusal(RefusalError("bad_request"))
        response = web.Response(status=status, body=body, content_type="application/json")
        response.force_close()
        return response


class GuardedServer(web.Server):
    """aiohttp's low-level server with a `Guard` before each connection."""

    def __init__(self, handler: Any, limits: Limits, **options: Any) -> None:
        super().__init__(handler, **options)
        self.door = Door(limits)

    def __call__(self) -> Any:
        """The protocol of a new connection."""
        return Guard(self.door, QuietHandler(self, loop=self._loop, **self._kwargs))
