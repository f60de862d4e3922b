"""The server's side of the wire: proves who asks, lets them in or not, streams a signed answer.

Knows nothing of what is asked or paid: a route turns a proven `Call` into `Work`. Order matters, and
each step is cheaper than the next: size, address, proof, replay, the caller's rate, body, work.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from aiohttp import web
from aiohttp.streams import StreamReader

from tercet.chain.keys import Key
from tercet.errors import RefusalError, SubnetError, TercetError, UsageError
from tercet.market import Usage
from tercet.market.text import decode_json
from tercet.nodes import wire
from tercet.nodes.admission import Admission, Limits
from tercet.nodes.guard import GuardedServer
from tercet.nodes.outlet import CallerGoneError, Outlet
from tercet.nodes.replay_cache import ReplayCache
from tercet.nodes.session import Session, Sessions
from tercet.nodes.wire import RequestHead
from tercet.subnets.mechanism import Piece

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose sender is proven."""

    head: RequestHead
    request: bytes
    """sha256 of the canonical text: what the answer names it by."""
    body: bytes
    weight: float
    """The sender's weight; 0 is a stranger."""


class Work(Protocol):
    """What a route agreed to do. Exactly one of `settle`, `fail` and `abandon` ends it."""

    def pieces(self) -> AsyncIterator[Piece]:
        """Do it, piece by piece; the last one carries `usage`."""

    def settle(self, usage: Usage) -> tuple[int, int]:
        """All pieces are made: write down the charge, and return (charged, charged in all)."""

    def fail(self) -> None:
        """It cannot be done: nothing is charged."""

    def abandon(self, pieces: int) -> None:
        """The caller left after that many pieces were sent."""


Route: TypeAlias = Callable[[Call], Awaitable[Work]]


def weigh_nobody(_sender: str) -> float:
    """Everybody is a stranger."""
    return 0.0


