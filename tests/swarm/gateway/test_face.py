"""The face as an unmodified OpenAI client sees it: whose call it is, budgets, holds, kills and hostile bodies."""

from __future__ import annotations

import asyncio
import io
import json
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from tercet.errors import ThinkingError
from tercet.market import Usage
from tercet.swarm.gateway import Budget, Call, Completion, Desk, ScriptedUpstream, new_token, serve_face
from tercet.swarm.journal import Journal

NODE = "run/c/foreign-1"
TOOL: Any = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


@asynccontextmanager
async def house(
    tmp_path: Path, script: Callable[[Call], Any] = lambda _: "hello", **options: Any
) -> AsyncIterator[tuple[Desk, openai.AsyncOpenAI]]:
    """A desk with a face, and a client with a token."""
    token = new_token()
    with Journal(tmp_path / "journal.db") as journal:
        async with (
            Desk(journal, ScriptedUpstream(script)) as desk,
            serve_face(desk, {token: NODE}, **options) as url,
            openai.AsyncOpenAI(base_url=url, api_key=token, timeout=10) as client,
        ):
            yield desk, client


async def until(true: Callable[[], bool]) -> None:
    """Wait for it."""
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)


MESSAGES: Any = [{"role": "user", "content": "hi"}]


async def test_an_ordinary_client_is_answered_and_charged(tmp_path: Path) -> None:
    """Whole and streamed; the receipt names the node of the token and the task it works on."""
    async with house(tmp_path, task_of=lambda node: f"task of {node}") as (desk, client):
        whole = await client.chat.completions.create(model="scripted", messages=MESSAGES, max_tokens=9)
        assert whole.choices[0].message.content == "hello"
        assert whole.usage is not None
        assert whole.usage.completion_tokens == 2
        stream = await client.chat.completions.create(
            model="scripted", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "hello"
        assert chunks[-1].usage is not None
        assert [model.id async for model in client.models.list()] == ["scripted"]
        assert desk.budgets.spent(NODE).tokens > 0


async def test_tools_and_schemas_reach_the_model(tmp_path: Path) -> None:
    """And its tool calls reach the client, in a stream too."""
    asked: list[Call] = []

    def script(call: Call) -> Completion:
        asked.append(call)
        function = {"name": "look", "arguments": '{"what": "x"}'}
        return Completion(tool_calls=[{"id": "c1", "type": "function", "function": function}], finish="tool_calls")

    async with house(tmp_path, script) as (_, client):
        answer = await client.chat.completions.create(model="scripted", messages=MESSAGES, tools=[TOOL])
        called: Any = (answer.choices[0].message.tool_calls or [])[0]
        assert (called.function.name, answer.choices[0].finish_reason) == ("look", "tool_calls")
        stream = await client.chat.completions.create(model="scripted", messages=MESSAGES, tools=[TOOL], stream=True)
        deltas: list[Any] = [chunk.choices[0].delta.tool_calls async for chunk in stream]
        assert deltas[0][0].function.arguments == '{"what": "x"}'
        shape: Any = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "array"}}}
        await client.chat.completions.create(model="scripted", messages=MESSAGES, response_format=shape)
        assert list(asked[0].tools or ()) == [TOOL]
        assert asked[-1].schema == {"type": "array"}


async def test_out_of_budget_is_402_and_not_tried_again(tmp_path: Path) -> None:
    """One request by an ordinary client with its ordinary retries; `tercet budget add` is what it says."""
    async with house(tmp_path) as (desk, client):
        desk.budgets.open("run", Budget(tokens=10))
        with pytest.raises(openai.APIStatusError, match="tercet budget add") as caught:
            await client.chat.completions.create(model="scripted", messages=MESSAGES)
        assert caught.value.status_code == 402
        assert caught.value.code == "insufficient_quota"


async def test_a_held_agent_waits_and_a_killed_one_reads_403(tmp_path: Path) -> None:
    """Its framework sees a slow answer, then none."""
    async with house(tmp_path) as (desk, client):
        desk.hold("run/c")
        ask = asyncio.create_task(client.chat.completions.create(model="scripted", messages=MESSAGES))
        await asyncio.sleep(0.15)
        assert not ask.done()
        desk.release("run/c")
        assert (await ask).choices[0].message.content == "hello"
        desk.hold("run/c")
        ask = asyncio.create_task(client.chat.completions.create(model="scripted", messages=MESSAGES))
        await asyncio.sleep(0.1)
        desk.end(NODE, "killed by the person")
        with pytest.raises(openai.PermissionDeniedError, match="killed by the person"):
            await ask


async def test_a_client_that_hangs_up_leaves_the_line(tmp_path: Path) -> None:
    """Held, given up, released: no model was asked."""
    asked: list[Call] = []

    def script(call: Call) -> str:
        asked.append(call)
        return "x"

    async with house(tmp_path, script) as (desk, client):
        desk.hold("run")
        ask = asyncio.create_task(client.chat.completions.create(model="scripted", messages=MESSAGES))
        await until(lambda: len(desk._flights._going) == 1)
        ask.cancel()
        await until(lambda: not desk._flights._going)
        desk.release("run")
        await client.chat.completions.create(model="scripted", messages=[{"role": "user", "content": "second"}])
        assert [call.messages[0]["content"] for call in asked] == ["second"]


