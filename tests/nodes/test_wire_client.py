"""The client's end: clocks, sessions, and what it does with servers that cheat, stall or come back."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tercet.chain.keys import Key
from tercet.errors import MinerMisbehaved, MinerRefused, MinerUnreachable, RefusalError
from tercet.market import Usage
from tercet.nodes import wire
from tercet.nodes.admission import Admission, Limits
from tercet.nodes.caller import Caller
from tercet.nodes.replay_cache import ReplayCache
from tercet.nodes.session import NonceWindow, Opening, Sessions

from .conftest import BUYER, MINER, STRANGER, Served, serving, soon

ECHO = "/tercet/v1/echo"


async def echo(caller: Caller, endpoint: str, *, seconds: float = 10, signed: bool = False) -> list[Any]:
    """One request, all its pieces."""
    peer = caller.peer(endpoint, MINER.address)
    reply = await caller.begin(peer, ECHO, b'{"a":1}', deadline=soon(seconds), signed=signed)
    try:
        return [piece async for piece in reply]
    finally:
        await reply.close()


@pytest.mark.parametrize("seconds", [-60, 60, 86_400])
async def test_a_clock_a_minute_off_is_corrected_once(tmp_path: Path, seconds: int) -> None:
    """The caller learns the server's time from a signed refusal, and its next requests are right at once."""
    async with (
        serving(tmp_path) as served,
        Caller(BUYER, clock=lambda: time.time() + seconds) as caller,
    ):
        assert len(await echo(caller, served.endpoint)) == 1
        peer = caller.peer(served.endpoint, MINER.address)
        assert abs(peer.offset_ms + seconds * 1000) < 2000
        session = peer.session
        assert len(await echo(caller, served.endpoint)) == 1
        assert peer.session is session


async def test_a_server_whose_clock_never_fits_is_given_up(tmp_path: Path) -> None:
    """Once, not for ever."""
    drift = iter(range(0, 10**9, 3600))
    async with serving(tmp_path, clock=lambda: time.time() + next(drift)) as served, Caller(BUYER) as caller:
        with pytest.raises(MinerRefused, match="clock_skew"):
            await echo(caller, served.endpoint)


async def test_a_session_is_opened_once_for_all_who_wait(served: Served, caller: Caller) -> None:
    """Sixteen at once, one handshake."""
    await asyncio.gather(*(echo(caller, served.endpoint) for _ in range(16)))
    assert len(served.server._sessions) == 1


async def test_a_caller_opens_a_new_session_with_a_server_that_came_back(tmp_path: Path, caller: Caller) -> None:
    """Sessions are gone with the process; the caller notices and goes on."""
    async with serving(tmp_path) as served:
        await echo(caller, served.endpoint)
        port = served.port
    async with serving(tmp_path) as served:
        peer = caller.peer(f"http://127.0.0.1:{port}", MINER.address)
        caller._peers[served.endpoint, MINER.address] = peer
        peer.endpoint, peer.urls = caller.peer(served.endpoint, MINER.address).endpoint.with_port(served.port), {}
        assert len(await echo(caller, served.endpoint)) == 1


async def test_a_session_ends(tmp_path: Path, caller: Caller) -> None:
    """And the caller replaces it a while before."""
    now = [time.time()]
    caller._clock = lambda: now[0]
    async with serving(tmp_path, clock=lambda: now[0]) as served:
        await echo(caller, served.endpoint)
        first = caller.peer(served.endpoint, MINER.address).session
        now[0] += 3590
        await echo(caller, served.endpoint)
        second = caller.peer(served.endpoint, MINER.address).session
        assert first is not None
        assert second is not None
        assert first[0] != second[0]


async def test_what_a_node_says_of_itself_is_signed(served: Served, caller: Caller) -> None:
    """By the operator that the ledger names, and by nobody else."""
    info = await caller.fetch_info(caller.peer(served.endpoint, MINER.address), deadline=soon())
    assert info["hello"] == 1
    with pytest.raises(MinerMisbehaved, match="did not sign"):
        await caller.fetch_info(caller.peer(served.endpoint, STRANGER.address), deadline=soon())


@pytest.mark.parametrize("endpoint", ["ftp://x", "not a url", "", "http://", "file:///etc/passwd"])
async def test_an_endpoint_that_is_no_http_address_is_the_miners_fault(caller: Caller, endpoint: str) -> None:
    """It registered it."""
    with pytest.raises(MinerMisbehaved, match="no http address"):
        caller.peer(endpoint, MINER.address)