class WireServer:
    """Serves routes on one port, in the name of one key. `start`, then `stop`."""

    def __init__(
        self,
        key: Key,
        state: Path,
        routes: Mapping[str, Route],
        *,
        info: Callable[[], Mapping[str, Any]],
        weigh: Callable[[str], float] = weigh_nobody,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`routes` maps a path's last part to its handler; `weigh` gives a sender's weight; `clock` is unix seconds."""
        self._key, self._info, self._weigh, self._clock = key, info, weigh, clock
        self._routes = {wire.PREFIX + name: route for name, route in routes.items()}
        self._routes[wire.SESSION_PATH] = self._open_session
        self._limits = limits or Limits()
        self._replays = ReplayCache(state / "replay.sqlite")
        self._admission = Admission(self._limits, time.monotonic)
        self._sessions = Sessions()
        self._signed_info: tuple[float, bytes, str] = (0.0, b"", "")
        self._stopping = False

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port (chosen by the system when 0). `UsageError` when it is taken."""
        self._server = GuardedServer(
            self._handle,
            self._limits,
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=self._limits.idle_seconds,
            lingering_time=2.0,
        )
        loop = asyncio.get_running_loop()
        try:
            self._listener = await loop.create_server(self._server, host, port, backlog=512)
        except OSError as error:
            raise UsageError(
                f"Cannot listen on {host}:{port}: {error.strerror or error}. Choose another port, or 0 for any free one."
            ) from error
        self._sweeper = asyncio.create_task(self._server.door.sweep_forever())
        return int(self._listener.sockets[0].getsockname()[1])

    async def stop(self, grace_seconds: float = 10.0) -> None:
        """Refuse what is new, give what is running `grace_seconds`, then close everything."""
        self._stopping = True
        self._listener.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await self._admission.idle.wait()
        self._sweeper.cancel()
        await self._server.shutdown(0.1)
        self._replays.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        guard = self._server.door.guard(request.protocol)
        if guard is None:
            raise ConnectionResetError
        guard.begin_work()
        head: RequestHead | None = None
        try:
            if request.method == "GET" and request.path == wire.INFO_PATH:
                return self._answer_info()
            self._validate_envelope(request)
            head = wire.parse_head(request.method, request.path, request.headers)
            return await self._serve(request, head, guard.address)
        except RefusalError as refusal:
            return self._refuse(refusal, head, request)
        except CallerGoneError as gone:
            raise ConnectionResetError from gone
        finally:
            guard.end_work()

    def _validate_envelope(self, request: web.BaseRequest) -> None:
        if self._stopping:
            raise RefusalError("stopping")
        if request.method != "POST" or request.path not in self._routes:
            raise RefusalError("not_found")
        if (request.content_length or 0) > wire.MAX_BODY_BYTES:
            raise RefusalError("too_large")

    async def _serve(self, request: web.BaseRequest, head: RequestHead, address: str) -> web.StreamResponse:
        now_ms = int(self._clock() * 1000)
        if head.receiver != self._key.address:
            raise RefusalError("wrong_receiver")
        text = head.text
        session = self._prove(request, head, text, address, now_ms)
        weight = self._weigh(head.sender)
        if session is not None:
            session.weight = weight
            session.nonces.validate_new(head.nonce)
        else:
            self._replays.validate_new(head.sender, head.nonce)
        if weight > 0:
            self._admission.admit_caller(head.sender, weight)
        elif session is not None:  # a signed stranger has paid at the address's bucket already
            self._admission.admit_address(address)
        with self._admission.slot(weight):
            body = await self._read_body(request.content)
            if hashlib.sha256(body).hexdigest() != head.body:
                raise RefusalError("unauthorized")
            if session is not None:
                session.nonces.add(head.nonce, now_ms, wire.LIFE_MS + wire.SKEW_MS)
            else:
                self._replays.add(head.sender, head.nonce, head.expires, now_ms)
            call = Call(head, hashlib.sha256(text).digest(), body, weight)
            work = await self._routes[head.path](call)
            return await self._stream(request, call, work)

    def _prove(
        self, request: web.BaseRequest, head: RequestHead, text: bytes, address: str, now_ms: int
    ) -> Session | None:
        """The session of a request, None for a signed one; refuses what is neither."""
        headers = request.headers
        name, mac, signature = headers.get(wire.SESSION), headers.get(wire.MAC), headers.get(wire.SIGNATURE)
        if name is not None and mac is not None and head.path != wire.SESSION_PATH:
            session = self._sessions.find(name, now_ms)
            session.validate(head.sender, text, mac)
            wire.validate_time(head, now_ms)
            return session
        self._admission.admit_address(address)
        wire.validate_time(head, now_ms)
        if signature is None:
            raise RefusalError("unauthorized")
        wire.validate_signature(text, signature, head.sender)
        return None

    async def _read_body(self, content: StreamReader) -> bytes:
        if content.is_eof():
            body = content.read_nowait()
            if len(body) > wire.MAX_BODY_BYTES:
                raise RefusalError("too_large")
            return body
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while chunk := await content.readany():
                    size += len(chunk)
                    if size > wire.MAX_BODY_BYTES:
                        raise RefusalError("too_large")
                    chunks.append(chunk)
        except TimeoutError:
            raise RefusalError("too_slow") from None
        except web.RequestPayloadError:
            raise RefusalError("bad_request") from None
        return b"".join(chunks)

    async def _stream(self, request: web.BaseRequest, call: Call, work: Work) -> web.StreamResponse:
        outlet = Outlet(request, self._limits.write_seconds)
        over = False
        try:
            usage = await _pump(work, outlet)
            charged, total = work.settle(usage)
            over = True
            answer = wire.sign_answer(self._key, call.request, outlet.digest(), usage, charged, total)
            return await outlet.finish(wire.encode_answer(answer))
        except CallerGoneError:
            raise
        except Exception as error:  # a plugin may raise anything: it gets a log line, the caller a typed answer
            trace = not isinstance(error, TercetError)
            log.warning("work.failed error=%r", str(error) or type(error).__name__, exc_info=trace)
            if not over:
                work.fail()
                over = True
            return await self._fail(outlet, call)
        finally:
            if not over:
                work.abandon(outlet.pieces)
            outlet.close()

    async def _fail(self, outlet: Outlet, call: Call) -> web.StreamResponse:
        if not outlet.sent:
            raise RefusalError("work_failed")
        status, line = wire.encode_refusal(RefusalError("work_failed"))
        signature = self._key.sign_text(wire.error_text(call.request, status, outlet.digest()))
        head = line.rstrip(b"}\n") + b'},"signer":"%s","signature":"0x%s"}\n'
        return await outlet.finish(head % (self._key.address.encode(), signature.hex().encode()))

    def _refuse(self, refusal: RefusalError, head: RequestHead | None, request: web.BaseRequest) -> web.StreamResponse:
        status, body = wire.encode_refusal(refusal)
        headers = {"Retry-After": str(max(1, round(refusal.retry_after)))} if refusal.retry_after else {}
        if head is not None and refusal.code not in wire.UNSIGNED_CODES:
            text = wire.error_text(hashlib.sha256(head.text).digest(), status, hashlib.sha256(body).digest())
            headers |= {wire.SIGNER: self._key.address, wire.SIGNATURE: "0x" + self._key.sign_text(text).hex()}
        log.debug("request.refused code=%s", refusal.code)
        response = web.Response(status=status, body=body, headers=headers, content_type="application/json")
        if not request.content.is_eof():
            response.force_close()
        return response

    def _answer_info(self) -> web.StreamResponse:
        made, body, signature = self._signed_info
        now = self._clock()
        if not 0 <= now - made < 1.0:  # one signature a second at most, whoever asks how often
            body = wire.encode_json({**self._info(), "operator": self._key.address, "time": int(now * 1000)}) + b"\n"
            signature = "0x" + self._key.sign_text(wire.info_text(hashlib.sha256(body).digest())).hex()
            self._signed_info = (now, body, signature)
        headers = {wire.SIGNER: self._key.address, wire.SIGNATURE: signature}
        return web.Response(body=body, headers=headers, content_type="application/json")

    async def _open_session(self, call: Call) -> Work:
        now_ms = int(self._clock() * 1000)
        public = read_object(call.body).get("public")
        _, piece = self._sessions.open(call.head.sender, public, call.request, weight=call.weight, now_ms=now_ms)
        return FreeWork(piece)


class FreeWork:
    """One piece that costs nothing."""

    def __init__(self, piece: Piece) -> None:
        self._piece = piece

    async def pieces(self) -> AsyncIterator[Piece]:
        """The piece."""
        yield {**self._piece, "usage": {"prompt": 0, "completion": 0}}

    def settle(self, usage: Usage) -> tuple[int, int]:  # noqa: ARG002 - Work's shape
        """Free."""
        return 0, 0

    def fail(self) -> None:
        """Nothing to undo."""

    def abandon(self, pieces: int) -> None:
        """Nothing to charge."""


def read_object(body: bytes) -> dict[str, Any]:
    """A JSON object out of a stranger's bytes; refuses with `bad_request`."""
    value = decode_json(body)
    if not isinstance(value, dict):
        raise RefusalError("bad_request")
    return value


async def _pump(work: Work, outlet: Outlet) -> Usage:
    last: Piece = {}
    async for piece in work.pieces():
        if "answer" in piece or "error" in piece:
            raise SubnetError("A piece may not be named 'answer' or 'error': those are the trailers' names.")
        await outlet.put(wire.encode_json(piece) + b"\n")
        last = piece
    return wire.parse_usage(last.get("usage"))
