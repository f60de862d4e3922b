"""Agents by A2A: our server and our client over real sockets, and peers that misbehave."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from aiohttp import web
from starlette.applications import Starlette
from tests.swarm import stub

from tercet.errors import AgentError, AgentUnreachableError, RefusedError, UsageError
from tercet.swarm.a2a import A2aWorker, Answer, Answered, Asked, build_app, fetch_card
from tercet.swarm.answers import MAX_ANSWER, Bounds

TOKEN = "let me in"


@asynccontextmanager
async def serve(make: Callable[[str], Starlette]) -> AsyncIterator[str]:
    """Serve an app at a free port; its URL."""
    config = uvicorn.Config(Starlette(), port=0, log_level="error", timeout_graceful_shutdown=1)
    sockets = [config.bind_socket()]
    url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}/"
    config.app = make(url)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets))
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    try:
        yield url
    finally:
        server.should_exit = True
        await serving


def ours(answer: Answer) -> Callable[[str], Starlette]:
    return lambda url: build_app("helper", "helps", answer, url=url, callers={"caller": TOKEN}, skills=["helping"])


async def test_a_task_goes_there_and_its_result_is_a_claim_and_a_file(tmp_path: Path) -> None:
    """Only what the task names as input leaves, and only what it names as output is written."""
    (tmp_path / "in.txt").write_text("in\n")
    (tmp_path / "secret.txt").write_text("secret\n")
    heard = []

    async def answer(asked: Asked) -> Answered:
        heard.append(asked.text)
        return Answered("the answer")

    ear = stub.Ear()
    async with serve(ours(answer)) as url:
        card = await fetch_card(url)
        await A2aWorker(url, token=TOKEN).work(
            stub.task_of("think", inputs=["in.txt"], outputs=["out.txt"]), tmp_path, "", "", ear
        )
    assert (card.name, list(card.skills), card.streaming) == ("helper", ["helping"], True)
    assert (tmp_path / "out.txt").read_text() == "the answer"
    assert [(said.text, said.ok) for said in ear.said if said.kind == "claim"] == [("the answer", True)]
    assert "secret" not in heard[0]


async def test_a_question_goes_to_whoever_answers_and_the_work_goes_on(tmp_path: Path) -> None:
    """INPUT_REQUIRED becomes an ask, and its answer reaches the very task that waits."""

    async def answer(asked: Asked) -> Answered:
        colour = await asked.ask("which colour?")
        size = await asked.ask("which size?")
        return Answered(f"{colour} {size}")

    ear = stub.Ear("blue")
    async with serve(ours(answer)) as url:
        await A2aWorker(url, token=TOKEN).work(stub.task_of("paint", outputs=["out.txt"]), tmp_path, "", "", ear)
    assert ear.of("ask") == ["which colour?", "which size?"]
    assert (tmp_path / "out.txt").read_text() == "blue blue"


async def test_stopping_cancels_the_task_there(tmp_path: Path) -> None:
    """The agent elsewhere is told, and what it was doing ends."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def answer(asked: Asked) -> Answered:
        await asked.ask("ready?")
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return Answered("")

    async with serve(ours(answer)) as url:
        worker = A2aWorker(url, token=TOKEN)
        working = asyncio.create_task(worker.work(stub.task_of("wait"), tmp_path, "", "", stub.Ear()))
        await asyncio.wait_for(begun.wait(), 10)
        await worker.stop()
        await asyncio.wait_for(ended.wait(), 10)
        with pytest.raises(asyncio.CancelledError):
            await working


async def test_a_deadline_ends_it(tmp_path: Path) -> None:
    """Also when the agent elsewhere never ends."""

    async def answer(asked: Asked) -> Answered:
        await asyncio.Event().wait()
        return Answered("")

    async with serve(ours(answer)) as url:
        with pytest.raises(AgentError, match=r"used up its 0\.5 s"):
            await A2aWorker(url, token=TOKEN).work(stub.task_of("wait", seconds=0.5), tmp_path, "", "", stub.Ear())


@pytest.mark.parametrize(
    ("error", "why"), [(RefusedError("not today"), "was rejected: not today"), (AgentError("broke"), "failed: broke")]
)
async def test_a_no_is_told_with_its_words(tmp_path: Path, error: Exception, why: str) -> None:
    """Rejected and failed are two things."""

    async def answer(asked: Asked) -> Answered:
        raise error

    async with serve(ours(answer)) as url:
        with pytest.raises(AgentError, match=why):
            await A2aWorker(url, token=TOKEN).work(stub.task_of("do"), tmp_path, "", "", stub.Ear())


async def test_calls_without_the_token_or_too_large_are_turned_away(tmp_path: Path) -> None:
    """The card is open, the agent is not."""

    async def answer(asked: Asked) -> Answered:
        return Answered("never")

    async with serve(ours(answer)) as url, httpx.AsyncClient() as http:
        assert (await http.get(url + ".well-known/agent-card.json")).status_code == 200
        assert (await http.post(url, json={})).status_code == 401
        shown = {"Authorization": f"Bearer {TOKEN}"}
        assert (await http.post(url, content=b"x" * (2 << 20), headers=shown)).status_code == 413
        with pytest.raises(AgentError, match="cannot be understood"):
            await A2aWorker(url).work(stub.task_of("do"), tmp_path, "", "", stub.Ear())


