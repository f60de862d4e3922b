"""The gateway's HTTP face: OpenAI's paths, ours beside them, errors in OpenAI's shape. Holds no rules of its own."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from aiohttp import web

from tercet.errors import (
    BudgetSpentError,
    BusyError,
    CallError,
    MinerError,
    NoMinerError,
    SubnetError,
    TercetError,
    UnknownKeyError,
)
from tercet.market import Receipt, Task, Usage
from tercet.nodes.budgets import ApiKey
from tercet.nodes.directory import MinerEntry
from tercet.nodes.gateway_calls import Desk, Order
from tercet.nodes.gateway_keys import hash_secret
from tercet.nodes.gateway_names import Names, read_name
from tercet.nodes.gateway_openai import (
    ChatPiece,
    ChatRequest,
    EmbeddingRequest,
    build_chunk,
    build_completion,
    build_embeddings,
    build_error,
    build_logprobs,
    parse_body,
    read_chat,
    read_chat_piece,
    read_vectors,
)

__all__ = ["Face", "Kind", "build_app"]

log = logging.getLogger(__name__)

Kind: TypeAlias = Literal["chat", "embed"]
_Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
_NAME = "Idempotency-Key"


@dataclass(frozen=True, slots=True)
class Face:
    """What the handlers need."""

    desk: Desk
    limit: Callable[[Task], Usage]
    """The mechanism's: the most a task can consume."""
    models: Mapping[str, Kind]
    """What can be asked for, by name."""
    default_tokens: int = 256
    """The length of an answer where the client names none."""
    max_body_bytes: int = 1 << 20
    body_seconds: float = 15.0
    """How long a client may take to send its body."""


def build_app(face: Face) -> web.Application:
    """The application; `face` stays the caller's."""
    routes = _Routes(face)
    app = web.Application(middlewares=[routes.answer_errors], client_max_size=face.max_body_bytes)
    app.add_routes(
        [
            web.get("/health", routes.health),
            web.get("/metrics", routes.metrics),
            web.get("/v1/models", routes.models),
            web.get("/v1/models/{model}", routes.model),
            web.post("/v1/chat/completions", routes.chat),
            web.post("/v1/embeddings", routes.embeddings),
            web.get("/v1/budget", routes.budget),
            web.get("/v1/receipts", routes.receipts),
            web.get("/v1/receipts/{receipt}", routes.receipt),
            web.get("/v1/calls/{name}", routes.call),
            web.delete("/v1/calls/{name}", routes.give_up),
        ]
    )
    return app


