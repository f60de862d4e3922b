"""What is signed, byte for byte, and what altered or hostile requests get."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tercet.chain.keys import Key
from tercet.errors import MinerRefused, RefusalError, WireError
from tercet.market import Usage
from tercet.market.text import decode_as_sent, decode_json
from tercet.nodes import wire
from tercet.nodes.admission import Limits
from tercet.nodes.caller import Caller
from tercet.nodes.server import Call, Work

from .conftest import BUYER, MINER, STRANGER, Served, SlowWork, serving, soon

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "wire.md"
ECHO = "/tercet/v1/echo"


def signed(
    body: bytes, *, key: Key = BUYER, path: str = ECHO, now_ms: int | None = None, receiver: str = MINER.address
) -> tuple[wire.RequestHead, dict[str, str]]:
    """Headers of a request that `key` signed."""
    head = wire.build_head(path, receiver, key.address, body, now_ms=now_ms or int(time.time() * 1000))
    return head, {**head.headers(), wire.SIGNATURE: "0x" + key.sign_text(head.text).hex()}


async def post(
    served: Served, body: bytes, headers: dict[str, str], path: str = ECHO
) -> tuple[int, dict[str, Any], str]:
    async with (
        aiohttp.ClientSession() as http,
        http.post(served.endpoint + path, data=body, headers=headers) as response,
    ):
        text = await response.text()
        return response.status, json.loads(text.splitlines()[0]), text


def golden() -> Any:
    """The vector in the reference page."""
    text = REFERENCE.read_text()
    found = re.search(r"```json golden\n(.*?)```", text, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_the_reference_page_holds_the_bytes_that_we_sign() -> None:
    """Another implementation can be checked against the page alone."""
    vector = golden()
    head = wire.RequestHead(**vector["head"])
    assert head.text.decode() == vector["request_text"]
    assert hashlib.sha256(head.text).hexdigest() == vector["request"]
    assert "0x" + BUYER.sign_text(head.text).hex() == vector["request_signature"]
    pieces = vector["pieces"].encode()
    answer = wire.sign_answer(
        MINER, bytes.fromhex(vector["request"]), hashlib.sha256(pieces).digest(), Usage(5, 5), 1, 42
    )
    assert wire.answer_text(answer).decode() == vector["answer_text"]
    assert wire.encode_answer(answer).decode() == vector["trailer"]
    assert wire.parse_answer(json.loads(vector["trailer"])["answer"]) == answer
    assert bytes.fromhex(vector["secrets"]["buyer"]) == BUYER.secret
    assert bytes.fromhex(vector["secrets"]["miner"]) == MINER.secret


def test_the_reference_page_lists_every_code() -> None:
    """A refusal nobody can look up is no help."""
    page = REFERENCE.read_text()
    for code, (status, _) in wire.CODES.items():
        assert f"| `{code}` | {status} |" in page


async def test_a_signed_request_is_answered_and_the_answer_is_signed(served: Served) -> None:
    """One request without a session: the whole of the format."""
    body = b'{"a":1}'
    head, headers = signed(body)
    status, _, text = await post(served, body, headers)
    piece, trailer = text.splitlines(keepends=True)
    answer = wire.parse_answer(json.loads(trailer)["answer"])
    assert status == 200
    request = hashlib.sha256(head.text).digest()
    wire.validate_answer(answer, MINER.address, request, hashlib.sha256(piece.encode()).digest())


@pytest.mark.parametrize("change", ["body", "sender", "path", "nonce", "expires", "unsigned", "signature"])
async def test_an_altered_or_unsigned_request_is_unauthorized(served: Served, change: str) -> None:
    """Every field is under the signature, and there is no way round it."""
    body = b'{"a":1}'
    head, headers = signed(body)
    path = ECHO
    match change:
        case "body":
            body = b'{"a":2}'
        case "sender":
            headers[wire.SENDER] = STRANGER.address
        case "path":
            path = wire.SESSION_PATH
        case "nonce":
            headers[wire.NONCE] = head.nonce[:-1] + ("0" if head.nonce[-1] != "0" else "1")
        case "expires":
            headers[wire.EXPIRES] = str(head.expires - 1)
        case "unsigned":
            del headers[wire.SIGNATURE]
        case "signature":
            headers[wire.SIGNATURE] = "0x" + "11" * 65
    status, error, text = await post(served, body, headers, path)
    assert (status, error["error"]["code"]) == (401, "unauthorized")
    assert head.nonce not in text
    assert BUYER.address not in text


async def test_a_request_for_another_miner_is_refused(served: Served) -> None:
    """A miner cannot pass a request on as its own."""
    _, headers = signed(b"{}", receiver=STRANGER.address)
    assert (await post(served, b"{}", headers))[0] == 421


async def test_a_replayed_request_is_refused_before_and_after_a_restart(tmp_path: Path) -> None:
    """A nonce is good once, also for a server that came back."""
    _, headers = signed(b"{}")
    async with serving(tmp_path) as served:
        assert (await post(served, b"{}", headers))[0] == 200
        assert (await post(served, b"{}", headers))[1]["error"]["code"] == "replayed"
    async with serving(tmp_path) as served:
        assert (await post(served, b"{}", headers))[1]["error"]["code"] == "replayed"


async def test_a_request_with_a_bad_body_does_not_use_up_the_nonce(served: Served) -> None:
    """Somebody who copies the headers cannot spoil the request they belong to."""
    _, headers = signed(b'{"a":1}')
    assert (await post(served, b'{"a":9}', headers))[0] == 401
    assert (await post(served, b'{"a":1}', headers))[0] == 200


async def test_ten_megabytes_are_refused_by_their_announcement(served: Served) -> None:
    """Nothing of the body is read."""
    body = b"x" * 10_000_000
    _, headers = signed(body)
    started = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    lines = [
        f"POST {ECHO} HTTP/1.1",
        "Host: x",
        f"Content-Length: {len(body)}",
        *(f"{k}: {v}" for k, v in headers.items()),
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    assert b"413" in await asyncio.wait_for(reader.readline(), 5)
    assert time.monotonic() - started < 2
    writer.close()


async def test_an_endless_body_is_cut_at_one_mebibyte(served: Served) -> None:
    """Chunked, so nothing announces its size."""
    _, headers = signed(b"{}")

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 65_536

    async with aiohttp.ClientSession() as http:
        try:
            async with http.post(served.endpoint + ECHO, data=endless(), headers=headers) as response:
                assert response.status == 413
        except aiohttp.ClientOSError:
            pass  # closed on us while we were still sending: as good


@pytest.mark.parametrize("part", ["nothing", "headers", "body", "second request"])
async def test_a_slow_loris_is_cut_off(tmp_path: Path, part: str) -> None:
    """Time limits hold for headers and bodies alike, on a fresh connection and on a used one."""
    limits = Limits(header_seconds=1.0, body_seconds=1.0)
    async with serving(tmp_path, limits=limits) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        _, headers = signed(b"{}")
        head = "\r\n".join(
            [f"POST {ECHO} HTTP/1.1", "Host: x", "Content-Length: 2", *(f"{k}: {v}" for k, v in headers.items())]
        )
        if part == "headers":
            writer.write(b"POST /tercet/v1/echo HTTP/1.1\r\nHost: x\r\n")
        elif part == "body":
            writer.write(head.encode() + b"\r\n\r\n{")
        elif part == "second request":
            writer.write(head.encode() + b"\r\n\r\n{}")
            await asyncio.wait_for(reader.readuntil(b'"signature"'), 20)
            await asyncio.wait_for(reader.readuntil(b"\n"), 20)
            writer.write(b"POST /terc")
        got = await asyncio.wait_for(_drain(reader), 20)
        assert got == b"" if part != "body" else b"too_slow" in got
        writer.close()


async def _drain(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def test_bytes_that_are_no_http_are_not_echoed(served: Served) -> None:
    """Not even in an error page."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"GARBAGE-marker\r\n\r\n")
    got = await asyncio.wait_for(_drain(reader), 20)
    assert b"bad_request" in got
    assert b"marker" not in got
    writer.close()


