"""The HTTP front: batches, limits, and web pages that should not reach it."""

from __future__ import annotations

import io
from typing import Any

import aiohttp
import pytest

from tercet.chain.devnet import Server
from tercet.chain.devnet.server import MAX_BODY

JSON = {"content-type": "application/json"}


async def post(server: Server, body: str | io.BytesIO, **headers: str) -> tuple[int, Any]:
    """Status and parsed or plain answer."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(server.url, data=body, headers={**JSON, **headers}) as reply,
    ):
        text = await reply.text()
        return reply.status, (await reply.json()) if "json" in reply.content_type else text


async def test_a_batch_is_answered_in_order(server: Server) -> None:
    """Good calls, bad calls and notifications in one body each get what they deserve."""
    body = (
        '[{"jsonrpc":"2.0","id":1,"method":"eth_chainId"},{"jsonrpc":"2.0","id":2,"method":"nope"},'
        '{"jsonrpc":"2.0","method":"eth_chainId"},5]'
    )
    status, answers = await post(server, body)
    assert status == 200
    assert [a.get("id") for a in answers] == [1, 2, None]
    assert answers[0]["result"] == hex(server.chain_id)
    assert [a["error"]["code"] for a in answers[1:]] == [-32601, -32600]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{", -32700),
        ("[]", -32600),
        ("5", -32600),
        ('{"id":1,"method":5}', -32600),
        ("[" + "1," * 1_001 + "1]", -32600),
    ],
)
async def test_malformed_calls_have_their_codes(server: Server, body: str, code: int) -> None:
    """JSON-RPC's own errors, with status 200."""
    status, answer = await post(server, body)
    assert (status, answer["error"]["code"]) == (200, code)


async def test_an_oversized_body_is_refused(server: Server) -> None:
    """More than the limit is cut off with 413."""
    status, _ = await post(server, io.BytesIO(b" " * (MAX_BODY + 1)))
    assert status == 413


async def test_web_pages_of_other_origins_cannot_use_it(server: Server) -> None:
    """No preflight is answered, no form type is read, no foreign name in Host is served."""
    call = '{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}'
    assert (await post(server, call, **{"content-type": "text/plain"}))[0] == 415
    assert (await post(server, call, host="evil.example"))[0] == 403
    assert (await post(server, call, host="evil.example:80"))[0] == 403
    assert (await post(server, call, host="localhost:9"))[0] == 200
    async with (
        aiohttp.ClientSession() as session,
        session.options(server.url, headers={"origin": "http://evil.example"}) as reply,
    ):
        assert reply.status == 405
        assert not [name for name in reply.headers if name.lower().startswith("access-control")]
