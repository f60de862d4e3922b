"""The gateway's HTTP face: OpenAI's paths, ours beside them, errors in OpenAI's shape. Holds no rules of its own."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from aiohttp import web

from tercet.errors import CallError, TercetError, UnknownKeyError
from tercet.market import Receipt, Task, Usage
from tercet.nodes.budgets import ApiKey
from tercet.nodes.gateway_calls import Desk, Order
from tercet.nodes.gateway_keys import hash_secret
from tercet.nodes.gateway_names import Names, read_name
from tercet.nodes.gateway_openai import (
    ChatRequest,
    EmbeddingRequest,
    build_completion,
    build_embeddings,
    parse_body,
    read_chat,
    read_chat_piece,
    read_vectors,
)
from tercet.nodes.gateway_problems import Problem, explain
from tercet.nodes.gateway_stream import Stream

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
            problem = explain(error)
        except asyncio.CancelledError:
            raise
        except ConnectionError:
            raise
        except Exception:
            log.exception("gateway.fault path=%s", request.path)
            problem = Problem(500, "server_error", "internal_error", "The gateway failed. Its log says why.")
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
                return await Stream(request, ask, order).run(self._desk)
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
