"""An OpenAI-compatible server whose answers are scripted, and the things a worker's test needs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tercet.swarm.plan import Task
from tercet.swarm.workers import Saying

Script = Callable[[dict[str, Any]], str | dict[str, Any]]
"""Takes a call's body; the text to answer with, or the whole message."""


@dataclass
class Stub:
    """What was asked of it."""

    url: str
    calls: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)


@asynccontextmanager
async def serve_stub(script: Script) -> AsyncIterator[Stub]:
    """Serve a scripted model."""
    stub = Stub("")

    async def chat(request: web.Request) -> web.Response:
        body = await request.json()
        stub.calls.append(body)
        stub.tokens.append(request.headers.get("Authorization", ""))
        told = script(body)
        if told == "no money":
            return web.json_response({"error": {"message": "out of budget", "code": "insufficient_quota"}}, status=402)
        message = {"role": "assistant", "content": told} if isinstance(told, str) else told
        finish = "tool_calls" if message.get("tool_calls") else "stop"
        answer = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        }
        return web.json_response(answer)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    stub.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield stub
    finally:
        await runner.cleanup()


def tool_call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """A message that calls a tool."""
    call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def task_of(title: str, *, inputs: Sequence[str] = (), outputs: Sequence[str] = (), **more: Any) -> Task:
    """A task."""
    raw = {
        "id": "t", "title": title, "role": "foreign", "inputs": list(inputs), "outputs": list(outputs),
        "done": {"command": ["true"]}, "budget": 0, "seconds": 240, **more,
    }  # fmt: skip
    return Task.model_validate(raw)


class Ear:
    """Keeps what a worker says, and answers its questions."""

    def __init__(self, answer: str = "") -> None:
        self.said: list[Saying] = []
        self.answer = answer

    async def __call__(self, saying: Saying) -> str:
        self.said.append(saying)
        return self.answer if saying.kind == "ask" else ""

    def of(self, kind: str) -> list[str]:
        """The texts of one kind."""
        return [saying.text for saying in self.said if saying.kind == kind]
