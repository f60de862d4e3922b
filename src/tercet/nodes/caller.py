"""The client's side of the wire: sessions, one pool of connections, a deadline on every call, verified answers."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp
from yarl import URL

from tercet.chain.keys import Key
from tercet.errors import MinerMisbehaved, MinerRefused, MinerUnreachable, RefusalError, WireError
from tercet.market import Answer
from tercet.market.text import decode_json
from tercet.nodes import wire
from tercet.nodes.session import Opening, compute_mac
from tercet.subnets.mechanism import Piece

log = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 16 << 20
MAX_REFUSAL_BYTES = 1 << 16
SESSION_MARGIN_MS = 60_000
"""A session is replaced this long before its end."""
CONNECT_SECONDS = 5.0
INFO_AGE_MS = 600_000


@dataclass(slots=True)
class Peer:
    """What a caller knows of one server."""

    endpoint: URL
    operator: str
    offset_ms: int = 0
    """The server's clock minus ours."""
    session: tuple[str, bytes, int] | None = None
    """Name, MAC key, end in the server's unix ms."""
    public: bytes = b""
    """The operator's public key, once an answer showed it."""
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    urls: dict[str, URL] = field(default_factory=dict)

    def url(self, path: str) -> URL:
        """The address of a path."""
        url = self.urls.get(path)
        if url is None:
            url = self.urls[path] = self.endpoint.with_path(self.endpoint.path.rstrip("/") + path)
        return url


class Reply:
    """An answer as it comes in: iterate over the pieces, then read `answer`.

    Pieces are handed on before the trailer proves them; whoever acts on one before the end does so
    on the miner's bare word.
    """

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        text: bytes,
        deadline: float,
        peer: Peer,
        *,
        keep: bool = False,
        most_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self.text = text
        """The canonical request text."""
        self.request = hashlib.sha256(text).digest()
        """Its sha256: what the answer names the request by."""
        self.lines: list[bytes] | None = [] if keep else None
        """The pieces as the miner wrote and signed them; None unless they are kept."""
        self.answer: Answer | None = None
        """The verified trailer; None before the end."""
        self._response, self._deadline, self._peer, self._operator = response, deadline, peer, peer.operator
        self._hash = hashlib.sha256()
        self._buffer = bytearray()
        self._size, self._most_bytes = 0, most_bytes
        self._usage: object = None

    def __aiter__(self) -> Reply:
        return self

    async def __anext__(self) -> Piece:
        if self.answer is not None:
            raise StopAsyncIteration
        line = await self._read_line()
        value = decode_json(line)
        if not isinstance(value, dict):
            raise self._misbehaved("a line of the answer is no JSON object")
        if "answer" in value:
            await self._finish(value["answer"])
            raise StopAsyncIteration
        if "error" in value:
            raise self._refused(value)
        self._hash.update(line)
        if self.lines is not None:
            self.lines.append(line)
        self._usage = value.get("usage")
        return value

    async def close(self) -> None:
        """Give the connection back when the answer is complete, close it when it is not."""
        if self.answer is not None:
            self._response.release()
        else:
            self._response.close()

    async def _read_line(self) -> bytes:
        end = self._buffer.find(b"\n")
        while end < 0:
            chunk = await self._read_chunk()
            if not chunk:
                raise self._misbehaved("the answer ended without a signed trailer")
            known = len(self._buffer)
            self._buffer += chunk
            end = self._buffer.find(b"\n", known)
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        return line

    async def _read_chunk(self) -> bytes:
        content = self._response.content
        try:
            chunk = content.read_nowait()
            if not chunk and not content.is_eof():
                async with asyncio.timeout_at(self._deadline):
                    chunk = await content.readany()
        except TimeoutError:
            raise MinerUnreachable(f"The miner {self._operator} did not finish its answer in time.") from None
        except aiohttp.ClientPayloadError as error:
            raise MinerUnreachable(f"The connection to the miner {self._operator} broke: {error}.") from error
        except aiohttp.ClientError as error:
            raise MinerUnreachable(f"The miner {self._operator} left in the middle of its answer: {error}.") from error
        self._size += len(chunk)
        if self._size > self._most_bytes:
            raise self._misbehaved(f"the answer is larger than {self._most_bytes >> 20} MiB")
        return chunk

    async def _finish(self, value: object) -> None:
        try:
            answer = wire.parse_answer(value)
            digest, known = self._hash.digest(), self._peer.public
            self._peer.public = wire.validate_answer(answer, self._operator, self.request, digest, known)
            if wire.parse_usage(self._usage) != answer.usage:
                raise WireError("The trailer's usage is not the last piece's.")
        except WireError as error:
            raise self._misbehaved(str(error)) from error
        if self._buffer or await self._read_chunk():
            raise self._misbehaved("there are bytes after the trailer")
        self.answer = answer

    def _refused(self, value: dict[str, Any]) -> Exception:
        refusal = wire.parse_refusal(value["error"])
        text = wire.error_text(self.request, 500, self._hash.digest())
        if refusal is None or not wire.is_signed(text, str(value.get("signature")), self._operator):
            return self._misbehaved("it broke off with an error that it did not sign")
        return build_refused(refusal, self._operator)

    def _misbehaved(self, why: str) -> MinerMisbehaved:
        return MinerMisbehaved(f"The miner {self._operator} misbehaved: {why}.")