@asynccontextmanager
async def peer(card: Any, reply: Callable[[dict[str, Any]], web.StreamResponse]) -> AsyncIterator[str]:
    """A hand-made agent."""

    async def show(request: web.Request) -> web.Response:
        raw = card(str(request.url.origin())) if callable(card) else card
        return web.Response(body=raw if isinstance(raw, bytes) else json.dumps(raw).encode())

    async def call(request: web.Request) -> web.StreamResponse:
        return reply(await request.json())

    app = web.Application()
    app.router.add_get("/.well-known/agent-card.json", show)
    app.router.add_post("/", call)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def card_at(url: str, *, streaming: bool = False) -> dict[str, Any]:
    return {
        "name": "peer", "description": "a peer", "version": "1",
        "supportedInterfaces": [{"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}],
        "capabilities": {"streaming": streaming}, "defaultInputModes": ["text/plain"],
        "defaultOutputModes": ["text/plain"], "skills": [],
    }  # fmt: skip


def result(body: dict[str, Any], value: Any) -> web.Response:
    return web.json_response({"jsonrpc": "2.0", "id": body["id"], "result": value})


async def test_an_agent_that_does_not_stream_is_polled(tmp_path: Path) -> None:
    """And a file that it sends is kept where the task allows it, and nowhere else."""
    looks = []

    def reply(body: dict[str, Any]) -> web.StreamResponse:
        working = {"id": "t1", "contextId": "c1", "status": {"state": "TASK_STATE_WORKING"}}
        if body["method"] != "GetTask":
            return result(body, {"task": working})
        looks.append(body)
        if len(looks) < 2:
            return result(body, working)
        files = [
            {"artifactId": name, "name": name, "parts": [{"raw": "aGk=", "filename": name}]}
            for name in ("out/a.txt", "../evil.txt", "in.txt")
        ]
        return result(body, working | {"status": {"state": "TASK_STATE_COMPLETED"}, "artifacts": files})

    os.mkdir(tmp_path / "task")  # noqa: PTH102 - a moment
    async with peer(card_at, reply) as url:
        await A2aWorker(url).work(stub.task_of("do", outputs=["out/*.txt"]), tmp_path / "task", "", "", stub.Ear())
    assert files_below(tmp_path) == ["task/out/a.txt"]


@pytest.mark.parametrize(
    ("card", "why"),
    [
        (b"<html>", "no A2A agent"),
        (b"[]", "no A2A agent"),
        (b'{"a":' * 100_000, "nested beyond"),
        (b" " * (MAX_ANSWER + 1), "answers more than"),
        (card_at("http://169.254.169.254/"), "somewhere else"),
        (card_at("http://127.0.0.1:9/"), "somewhere else"),
    ],
)
async def test_a_card_that_is_none_or_leads_elsewhere(card: Any, why: str) -> None:
    """Junk, floods and detours are refused before anything is sent."""
    async with peer(card, lambda body: web.Response()) as url:
        with pytest.raises(AgentError, match=why) as caught:
            await fetch_card(url)
        assert caught.value.exit_code == 1, "it answered"


@pytest.mark.parametrize("text", ['{"a": "\\"' + "[" * 100 + '"}', '["\\\\", ' + "[" * 60 + "]" * 61, '{"a": "[[["}'])
def test_what_stands_in_a_text_is_not_nested(text: str) -> None:
    """However it is cut into pieces: a quote or a backslash in a text may be written with a backslash."""
    for size in (1, 2, 3, len(text)):
        bounds = Bounds("It", "")
        for start in range(0, len(text), size):
            bounds.take(text[start : start + size].encode())
        with pytest.raises(AgentError, match="nested beyond"):
            bounds.take(b'{"b":' * 65)


async def test_an_answer_is_as_large_as_it_looks(tmp_path: Path) -> None:
    """Nobody was asked to compress, and a few bytes could be very many."""

    def squeezed(_: dict[str, Any]) -> web.Response:
        return web.Response(body=b"", headers={"Content-Encoding": "gzip"})

    async with peer(card_at, squeezed) as url:
        with pytest.raises(AgentError, match="answers compressed"):
            await A2aWorker(url).work(stub.task_of("do", outputs=["out.txt"]), tmp_path, "", "", stub.Ear())


async def test_nobody_there() -> None:
    """A dead address is told as one, apart from somebody there who is no agent."""
    with pytest.raises(AgentUnreachableError, match=r"no A2A agent at http://127\.0\.0\.1:9/"):
        await fetch_card("http://127.0.0.1:9/")


@pytest.mark.parametrize(
    "reply",
    [
        lambda body: web.Response(text="junk"),
        lambda body: result(body, {"task": 5}),
        lambda body: result(body, {}),
        lambda body: web.Response(status=500),
        lambda body: web.json_response({"jsonrpc": "2.0", "id": body["id"], "error": {"code": -32603, "message": "x"}}),
        lambda body: result(body, {"task": {"id": "t", "contextId": "c", "status": {"state": "TASK_STATE_REJECTED"}}}),
        lambda body: web.Response(body=b"x" * (MAX_ANSWER + 1)),
    ],
)
async def test_junk_from_a_peer_is_an_agents_error(
    tmp_path: Path, reply: Callable[[dict[str, Any]], web.StreamResponse]
) -> None:
    """Whatever it says, nothing else is raised and nothing is written."""
    async with peer(card_at, reply) as url:
        with pytest.raises(AgentError):
            await A2aWorker(url).work(stub.task_of("do", outputs=["out.txt"]), tmp_path, "", "", stub.Ear())
    assert files_below(tmp_path) == []


def test_an_agent_without_a_token_is_not_served() -> None:
    """An empty token is one that anybody has."""

    async def answer(_asked: Asked) -> Answered:
        return Answered("done")

    with pytest.raises(UsageError, match="Give it one"):
        build_app("helper", "helps", answer, url="http://127.0.0.1:1/", callers={"caller": ""})