async def test_connections_beyond_the_limit_are_turned_away(tmp_path: Path) -> None:
    """From one address; the ones inside keep working."""
    async with serving(tmp_path, limits=Limits(connections_per_address=2)) as served:
        first = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(2)]
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        assert await asyncio.wait_for(_drain(reader), 20) == b""
        for _, used in [*first, (reader, writer)]:
            used.close()


async def test_a_caller_past_its_rate_is_told_how_long_to_wait(tmp_path: Path) -> None:
    """Its own bucket only: another caller is served."""
    weigh = {BUYER.address: 1.0, STRANGER.address: 1.0}.__getitem__
    async with (
        serving(tmp_path, limits=Limits(rate=0.5, stranger_rate=1000), weigh=weigh) as served,
        Caller(BUYER) as buyer,
        Caller(STRANGER) as other,
    ):
        with pytest.raises(MinerRefused) as caught:
            [await _echo(buyer, served) for _ in range(4)]
        assert caught.value.code == "slow_down"
        assert 0 < caught.value.retry_after <= 2
        await other.begin(other.peer(served.endpoint, MINER.address), ECHO, b"{}", deadline=soon(), signed=True)


async def test_unsigned_requests_in_a_callers_name_cost_that_caller_nothing(tmp_path: Path) -> None:
    """Neither its rate, nor its nonces, nor its session."""
    async with serving(tmp_path, limits=Limits(rate=2, stranger_rate=1000)) as served, Caller(BUYER) as buyer:
        await _echo(buyer, served)
        peer = buyer.peer(served.endpoint, MINER.address)
        assert peer.session is not None
        for _ in range(20):
            head, headers = signed(b"{}")
            forged = {**headers, wire.SIGNATURE: "0x" + STRANGER.sign_text(head.text).hex()}
            assert (await post(served, b"{}", forged))[0] == 401
            del forged[wire.SIGNATURE]
            forged |= {wire.SESSION: peer.session[0], wire.MAC: "00" * 32}
            assert (await post(served, b"{}", forged))[0] == 401
        await _echo(buyer, served)