def build_refused(refusal: RefusalError, operator: str) -> MinerRefused:
    """The buyer's view of a refusal, in our words for its code."""
    words = wire.CODES[refusal.code][1]
    return MinerRefused(
        f"The miner {operator} refused ({refusal.code}): {words}",
        code=refusal.code,
        retry_after=refusal.retry_after,
        facts=refusal.facts,
    )


class Caller:
    """Sends requests in the name of one key. Use as an async context manager, or `close` it."""

    def __init__(
        self,
        key: Key,
        *,
        clock: Callable[[], float] = time.time,
        connections: int = 256,
        most_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self._key, self._clock, self._connections, self._most_bytes = key, clock, connections, most_bytes
        self._peers: dict[tuple[str, str], Peer] = {}
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.close()

    def peer(self, endpoint: str, operator: str) -> Peer:
        """What is known of a server; `MinerMisbehaved` for an endpoint that is no http(s) address."""
        peer = self._peers.get((endpoint, operator))
        if peer is None:
            peer = self._peers[endpoint, operator] = Peer(_parse_endpoint(endpoint, operator), operator)
        return peer

    @asynccontextmanager
    async def ask(self, peer: Peer, path: str, body: bytes, *, deadline: float) -> AsyncIterator[Reply]:
        """Send `body` under the peer's session and hand out the reply.

        Args:
            peer: from `peer`.
            path: the full path, such as /tercet/v1/echo.
            body: JSON.
            deadline: event-loop time by which the whole answer must be here.

        Raises:
            MinerUnreachable, MinerRefused, MinerMisbehaved: here, or while the reply is read.
        """
        reply = await self.begin(peer, path, body, deadline=deadline)
        try:
            yield reply
        finally:
            await reply.close()

    async def begin(
        self, peer: Peer, path: str, body: bytes, *, deadline: float, signed: bool = False, keep: bool = False
    ) -> Reply:
        """As `ask`, for who closes the reply itself. `signed` signs instead of using a session, `keep` keeps the lines."""
        mended: set[str] = set()
        while True:
            now_ms = self._now_ms(peer)
            session = None if signed else peer.session
            if session is None and not signed:
                session = await self._open(peer, deadline)
                now_ms = self._now_ms(peer)
            head = wire.build_head(path, peer.operator, self._key.address, body, now_ms=now_ms)
            text, headers = head.text, head.headers()
            if session is None:
                headers[wire.SIGNATURE] = "0x" + self._key.sign_text(text).hex()
            else:
                headers[wire.SESSION], headers[wire.MAC] = session[0], compute_mac(session[1], text)
            response = await self._post(peer.url(path), body, headers, deadline, peer.operator)
            if response.status == 200:
                return Reply(response, text, deadline, peer, keep=keep, most_bytes=self._most_bytes)
            refusal = await self._read_refusal(response, text, peer.operator, deadline)
            if refusal.code in mended or not self._mend(peer, refusal, session):
                raise build_refused(refusal, peer.operator)
            mended.add(refusal.code)

    def _mend(self, peer: Peer, refusal: RefusalError, session: tuple[str, bytes, int] | None) -> bool:
        """Whether a second try has a reason to succeed."""
        server_time = refusal.facts.get("server_time")
        if refusal.code == "clock_skew" and isinstance(server_time, int):
            peer.offset_ms = server_time - int(self._clock() * 1000)
            log.warning("clock.corrected miner=%s offset_ms=%d", peer.operator, peer.offset_ms)
            return True
        if refusal.code == "session_unknown" and session is not None:
            if peer.session is session:
                peer.session = None
            return True
        return False

    async def _open(self, peer: Peer, deadline: float) -> tuple[str, bytes, int]:
        """A session with the peer; one handshake for all who wait."""
        async with peer.opening:
            if peer.session is not None and peer.session[2] > self._now_ms(peer) + SESSION_MARGIN_MS:
                return peer.session
            opening = Opening(Key.generate())
            body = wire.encode_json(opening.body)
            reply = await self.begin(peer, wire.SESSION_PATH, body, deadline=deadline, signed=True)
            try:
                pieces = [piece async for piece in reply]
                peer.session = opening.finish(pieces[0] if pieces else None, reply.request)
            except WireError as error:
                if isinstance(error, MinerMisbehaved | MinerRefused | MinerUnreachable):
                    raise
                raise MinerMisbehaved(f"The miner {peer.operator} misbehaved: {error}") from error
            finally:
                await reply.close()
            return peer.session

    def _now_ms(self, peer: Peer) -> int:
        now = int(self._clock() * 1000) + peer.offset_ms
        if peer.session is not None and peer.session[2] <= now + SESSION_MARGIN_MS:
            peer.session = None
        return now

    async def _post(
        self, url: URL, body: bytes, headers: dict[str, str], deadline: float, operator: str
    ) -> aiohttp.ClientResponse:
        try:
            async with asyncio.timeout_at(deadline):
                return await self._client().post(
                    url, data=aiohttp.BytesPayload(body), headers=headers, allow_redirects=False
                )
        except TimeoutError:
            raise MinerUnreachable(f"The miner {operator} at {url.origin()} did not answer in time.") from None
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            unreachable = MinerUnreachable(f"The miner {operator} at {url.origin()} is not there: {error}.")
            unreachable.sent = not isinstance(error, aiohttp.ClientConnectorError)
            raise unreachable from error
        except aiohttp.ClientError as error:
            raise MinerMisbehaved(f"The miner {operator} at {url.origin()} does not speak HTTP: {error}.") from error

    def _client(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=30),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )
        return self._http

    async def _read_refusal(
        self, response: aiohttp.ClientResponse, asked: bytes, operator: str, deadline: float
    ) -> RefusalError:
        try:
            async with asyncio.timeout_at(deadline):
                body = await _read_small(response)
        except TimeoutError:
            raise MinerUnreachable(f"The miner {operator} did not finish its refusal in time.") from None
        except aiohttp.ClientError as error:
            raise MinerUnreachable(f"The connection to the miner {operator} broke: {error}.") from error
        finally:
            response.release()
        value = decode_json(body)
        refusal = wire.parse_refusal(value.get("error")) if isinstance(value, dict) else None
        if refusal is None or wire.CODES[refusal.code][0] != response.status:
            raise MinerMisbehaved(f"The miner {operator} answered {response.status} and no refusal that we know.")
        if refusal.code in wire.UNSIGNED_CODES:
            return refusal
        request, digest = hashlib.sha256(asked).digest(), hashlib.sha256(body).digest()
        text = wire.error_text(request, response.status, digest)
        if not wire.is_signed(text, response.headers.get(wire.SIGNATURE, ""), operator):
            raise MinerMisbehaved(f"The miner {operator} refused ({refusal.code}) without a right signature.")
        return refusal

    async def fetch_info(self, peer: Peer, *, deadline: float) -> dict[str, Any]:
        """What a server says of itself at /tercet/v1/info, signature and age checked."""
        url = peer.url(wire.INFO_PATH)
        try:
            async with asyncio.timeout_at(deadline), self._client().get(url, allow_redirects=False) as response:
                body = await _read_small(response)
                signature = response.headers.get(wire.SIGNATURE, "")
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise MinerUnreachable(f"The miner {peer.operator} at {url.origin()} says nothing: {error}.") from error
        value = decode_json(body)
        signed = wire.is_signed(wire.info_text(hashlib.sha256(body).digest()), signature, peer.operator)
        if not signed or not isinstance(value, dict) or not isinstance(value.get("time"), int):
            raise MinerMisbehaved(f"The miner {peer.operator} did not sign what it says of itself.")
        if abs(value["time"] - self._now_ms(peer)) > INFO_AGE_MS:
            raise MinerMisbehaved(f"The miner {peer.operator} shows old information. Check both clocks.")
        return value


def _parse_endpoint(endpoint: str, operator: str) -> URL:
    try:
        url = URL(endpoint)
    except ValueError:
        url = URL()
    if url.scheme not in {"http", "https"} or not url.host:
        raise MinerMisbehaved(f"The miner {operator} registered {endpoint!r}, which is no http address.")
    return url


async def _read_small(response: aiohttp.ClientResponse) -> bytes:
    body = b""
    while len(body) < MAX_REFUSAL_BYTES and (chunk := await response.content.readany()):
        body += chunk
    return body
