"""A model for benchmarks of engines: OpenAI-compatible, thinks for 50 ms, asks for a tool a few times, then is done.

It prints its address, and tells at `/stats` how many requests it had, and how many at once at most.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from aiohttp import web

from swarm_measure import STEPS, pin  # type: ignore[import-not-found] # beside this script

LATENCY = 0.05


def serve() -> None:
    """An OpenAI-compatible model that thinks for 50 ms, on a free port, which it prints."""
    state = {"now": 0, "peak": 0, "requests": 0}

    async def complete(request: web.Request) -> web.Response:
        body = await request.json()
        state["now"] += 1
        state["requests"] += 1
        state["peak"] = max(state["peak"], state["now"])
        await asyncio.sleep(LATENCY)
        state["now"] -= 1
        turn = sum(message["role"] == "assistant" for message in body["messages"])
        return web.json_response(_completion(turn, STEPS))

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "gpt-4o-mini", "object": "model"}]})

    async def stats(_: web.Request) -> web.Response:
        found = dict(state)
        state["peak"] = state["requests"] = 0
        return web.json_response(found)

    async def run() -> None:
        app = web.Application()
        app.add_routes([
            web.post("/v1/chat/completions", complete), web.get("/v1/models", models), web.get("/stats", stats),
        ])  # fmt: skip
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        sys.stdout.write(f"http://127.0.0.1:{runner.addresses[0][1]}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()

    pin(1)
    asyncio.run(run())


def _completion(turn: int, steps: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": "done"}
    if turn < steps - 1:
        function = {"name": "add", "arguments": json.dumps({"n": turn})}
        message = {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": f"call_{turn}", "type": "function", "function": function}],
        }
    return {
        "id": f"chatcmpl-{turn}", "object": "chat.completion", "created": 1_700_000_000, "model": "gpt-4o-mini",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if turn < steps - 1 else "stop"}],
        "usage": {"prompt_tokens": 50 + 20 * turn, "completion_tokens": 15, "total_tokens": 65 + 20 * turn},
    }  # fmt: skip


if __name__ == "__main__":
    serve()