async def _echo(caller: Caller, served: Served) -> list[object]:
    peer = caller.peer(served.endpoint, MINER.address)
    async with caller.ask(peer, ECHO, b'{"a":1}', deadline=soon()) as reply:
        return [piece async for piece in reply]


async def test_junk_in_a_signature_header_is_refused_cheaply(tmp_path: Path) -> None:
    """Checking signatures is rationed by address before it is done."""
    async with serving(tmp_path, limits=Limits(stranger_rate=2)) as served:
        codes = [
            (await post(served, b"{}", {**signed(b"{}")[1], wire.SIGNATURE: "0x00"}))[1]["error"]["code"]
            for _ in range(8)
        ]
        assert codes[0] == "unauthorized"
        assert codes[-1] == "slow_down"


async def test_stopping_lets_running_work_finish(tmp_path: Path) -> None:
    """And it refuses what is new."""
    gate = asyncio.Event()
    work = SlowWork(gate)

    async def slow(call: Call) -> Work:
        return work

    async with serving(tmp_path, routes={"echo": slow}) as served, Caller(BUYER) as buyer:
        peer = buyer.peer(served.endpoint, MINER.address)
        async with buyer.ask(peer, ECHO, b"{}", deadline=soon()) as reply:
            first = await anext(reply)
            stopping = asyncio.create_task(served.server.stop(5))
            gate.set()
            assert [first["text"], *[piece["text"] async for piece in reply]] == ["first", "second"]
            await stopping
        assert work.ended == "settled"