async def test_the_same_idempotency_key_is_paid_once(tmp_path: Path) -> None:
    """A step of a foreign agent, for those that can say so."""
    answers = iter(["one", "two"])
    async with house(tmp_path, lambda _: Completion(text=next(answers), usage=Usage(1, 1))) as (_, client):
        headers = {"Idempotency-Key": "k"}
        said = [
            await client.chat.completions.create(model="scripted", messages=MESSAGES, extra_headers=headers)
            for _ in range(2)
        ]
        assert [one.choices[0].message.content for one in said] == ["one", "one"]


async def test_a_model_that_fails_is_an_error_in_openais_shape(tmp_path: Path) -> None:
    """502 where trying again may help, 400 where not."""

    def script(call: Call) -> str:
        raise ThinkingError("the model is asleep", again=call.seed == 1)

    async with house(tmp_path, script) as (_, client):
        chats = client.with_options(max_retries=0).chat
        for seed, status in ((1, 502), (2, 400)):
            with pytest.raises(openai.APIStatusError, match="asleep") as caught:
                await chats.completions.create(model="scripted", messages=MESSAGES, seed=seed)
            assert caught.value.status_code == status


HOSTILE: list[tuple[bytes, int]] = [
    (b"", 400),
    (b"null", 400),
    (b"{" * 100_000, 400),
    (b"\xff\xfe", 400),
    (b"{}", 422),
    (b'{"messages": []}', 422),
    (b'{"messages": [1]}', 422),
    (b'{"messages": [{"role": "root"}]}', 422),
    (b'{"messages": [{"role": "assistant", "tool_calls": [{"function": 3}]}]}', 422),
    (b'{"messages": [{"role": "user"}], "tools": [{"type": "function"}]}', 422),
    (
        b'{"messages": [{"role": "user"}], "tools": [{"type": "function", "function": {"name": "x", "parameters": 3}}]}',
        422,
    ),
    (b'{"messages": [{"role": "user"}], "max_tokens": -1}', 422),
    (b'{"messages": [{"role": "user"}], "n": 5}', 422),
    (b'{"messages": [{"role": "user"}], "temperature": NaN}', 422),
    (b'{"messages": [{"role": "user"}], "model": "gpt-9"}', 404),
    (b'{"messages": [{"role": "user", "content": "' + b"x" * (2 << 20) + b'"}]}', 413),
]


async def test_hostile_requests_are_refused(tmp_path: Path) -> None:
    """Junk, no token, a wrong token, other paths: each has its status, and an honest client is served beside them."""
    async with house(tmp_path) as (_, client), aiohttp.ClientSession() as session:
        url = str(client.base_url).rstrip("/")
        headers = {"Authorization": f"Bearer {client.api_key}"}
        for body, status in HOSTILE:
            async with session.post(f"{url}/chat/completions", data=io.BytesIO(body), headers=headers) as response:
                assert (response.status, bool((await response.json())["error"]["message"])) == (status, True), body[:40]
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic x"}):
            async with session.get(f"{url}/models", headers=given) as response:
                assert response.status == 401
        async with session.get(f"{url}/secrets", headers=headers) as response:
            assert response.status == 404
        async with session.get(f"{url}/budget", headers=headers) as response:
            assert (await response.json())["node"] == NODE
        answer = await client.chat.completions.create(model="scripted", messages=MESSAGES)
        assert answer.choices[0].message.content == "hello"


async def test_one_agent_cannot_fill_the_line(tmp_path: Path) -> None:
    """Beyond its bound of waiting calls it is told to come back; others are served."""
    async with house(tmp_path) as (desk, client), aiohttp.ClientSession() as session:
        url, headers = f"{client.base_url}chat/completions", {"Authorization": f"Bearer {client.api_key}"}
        desk.hold(NODE)

        async def post() -> int:
            async with session.post(url, json={"messages": MESSAGES}, headers=headers) as response:
                return response.status

        posts = [asyncio.create_task(post()) for _ in range(70)]
        await until(lambda: len(desk._flights._going) == 64 and sum(post.done() for post in posts) >= 6)
        await asyncio.sleep(0.1)
        assert [post.result() for post in posts if post.done()] == [503] * 6
        desk.release(NODE)
        assert sorted(await asyncio.gather(*posts)) == [200] * 64 + [503] * 6


async def test_a_sandbox_speaks_over_a_unix_socket(tmp_path: Path) -> None:
    """The same face, without a network; the socket is the owner's alone and goes when the face goes."""
    path = tmp_path / "face.sock"
    async with house(tmp_path, socket=path) as (_, client):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session:
            headers = {"Authorization": f"Bearer {client.api_key}"}
            body = json.dumps({"messages": MESSAGES})
            async with session.post("http://x/v1/chat/completions", data=body, headers=headers) as response:
                assert (await response.json())["choices"][0]["message"]["content"] == "hello"
    assert not path.exists()
