"""The tools that a stranger's agent was granted, served to it by the Model Context Protocol, and to nobody else.

It is the least of a streamable-HTTP server: one JSON message in, one out, no sessions and no events. It knows the tools
that it was given and no others; what a use of one means, and whether it may be, is decided by whoever granted it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tercet import __version__
from tercet.errors import AgentError, ClaimError, RefusedError, ToolError
from tercet.market.text import decode_json

__all__ = ["REFUSALS", "GrantedTool", "ToolServer"]

log = logging.getLogger(__name__)

REFUSALS = (RefusedError, ToolError, ClaimError, AgentError)
"""What an agent is told as the tool's answer, so that it can do something else."""
MOST_CALLS = 500
"""Uses of tools by one attempt."""
_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26")
"""Of the protocol, the newest first."""
_NO_JSON, _NO_METHOD, _NO_ARGUMENTS = -32700, -32601, -32602


@dataclass(frozen=True, slots=True)
class GrantedTool:
    """One tool, as an agent sees it and as it is used."""

    name: str
    about: str
    schema: Mapping[str, Any] = field(repr=False)
    """Of its arguments, JSON Schema."""
    use: Callable[[Mapping[str, Any]], Awaitable[str]] = field(repr=False)
    """Use it, held against capabilities, guard and person and written down; raises one of `REFUSALS` for a no."""


class ToolServer:
    """What answers at `/mcp`."""

    def __init__(self, tools: Sequence[GrantedTool]) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._calls = 0

    async def answer(self, request: web.Request) -> web.Response:
        """Answer one HTTP request; whatever it holds."""
        if request.method != "POST":  # no stream of events, and no session to end
            return web.Response(status=405, headers={"Allow": "POST"})
        message = decode_json(await request.read())
        if not isinstance(message, dict) or not isinstance(message.get("method", ""), str):
            return web.json_response(_error(None, _NO_JSON, "this is no message of JSON-RPC"), status=400)
        name = message.get("id")
        if not isinstance(name, str | int) or isinstance(name, bool):
            return web.Response(status=202)  # a notification
        params = message.get("params")
        told = await self._answer(str(message.get("method")), params if isinstance(params, dict) else {})
        return web.json_response({"jsonrpc": "2.0", "id": name, **told})

    async def _answer(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        match method:
            case "initialize":
                wanted = params.get("protocolVersion")
                return _result(
                    protocolVersion=wanted if wanted in _VERSIONS else _VERSIONS[0],
                    capabilities={"tools": {}},
                    serverInfo={"name": "tercet", "version": __version__},
                )
            case "ping":
                return _result()
            case "tools/list":
                listed = [
                    {"name": tool.name, "description": tool.about, "inputSchema": dict(tool.schema)}
                    for tool in self._tools.values()
                ]
                return _result(tools=listed)
            case "tools/call":
                return await self._use(params)
        return {"error": {"code": _NO_METHOD, "message": f"there is no method {method[:100]!r} here"}}

    async def _use(self, params: Mapping[str, Any]) -> dict[str, Any]:
        arguments = params.get("arguments") or {}
        tool = self._tools.get(str(params.get("name")))
        if tool is None or not isinstance(arguments, dict):
            why = "the arguments are no object" if tool else f"there is no tool {str(params.get('name'))[:100]!r}"
            return {"error": {"code": _NO_ARGUMENTS, "message": f"{why}. There are: {', '.join(self._tools)}."}}
        self._calls += 1
        if self._calls > MOST_CALLS:
            return _said(f"Refused: an attempt uses tools {MOST_CALLS} times at most.", failed=True)
        try:
            return _said(await tool.use(arguments))
        except REFUSALS as error:
            log.info("granted.refused tool=%s why=%r", tool.name, str(error)[:200])
            return _said(f"Refused: {error}", failed=True)


def _said(text: str, *, failed: bool = False) -> dict[str, Any]:
    return _result(content=[{"type": "text", "text": text}], isError=failed)


def _result(**what: Any) -> dict[str, Any]:
    return {"result": what}


def _error(name: object, code: int, why: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": name, "error": {"code": code, "message": why}}