async def test_work_whose_caller_left_is_abandoned_with_what_was_sent(tmp_path: Path) -> None:
    """So that a route can charge for it."""
    work = SlowWork(asyncio.Event())

    async def slow(call: Call) -> Work:
        return work

    async with serving(tmp_path, routes={"echo": slow}) as served, Caller(BUYER) as buyer:
        peer = buyer.peer(served.endpoint, MINER.address)
        async with buyer.ask(peer, ECHO, b"{}", deadline=soon()) as reply:
            assert (await anext(reply))["text"] == "first"
        await asyncio.wait_for(work.over.wait(), 5)
        assert work.ended == "abandoned after 1"


async def test_work_that_fails_half_way_ends_in_a_signed_error(tmp_path: Path) -> None:
    """What was sent before is not an answer, and the failure's own words stay here."""

    class Broken(SlowWork):
        async def pieces(self) -> AsyncIterator[Any]:
            yield {"text": "first"}
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            raise ValueError("secret detail")

    work = Broken(asyncio.Event())

    async def broken(call: Call) -> Work:
        return work

    async with serving(tmp_path, routes={"echo": broken}) as served, Caller(BUYER) as buyer:
        with pytest.raises(MinerRefused, match="work_failed") as caught:
            await _echo(buyer, served)
        assert "secret" not in str(caught.value)
        assert work.ended == "failed"


def test_malformed_headers_are_a_bad_request() -> None:
    """Any of them."""
    head, headers = signed(b"{}")
    for name in (wire.SENDER, wire.RECEIVER, wire.NONCE, wire.EXPIRES, wire.BODY):
        for bad in ("", "x" * 64, "-1"):
            with pytest.raises(RefusalError, match="bad_request"):
                wire.parse_head("POST", ECHO, {**headers, name: bad})
    assert wire.parse_head("POST", ECHO, headers) == head


def test_a_request_may_not_live_longer_than_the_replay_cache_remembers() -> None:
    """Else it could come back after it was forgotten."""
    head = wire.build_head(ECHO, MINER.address, BUYER.address, b"", now_ms=1_700_000_000_000)
    long = wire.RequestHead(head.method, head.path, head.receiver, head.sender, head.nonce, head.expires + 1, head.body)
    with pytest.raises(RefusalError, match="bad_request"):
        wire.validate_time(long, 1_700_000_000_000)


@pytest.mark.parametrize("value", [None, [], {"charged": 2, "charged_total": 1}, {"charged": True}, {"signer": 1}])
def test_a_malformed_trailer_is_an_error(value: object) -> None:
    """Of ours, not a KeyError."""
    with pytest.raises(WireError):
        wire.parse_answer(value)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (rb'{"a": ["x\ud83d"], "\uDE00": 1}', {"a": ["x?"], "?": 1}),
        (r'"\ud83d and \ude00"', "? and ?"),
        ('"\ud800"', "?"),
        (b'"\xed\xa0\x80"', "?"),
        ('"\\ud800"'.encode("utf-16"), "?"),
        (rb'"\ud83d\ude00 \\ud800 \u00e9"', "\N{GRINNING FACE} \\ud800 é"),
        ('"\N{GRINNING FACE}"'.encode(), "\N{GRINNING FACE}"),
    ],
)
def test_half_a_character_is_a_question_mark(data: bytes | str, found: object) -> None:
    """Nothing else is changed, and what is decoded as it was sent is not changed at all."""
    assert decode_json(data) == found
    assert decode_as_sent(data) == json.loads(data)


def test_deep_json_is_no_json_and_shallow_json_is() -> None:
    """Also where the interpreter's recursion limit was raised, and whatever brackets stand in strings."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        assert decode_json(b"[" * 1_000_000) is None
        assert decode_json(b'{"a":' * 100 + b"1" + b"}" * 100) is None
        text = "[{" * 1000 + '\\" [[' + "\\"
        assert decode_json(json.dumps({"a": [text] * 3}).encode()) == {"a": [text] * 3}
        wide = [[1, [2]] for _ in range(5000)]
        assert decode_json(json.dumps(wide).encode()) == wide
        started = time.monotonic()
        assert decode_json(b'"' + rb"\"" * 400_000 + b"[" * 100) is None
        assert time.monotonic() - started < 2
    finally:
        sys.setrecursionlimit(limit)
