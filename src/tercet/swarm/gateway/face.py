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
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tercet.errors import BudgetError, CallError, EndedError, TercetError, ThinkingError, UnknownKeyError
from tercet.market.text import decode_json
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
_DEFAULT_TOKENS = 1024


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


class _Strict(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class _Shape(_Strict):
    json_schema: Annotated[Mapping[str, Any], Field(alias="schema")] = {"type": "object"}


class _Format(_Strict):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _Shape = _Shape()


class _Function(_Strict):
    name: str = Field(min_length=1, max_length=200)
    arguments: str = "{}"


class _ToolCall(_Strict):
    id: str = ""
    type: Literal["function"] = "function"
    function: _Function


class _Message(_Strict):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Sequence[Mapping[str, Any]] | None = None
    tool_calls: Sequence[_ToolCall] | None = None
    tool_call_id: str | None = None
    name: str | None = None


class _ToolBody(_Strict):
    name: str = Field(min_length=1, max_length=200)
    description: str | None = None
    parameters: Mapping[str, Any] | None = None
    strict: bool | None = None


class _Tool(_Strict):
    type: Literal["function"]
    function: _ToolBody


class _StreamOptions(_Strict):
    include_usage: bool = False


class _Ask(_Strict):
    model: str = ""
    messages: Sequence[_Message] = Field(min_length=1, max_length=2000)
    max_tokens: int | None = Field(default=None, ge=1, le=1 << 20)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=1 << 20)
    temperature: float | None = Field(default=None, ge=0, le=2)
    seed: int | None = None
    stop: str | Annotated[Sequence[str], Field(max_length=8)] | None = None
    tools: Sequence[_Tool] | None = Field(default=None, max_length=128)
    tool_choice: Any = None
    response_format: _Format | None = None
    n: Literal[1] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None


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
        ask = await self._read(request)
        call = self._call(node, ask, request.headers.get("Idempotency-Key", "")[:200])
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

    async def _read(self, request: web.Request) -> _Ask:
        async with asyncio.timeout(_BODY_SECONDS):
            raw = decode_json(await request.read())
        if not isinstance(raw, dict):
            raise CallError("The body is not a JSON object.", status=400, code="invalid_json")
        try:
            return _Ask.model_validate(raw)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise CallError(f"{where}: {first['msg']}.", param=str(first["loc"][0])) from None

    def _call(self, node: str, ask: _Ask, step: str) -> Call:
        models = self._desk.upstream.models
        if ask.model and ask.model not in models:
            known = ", ".join(models)
            raise CallError(
                f"The model {ask.model[:80]!r} is not offered here. Offered: {known}.",
                status=404,
                code="model_not_found",
                param="model",
            )
        wanted = ask.response_format
        return Call(
            agent=node,
            task=self._task_of(node),
            step=f"face/{step}" if step else "",
            model=ask.model,
            messages=[message.model_dump(exclude_none=True) for message in ask.messages],
            max_tokens=ask.max_completion_tokens or ask.max_tokens or _DEFAULT_TOKENS,
            temperature=ask.temperature,
            seed=ask.seed,
            schema=None if wanted is None or wanted.type == "text" else wanted.json_schema.json_schema,
            tools=None if ask.tool_choice == "none" or not ask.tools else [_bare(tool) for tool in ask.tools],
            stop=(ask.stop,) if isinstance(ask.stop, str) else tuple(ask.stop or ()),
        )


def _bare(tool: _Tool) -> dict[str, Any]:
    return tool.model_dump(exclude_none=True)


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


async def _stream(request: web.Request, ask: _Ask, call: Call, reply: Reply) -> web.StreamResponse:
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