Answering = Callable[[wire.RequestHead, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def rogue(answering: Answering) -> AsyncIterator[str]:
    """A server that reads a request honestly and answers as the test says."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
            await reader.readexactly(int(headers["content-length"]))
            method, path, _ = lines[0].split()
            await answering(wire.parse_head(method, path, headers), writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def page(body: bytes, status: int = 200, length: int | None = None) -> bytes:
    """An HTTP response."""
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


PIECE = b'{"text":"hi","usage":{"prompt":1,"completion":1}}\n'


def trailer(head: wire.RequestHead, pieces: bytes = PIECE, key: Key = MINER, usage: Usage = Usage(1, 1)) -> bytes:  # noqa: B008
    """A right trailer, unless told otherwise."""
    request = hashlib.sha256(head.text).digest()
    return wire.encode_answer(wire.sign_answer(key, request, hashlib.sha256(pieces).digest(), usage, 0, 0))


FORGERIES: dict[str, Callable[[wire.RequestHead], bytes]] = {
    "altered piece": lambda head: page(PIECE.replace(b"hi", b"ho") + trailer(head)),
    "altered trailer": lambda head: page(PIECE + trailer(head).replace(b'"charged_total":0', b'"charged_total":9')),
    "no trailer": lambda _: page(PIECE),
    "nothing": lambda _: page(b""),
    "signed by another": lambda head: page(PIECE + trailer(head, key=STRANGER)),
    "for another request": lambda head: page(
        PIECE + trailer(wire.build_head(ECHO, MINER.address, BUYER.address, b"", now_ms=head.made))
    ),
    "bytes after the trailer": lambda head: page(PIECE + trailer(head) + PIECE),
    "usage unlike the last piece": lambda head: page(PIECE + trailer(head, usage=Usage(1, 2))),
    "junk": lambda _: page(b"\xff\x00 junk\n"),
    "a list": lambda _: page(b"[1]\n"),
    "deep nesting": lambda _: page(b"[" * 100_000 + b"\n"),
    "html": lambda _: page(b"<html>", 502),
    "unknown code": lambda _: page(b'{"error":{"code":"made_up"}}', 500),
    "unsigned refusal": lambda _: page(b'{"error":{"code":"voucher_stale"}}', 402),
    "unsigned clock": lambda _: page(b'{"error":{"code":"clock_skew","server_time":1}}', 401),
    "code under another status": lambda _: page(b'{"error":{"code":"busy"}}', 402),
    "unsigned break": lambda _: page(PIECE + b'{"error":{"code":"work_failed"}}\n'),
    "no http": lambda _: b"hello\r\n\r\n",
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_forged_answer_is_misbehaviour(caller: Caller, forgery: str) -> None:
    """Whatever is not signed, whole and in order is never taken for an answer."""

    async def answering(head: wire.RequestHead, writer: asyncio.StreamWriter) -> None:
        writer.write(FORGERIES[forgery](head))
        await writer.drain()

    async with rogue(answering) as endpoint:
        with pytest.raises(MinerMisbehaved):
            await echo(caller, endpoint, signed=True)


async def test_a_right_answer_of_the_rogue_server_is_accepted(caller: Caller) -> None:
    """Or the test above would prove nothing."""

    async def answering(head: wire.RequestHead, writer: asyncio.StreamWriter) -> None:
        writer.write(page(PIECE + trailer(head)))
        await writer.drain()

    async with rogue(answering) as endpoint:
        assert await echo(caller, endpoint, signed=True) == [json.loads(PIECE)]


@pytest.mark.parametrize("way", ["silence", "headers only", "one piece", "dribble", "endless headers"])
async def test_a_miner_that_takes_for_ever_meets_the_deadline(caller: Caller, way: str) -> None:
    """The deadline is on the whole answer, so dribbling does not extend it."""

    async def answering(head: wire.RequestHead, writer: asyncio.StreamWriter) -> None:
        start = {"headers only": page(b"", length=999), "one piece": page(PIECE, length=999)}.get(way, b"")
        if way == "dribble":
            start = page(b"", length=10**6)
        if way == "endless headers":
            start = b"HTTP/1.1 200 OK\r\n"
        writer.write(start)
        while True:
            if way == "dribble":
                writer.write(b"x")
            if way == "endless headers":
                writer.write(b"a: b\r\n")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with rogue(answering) as endpoint:
        started = time.monotonic()
        with pytest.raises((MinerUnreachable, MinerMisbehaved)):
            await echo(caller, endpoint, seconds=0.4, signed=True)
        assert time.monotonic() - started < 3


async def test_a_connection_that_breaks_is_unreachable_not_misbehaviour(caller: Caller) -> None:
    """The network may be at fault."""

    async def answering(head: wire.RequestHead, writer: asyncio.StreamWriter) -> None:
        writer.write(page(PIECE, length=999))
        await writer.drain()

    async with rogue(answering) as endpoint:
        with pytest.raises(MinerUnreachable):
            await echo(caller, endpoint, signed=True)
    with pytest.raises(MinerUnreachable):
        await echo(caller, endpoint, signed=True)


async def test_an_answer_without_end_is_cut(caller: Caller) -> None:
    """In size as well as in time."""

    async def answering(head: wire.RequestHead, writer: asyncio.StreamWriter) -> None:
        writer.write(page(b"", length=10**9))
        while True:
            writer.write(b'{"text":"' + b"x" * 65_536 + b'"}\n')
            await writer.drain()

    async with rogue(answering) as endpoint:
        with pytest.raises(MinerMisbehaved, match="larger"):
            await echo(caller, endpoint, signed=True)


def test_the_replay_cache_is_bounded_and_forgets_only_what_is_over(tmp_path: Path) -> None:
    """Full means busy, never forgetful."""
    cache = ReplayCache(tmp_path / "r.sqlite", capacity=3)
    for nonce in "abc":
        cache.add("s", nonce, expires=100, now_ms=0)
    with pytest.raises(RefusalError, match="busy"):
        cache.add("s", "d", expires=100, now_ms=50)
    with pytest.raises(RefusalError, match="replayed"):
        cache.validate_new("s", "a")
    cache.add("s", "d", expires=200, now_ms=101)
    assert len(cache) == 1
    cache.close()


def test_nonces_of_a_session_are_remembered_for_their_life() -> None:
    """At least one lifetime, at most two, and never too many."""
    window = NonceWindow(capacity=4)
    window.add("a", now_ms=1000, life_ms=100)
    for now in (1050, 1100, 1101):
        with pytest.raises(RefusalError, match="replayed"):
            window.add("a", now_ms=now, life_ms=100)
    for index in range(3):
        window.add(f"b{index}", now_ms=1102, life_ms=100)
    with pytest.raises(RefusalError, match="slow_down"):
        window.add("c", now_ms=1103, life_ms=100)
    window.add("a", now_ms=1500, life_ms=100)


def test_strangers_cannot_throw_a_payer_out_of_the_session_table() -> None:
    """A stranger's idle session goes first; when only payers are left, a newcomer waits."""
    sessions = Sessions(capacity=3, per_sender=2)
    opening = Opening(Key.generate())

    def open_one(sender: str, weight: float) -> str:
        return sessions.open(sender, opening.body["public"], b"r" * 32, weight=weight, now_ms=0)[0].name

    payer = open_one("payer", 1.0)
    names = [open_one(f"stranger {index}", 0.0) for index in range(5)]
    assert sessions.find(payer, 0).sender == "payer"
    with pytest.raises(RefusalError, match="session_unknown"):
        sessions.find(names[0], 0)
    open_one("payer", 1.0)
    open_one("payer", 1.0)
    with pytest.raises(RefusalError, match="session_unknown"):
        sessions.find(payer, 0)
    assert len(sessions) == 3
    open_one("second payer", 1.0)
    with pytest.raises(RefusalError, match="busy"):
        open_one("late stranger", 0.0)


@pytest.mark.parametrize("public", [None, "0x", "0x" + "00" * 64, "0x" + "ff" * 64, 7])
def test_a_handshake_with_a_point_off_the_curve_is_a_bad_request(public: object) -> None:
    """No key follows from it."""
    with pytest.raises(RefusalError, match="bad_request"):
        Sessions().open("s", public, b"r" * 32, weight=1.0, now_ms=0)


def test_a_bucket_refills_with_the_callers_weight() -> None:
    """Twice the weight, half the wait."""
    now = [0.0]
    admission = Admission(Limits(rate=1.0), lambda: now[0])

    def flood(name: str, weight: float) -> None:
        for _ in range(100):
            admission.admit_caller(name, weight)

    waits = []
    for name, weight in (("light", 1.0), ("heavy", 2.0)):
        with pytest.raises(RefusalError) as caught:
            flood(name, weight)
        waits.append(caught.value.retry_after)
    assert waits == [1.0, 0.5]
    now[0] = 1.0
    admission.admit_caller("light", 1.0)


def test_strangers_hold_at_most_a_quarter_of_the_places() -> None:
    """Payers always find one of the others."""
    admission = Admission(Limits(in_flight=4), lambda: 0.0)
    with admission.slot(0.0):
        with pytest.raises(RefusalError, match="busy"), admission.slot(0.0):
            pass
        with admission.slot(1.0):
            assert admission.in_flight == 2
    assert admission.idle.is_set()