class _Routes:
    def __init__(self, face: Face) -> None:
        self._face = face
        self._desk = face.desk
        self._began = int(time.time())
        self._names = Names(face.desk.budgets)

    # edge

    @web.middleware
    async def answer_errors(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Every error leaves in OpenAI's shape."""
        try:
            return await handler(request)
        except (web.HTTPException, TercetError, TimeoutError) as error:
            problem = _explain(error)
        except asyncio.CancelledError:
            raise
        except ConnectionError:
            raise
        except Exception:
            log.exception("gateway.fault path=%s", request.path)
            problem = _Problem(500, "server_error", "internal_error", "The gateway failed. Its log says why.")
        self._desk.metrics.refused(problem.status)
        return problem.response()

    def _key(self, request: web.Request) -> ApiKey:
        scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            raise UnknownKeyError("missing")
        return self._desk.budgets.find(hash_secret(secret.strip()))

    async def _body(self, request: web.Request) -> bytes:
        if (request.content_length or 0) > self._face.max_body_bytes:
            raise web.HTTPRequestEntityTooLarge(self._face.max_body_bytes, request.content_length or 0)
        async with asyncio.timeout(self._face.body_seconds):
            return await request.read()

    def _check_model(self, name: str, kind: Kind) -> None:
        if self._face.models.get(name) != kind:
            fit = ", ".join(sorted(model for model, its in self._face.models.items() if its == kind)) or "none"
            raise CallError(
                f"The model {name[:80]!r} is not offered here for this. Offered: {fit}.",
                status=404,
                code="model_not_found",
                param="model",
            )

    # buying

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions."""
        key = self._key(request)
        ask = parse_body(ChatRequest, await self._body(request))
        ask.validate_supported()
        self._check_model(ask.model, "chat")
        task = ask.task(ask.tokens(self._face.default_tokens))
        order = Order(
            id=f"chatcmpl-{secrets.token_hex(12)}",
            key=key,
            kind="chat",
            model=ask.model,
            time_ms=time.time_ns() // 1_000_000,
            task=task,
            limit=self._face.limit(task),
            read=read_chat_piece,
            build=read_chat,
            shorten=ask.task,
        )
        with self._names.taken(key, read_name(request.headers.get(_NAME)), order.id):
            if ask.stream:
                return await _Stream(request, ask, order).run(self._desk)
            pieces, receipt = await self._desk.buy(order)
        return web.json_response(build_completion(ask, pieces, receipt), headers=_headers(receipt))

    async def embeddings(self, request: web.Request) -> web.Response:
        """POST /v1/embeddings."""
        key = self._key(request)
        ask = parse_body(EmbeddingRequest, await self._body(request))
        ask.validate_supported()
        self._check_model(ask.model, "embed")
        task = ask.task()
        order = Order(
            id=f"embd-{secrets.token_hex(12)}",
            key=key,
            kind="embed",
            model=ask.model,
            time_ms=time.time_ns() // 1_000_000,
            task=task,
            limit=self._face.limit(task),
            read=lambda piece: piece,
            build=lambda pieces: read_vectors(pieces, len(ask.texts)),
        )
        with self._names.taken(key, read_name(request.headers.get(_NAME)), order.id):
            vectors, receipt = await self._desk.buy(order)
        return web.json_response(build_embeddings(ask, vectors, receipt), headers=_headers(receipt))

    # reading

    async def health(self, _request: web.Request) -> web.Response:
        """GET /health: 200 while calls can be served, 503 when not."""
        miners = [miner for miner in self._desk.listing.miners() if miner.price is not None]
        ready = bool(miners) and not self._desk.stopping
        content = {
            "status": "ok" if ready else "stopping" if self._desk.stopping else "no_miners",
            "miners": len(miners),
            "proven": sum(miner.proven for miner in miners),
        }
        return web.json_response(content, status=200 if ready else 503)

    async def metrics(self, _request: web.Request) -> web.Response:
        """GET /metrics, for Prometheus."""
        metrics, miners = self._desk.metrics, list(self._desk.listing.miners())
        metrics.waiting.set(self._desk.queue.waiting)
        metrics.miners.labels("proven").set(sum(miner.proven for miner in miners))
        metrics.miners.labels("unproven").set(sum(not miner.proven for miner in miners))
        return web.Response(body=metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def models(self, request: web.Request) -> web.Response:
        """GET /v1/models."""
        self._key(request)
        return web.json_response({"object": "list", "data": [self._model(name) for name in sorted(self._face.models)]})

    async def model(self, request: web.Request) -> web.Response:
        """GET /v1/models/NAME."""
        self._key(request)
        name = request.match_info["model"]
        if name not in self._face.models:
            raise CallError(f"The model {name[:80]!r} is not offered here.", status=404, code="model_not_found")
        return web.json_response(self._model(name))

    def _model(self, name: str) -> dict[str, Any]:
        kind = self._face.models[name]
        return {"id": name, "object": "model", "created": self._began, "owned_by": "tercet", "tercet": {"kind": kind}}

    async def budget(self, request: web.Request) -> web.Response:
        """GET /v1/budget: the caller's own key."""
        key = self._key(request)
        content = {
            "object": "budget",
            "key": key.id,
            "name": key.name,
            "weight": key.weight,
            "budget": key.budget,
            "spent": key.spent,
            "reserved": key.reserved,
            "left": key.left,
            "decimals": 6,
            "expires_ms": key.expires_ms,
        }
        return web.json_response(content)

    async def receipts(self, request: web.Request) -> web.Response:
        """GET /v1/receipts?limit=20&after=ID: the caller's own, the newest first."""
        key = self._key(request)
        limit = request.query.get("limit", "20")
        if not re.fullmatch("[0-9]{1,3}", limit) or not 1 <= int(limit) <= 100:
            raise CallError(f"limit={limit[:80]!r} is out of range. Use 1 to 100.", param="limit")
        after = request.query.get("after")
        found = self._desk.budgets.receipts(key.id, after=after, limit=int(limit) + 1)
        page = [receipt.to_json() for receipt in found[: int(limit)]]
        content = {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": len(found) > len(page),
        }
        return web.json_response(content)

    async def receipt(self, request: web.Request) -> web.Response:
        """GET /v1/receipts/ID: one of the caller's own."""
        key = self._key(request)
        found = self._desk.budgets.receipt(request.match_info["receipt"])
        if found is None or found.key != key.id:
            raise CallError("This key has no such receipt.", status=404, code="not_found")
        return web.json_response(found.to_json())

    async def call(self, request: web.Request) -> web.Response:
        """GET /v1/calls/KEY: what became of the call with this idempotency key."""
        status, content = self._names.show(self._key(request), read_name(request.match_info["name"]))
        return web.json_response(content, status=status)

    async def give_up(self, request: web.Request) -> web.Response:
        """DELETE /v1/calls/KEY: the same, and nothing is bought under this key from now on."""
        status, content = self._names.give_up(self._key(request), read_name(request.match_info["name"]))
        return web.json_response(content, status=status)


def _headers(receipt: Receipt) -> dict[str, str]:
    return {
        "x-tercet-receipt": receipt.id,
        "x-tercet-miner": f"{receipt.uid} {receipt.operator}",
        "x-tercet-cost": str(receipt.charged),
    }


class _Stream:
    """A chat as server-sent events. The response begins with the first piece, so that until then another miner can be
    tried and an error still has its HTTP status; after that an error is an event.
    """

    def __init__(self, request: web.Request, ask: ChatRequest, order: Order[ChatPiece, Any]) -> None:
        self._request = request
        self._ask = ask
        self._order = order
        self._response: web.StreamResponse | None = None

    async def run(self, desk: Desk) -> web.StreamResponse:
        try:
            pieces, receipt = await desk.relay(self._order, self._send)
        except (TercetError, TimeoutError) as error:
            if self._response is None:
                raise
            await self._event(_explain(error).content())
            return await self._end(self._response)
        assert self._response is not None, "a whole answer has at least one piece"
        # The receipt is written: only now may the client learn that this was all.
        await self._event(self._chunk(delta={}, finish=pieces[-1].finish, receipt=receipt))
        if self._ask.wants_usage:
            await self._event(self._chunk(receipt=receipt))
        if receipt.status == "budget":
            why = f"The budget of this API key is out: {receipt.detail}. Raise the key's budget."
            await self._event(build_error(why, "insufficient_quota", "insufficient_quota"))
        return await self._end(self._response)

    async def _send(self, piece: ChatPiece, miner: MinerEntry) -> None:
        if self._response is None:
            self._response = await self._begin(miner)
        if piece.text or piece.tokens:
            logprobs = build_logprobs([piece]) if self._ask.logprobs else None
            await self._event(self._chunk(delta={"content": piece.text}, logprobs=logprobs))

    async def _begin(self, miner: MinerEntry) -> web.StreamResponse:
        headers = {
            "Content-Type": "text/event-stream; charset=utf-8",
            "Cache-Control": "no-cache",
            "x-tercet-receipt": self._order.id,
            "x-tercet-miner": f"{miner.uid} {miner.operator}",
        }
        self._response = response = web.StreamResponse(headers=headers)
        await response.prepare(self._request)
        await self._event(self._chunk(delta={"role": "assistant", "content": ""}))
        return response

    def _chunk(self, **parts: Any) -> dict[str, Any]:
        return build_chunk(self._ask, self._order.id, self._order.time_ms, **parts)

    async def _event(self, content: Mapping[str, Any]) -> None:
        assert self._response is not None, "events follow the beginning"
        await self._response.write(f"data: {json.dumps(content, separators=(',', ':'))}\n\n".encode())

    async def _end(self, response: web.StreamResponse) -> web.StreamResponse:
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response


@dataclass(frozen=True, slots=True)
class _Problem:
    """An error on its way to a client."""

    status: int
    kind: str
    code: str
    message: str
    param: str | None = None
    retry_after: float | None = None

    def content(self) -> dict[str, Any]:
        return build_error(self.message, self.kind, self.code, self.param)

    def response(self) -> web.Response:
        headers = {}
        if self.retry_after is not None:
            headers = {
                "Retry-After": str(max(1, math.ceil(self.retry_after))),
                "retry-after-ms": str(max(1, math.ceil(self.retry_after * 1000))),
            }
        return web.json_response(self.content(), status=self.status, headers=headers)


def _explain(error: BaseException) -> _Problem:
    """What a client is told, and with which HTTP status."""
    text = str(error)
    match error:
        case UnknownKeyError():
            return _Problem(401, "invalid_request_error", "invalid_api_key", text)
        case BudgetSpentError():
            return _Problem(402, "insufficient_quota", "insufficient_quota", text)
        case CallError():
            return _Problem(error.status, "invalid_request_error", error.code, text, error.param)
        case SubnetError():
            return _Problem(422, "invalid_request_error", "invalid_value", text)
        case NoMinerError():
            return _Problem(503, "server_error", "no_miner", text, retry_after=error.retry_after)
        case BusyError():
            return _Problem(503, "server_error", "busy", text, retry_after=error.retry_after)
        case MinerError():
            return _Problem(502, "server_error", "miner_failed", f"The miner failed in the middle: {text}")
        case TimeoutError():
            return _Problem(408, "invalid_request_error", "too_slow", "The body did not arrive in time.")
        case web.HTTPRequestEntityTooLarge():
            return _Problem(413, "invalid_request_error", "too_large", "The body is too large. Send less than 1 MiB.")
        case web.HTTPException():
            return _Problem(
                error.status, "invalid_request_error", "not_found", f"{error.reason}: see docs/reference/gateway.md."
            )
        case _:
            return _Problem(503, "server_error", "unavailable", text, retry_after=2.0)
