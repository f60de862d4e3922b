"""A way to the run's gateway, and to granted tools, for a program that has no network: a unix socket. The token stays here."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler

from tercet.swarm.plan import Task
from tercet.swarm.workers.granted import GrantedTool, ToolServer
from tercet.swarm.workers.peer import is_ours

__all__ = ["open_face", "open_tools_door", "task_text"]

_MAX_BODY = 4 << 20
_MAX_ANSWER = 4 << 20
_PATHS = frozenset({"chat/completions", "models"})
_IDLE_SECONDS = 3600.0
"""A held call waits as long as the gateway holds it; the task's deadline ends it."""


@contextlib.asynccontextmanager
async def open_face(path: Path, url: str, token: str, tools: Sequence[GrantedTool] = ()) -> AsyncIterator[None]:
    """Serve `url` (ends in /v1) at the unix socket `path`, with `token` shown for whoever connects; and `tools`, at /mcp.

    Only chats and the list of models pass; bodies and answers are bounded.
    """
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=_IDLE_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:

        async def pass_on(request: web.Request) -> web.StreamResponse:
            tail = request.match_info["tail"]
            if tail not in _PATHS:
                return web.json_response({"error": {"message": "no such path", "code": "not_found"}}, status=404)
            return await _pass_on(session, request, f"{url.rstrip('/')}/{tail}", token)

        app = _app(tools)
        app.router.add_route("*", "/v1/{tail:.*}", pass_on)
        async with _served(app, path):
            yield


@contextlib.asynccontextmanager
async def open_tools_door(path: Path, tools: Sequence[GrantedTool]) -> AsyncIterator[None]:
    """Serve `tools` alone at the unix socket `path`, for commands that run where there is no way to think."""
    async with _served(_app(tools), path):
        yield


def _app(tools: Sequence[GrantedTool]) -> web.Application:
    app = web.Application(client_max_size=_MAX_BODY, middlewares=[_ours_alone])
    if tools:
        app.router.add_route("*", "/mcp", ToolServer(tools).answer)
    return app


@web.middleware
async def _ours_alone(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The socket has to be open to another uid: only processes below this one are served, or anybody here could spend."""
    if request.transport is None or not is_ours(request.transport.get_extra_info("socket")):
        return web.json_response({"error": {"message": "not yours", "code": "refused"}}, status=403)
    return await handler(request)


@contextlib.asynccontextmanager
async def _served(app: web.Application, path: Path) -> AsyncIterator[None]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.0)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(path)).start()
        os.chmod(path, 0o666)  # noqa: PTH101, S103 - whoever is inside comes as another uid
        yield
    finally:
        await runner.cleanup()


async def _pass_on(session: aiohttp.ClientSession, request: web.Request, url: str, token: str) -> web.StreamResponse:
    body = await request.read()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    try:
        async with session.request(request.method, url, data=body or None, headers=headers) as answer:
            told = web.StreamResponse(status=answer.status)
            told.content_type = answer.content_type
            await told.prepare(request)
            size = 0
            async for chunk in answer.content.iter_chunked(1 << 16):
                size += len(chunk)
                if size > _MAX_ANSWER:
                    raise web.HTTPBadGateway(text="the answer is too large")
                await told.write(chunk)
            await told.write_eof()
            return told
    except aiohttp.ClientError as error:
        return web.json_response({"error": {"message": str(error), "code": "unavailable"}}, status=503)


def task_text(task: Task) -> str:
    """What a stranger is told of its task."""
    parts = [task.title]
    if task.detail:
        parts.append(task.detail)
    if task.inputs:
        parts.append(f"Read: {', '.join(task.inputs)}")
    if task.outputs:
        parts.append(f"Write only: {', '.join(task.outputs)}")
    if not task.done.hidden:
        parts.append(f"It is done when this succeeds: {' '.join(task.done.command)}")
    return "\n\n".join(parts)
