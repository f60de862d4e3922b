"""The desk's face for agents of other frameworks: OpenAI's API over loopback, and over a unix socket for sandboxes.

Each agent has a token of its own, which says whom to charge. Out of budget is 402, never 429, which clients retry;
an agent that was killed reads 403; one that is held waits. The language is read strictly, the answer is the desk's.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

from aiohttp import web

from tercet.errors import BudgetError, CallError, EndedError, TercetError, ThinkingError, UnknownKeyError
from tercet.swarm.gateway.asks import Ask, read_ask
from tercet.swarm.gateway.call import Call, Reply
from tercet.swarm.gateway.desk import Desk

__all__ = ["new_token", "serve_face"]

log = logging.getLogger(__name__)

_Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

_BODY_BYTES = 1 << 20
_BODY_SECONDS = 15.0
_CODES = {413: "too_large"}
_MOST_AT_ONCE = 64
"""Calls of one agent that may wait or be in flight."""


def new_token() -> str:
    """A secret for one agent."""
    return f"tsw_{secrets.token_urlsafe(24)}"


@asynccontextmanager
async def serve_face(
    desk: Desk,
    tokens: Mapping[str, str],
    *,
    socket: Path | None = None,
    task_of: Callable[[str], str] = lambda _node: "",
) -> AsyncIterator[str]:
    """Serve `desk` on a free port of 127.0.0.1 while the block goes on; yields the base URL, which ends in /v1.

    Args:
        desk: the run's.
        tokens: node path by token; may change while it is served.
        socket: where to serve it too, for those without a network; mode 0600.
        task_of: the task that a node works on now, for the receipts.

    """
    routes = _Routes(desk, tokens, task_of)
    app = web.Application(middlewares=[routes.answer_errors], client_max_size=_BODY_BYTES)
    app.add_routes(
        [
            web.get("/v1/models", routes.models),
            web.get("/v1/budget", routes.budget),
            web.post("/v1/chat/completions", routes.chat),
        ]
    )
    # An agent that hangs up is taken out of the line.
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        if socket is not None:
            await web.UnixSite(runner, str(socket)).start()
            _own(socket)
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()
        if socket is not None:
            _remove(socket)


def _own(socket: Path) -> None:
    socket.chmod(0o600)


def _remove(socket: Path) -> None:
    socket.unlink(missing_ok=True)


class _Routes:
    def __init__(self, desk: Desk, tokens: Mapping[str, str], task_of: Callable[[str], str]) -> None:
        self._desk = desk
        self._tokens = tokens
        self._task_of = task_of
        self._busy: Counter[str] = Counter()

    @web.middleware
    async def answer_errors(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Every error leaves in OpenAI's shape."""
        try:
            return await handler(request)
        except web.HTTPException as error:
            return _problem(error.status, "invalid_request_error", _CODES.get(error.status, "not_found"), error.reason)
        except TimeoutError:
            return _problem(408, "invalid_request_error", "too_slow", "The body did not arrive in time.")
        except TercetError as error:
            return _explain(error)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception:
            log.exception("swarm.face.fault path=%s", request.path)
            return _problem(500, "server_error", "internal_error", "The run's gateway failed. Its log says why.")

    def _node(self, request: web.Request) -> str:
        scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
        given = secret.strip().encode()
        if scheme.lower() == "bearer" and given:
            for token, node in list(self._tokens.items()):
                if hmac.compare_digest(token.encode(), given):
                    return node
        raise UnknownKeyError("unknown to this run" if given else "missing")

    async def models(self, request: web.Request) -> web.Response:
        """GET /v1/models."""
        self._node(request)
        owner = self._desk.upstream.name
        data = [{"id": name, "object": "model", "created": 0, "owned_by": owner} for name in self._desk.upstream.models]
        return web.json_response({"object": "list", "data": data})

    async def budget(self, request: web.Request) -> web.Response:
        """GET /v1/budget: what the caller may still spend."""
        node = self._node(request)
        left, spent = self._desk.budgets.left(node), self._desk.budgets.spent(node)
        content = {
            "object": "budget", "node": node,
            "left": {"credit": left.credit, "tokens": left.tokens, "seconds": left.seconds},
            "spent": {"credit": spent.credit, "tokens": spent.tokens, "seconds": spent.seconds},
        }  # fmt: skip
        return web.json_response(content)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions."""
        node = self._node(request)
        async with asyncio.timeout(_BODY_SECONDS):
            ask = read_ask(await request.read())
        self._validate_model(ask.model)
        step = request.headers.get("Idempotency-Key", "")[:200]
        call = ask.call(node, self._task_of(node), f"face/{step}" if step else "")
        if self._busy[node] >= _MOST_AT_ONCE:
            return _problem(
                503, "server_error", "busy", f"{_MOST_AT_ONCE} calls of this agent wait already.", {"retry-after": "2"}
            )
        self._busy[node] += 1
        try:
            reply = await self._desk.ask(call)
        finally:
            self._busy[node] -= 1
        if ask.stream:
            return await _stream(request, ask, call, reply)
        return web.json_response(_completion(call, reply), headers={"x-tercet-receipt": reply.receipt})

    def _validate_model(self, name: str) -> None:
        models = self._desk.upstream.models
        if name and name not in models:
            raise CallError(
                f"The model {name[:80]!r} is not offered here. Offered: {', '.join(models)}.",
                status=404,
                code="model_not_found",
                param="model",
            )


def _completion(call: Call, reply: Reply) -> dict[str, Any]:
    choice = {"index": 0, "message": _message(reply), "finish_reason": reply.finish, "logprobs": None}
    return {
        **_head(call, reply, "chat.completion"),
        "choices": [choice],
        "usage": _usage(reply),
        "tercet": _money(reply),
    }


def _message(reply: Reply) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None, "refusal": None}
    return {**message, "tool_calls": list(reply.tool_calls)} if reply.tool_calls else {**message, "content": reply.text}


def _head(call: Call, reply: Reply, kind: str) -> dict[str, Any]:
    return {"id": reply.receipt, "object": kind, "created": int(time.time()), "model": call.model}


def _usage(reply: Reply) -> dict[str, int]:
    return {
        "prompt_tokens": reply.prompt,
        "completion_tokens": reply.completion,
        "total_tokens": reply.prompt + reply.completion,
    }


def _money(reply: Reply) -> dict[str, Any]:
    return {"receipt": reply.receipt, "cost": reply.charged}


async def _stream(request: web.Request, ask: Ask, call: Call, reply: Reply) -> web.StreamResponse:
    """The whole answer as a stream: who wants one gets its form."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(request)
    head = _head(call, reply, "chat.completion.chunk")
    calls = [{"index": place, **each} for place, each in enumerate(reply.tool_calls)]
    delta = {"role": "assistant", "content": reply.text} | ({"tool_calls": calls} if calls else {})
    chunks: list[dict[str, Any]] = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reply.finish}], "tercet": _money(reply)},
    ]
    if ask.stream_options is not None and ask.stream_options.include_usage:
        chunks.append({**head, "choices": [], "usage": _usage(reply)})
    for chunk in chunks:
        await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response


def _explain(error: TercetError) -> web.Response:
    text = str(error)
    if isinstance(error, UnknownKeyError):
        return _problem(401, "invalid_request_error", "invalid_api_key", f"This token is {error.why}.")
    if isinstance(error, BudgetError):
        return _problem(402, "insufficient_quota", "insufficient_quota", text)
    if isinstance(error, EndedError):
        return _problem(403, "permission_error", "ended", text)
    if isinstance(error, CallError):
        return _problem(error.status, "invalid_request_error", error.code, text, param=error.param)
    if isinstance(error, ThinkingError) and not error.again:
        return _problem(400, "invalid_request_error", "refused", text)
    return _problem(502, "server_error", "model_failed", text)


def _problem(
    status: int,
    kind: str,
    code: str,
    text: str,
    headers: Mapping[str, str] | None = None,
    *,
    param: str | None = None,
) -> web.Response:
    error = {"message": text, "type": kind, "param": param, "code": code}
    return web.json_response({"error": error}, status=status, headers=headers)
