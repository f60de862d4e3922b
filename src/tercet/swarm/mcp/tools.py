"""Other people's servers of tools: at a URL, or as a program in the sandbox. An agent has the tools it was given, each.

What a tool says is an external claim; a tool that reaches outside is guarded like any act that cannot be taken back.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, TextContent
from pydantic import ValidationError
from pydantic_ai import RunContext
from pydantic_ai import Tool as ModelTool
from pydantic_ai.toolsets import FunctionToolset

from tercet.errors import AgentError, AgentUnreachableError, ToolError
from tercet.subnets.kit import Sandbox
from tercet.swarm.agents import Added
from tercet.swarm.guard import Reach
from tercet.swarm.mcp.pipe import pipe
from tercet.swarm.mcp.wire import bounded_client
from tercet.swarm.tools import Toolbox
from tercet.swarm.workers import REFUSALS, GrantedTool
from tercet.swarm.workers.box import Box, Environment, last_words, open_box

__all__ = ["Address", "Tool", "Tools", "as_toolset", "grant", "list_tools", "open_tools"]

MOST_TOOLS = 64
MAX_RESULT = 100_000
"""Characters of one result; what is longer is cut."""
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
"""Of a tool, as MCP has it (2025-11-25, server/tools, tool names)."""
_CALL_SECONDS = 60.0
_DYING_SECONDS = 2.0
_SESSION_SECONDS = 6 * 3600.0
_SILENCE = (httpx2.NetworkError, httpx2.TimeoutException, TimeoutError)
"""Nobody answered at an address."""
ToolReach: TypeAlias = Literal["local", "irreversible"]


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server of tools is: a URL, or a command that runs in the sandbox."""

    url: str = ""
    command: Sequence[str] = ()
    environment: Path | None = None
    """Of a command: the virtual environment whose packages it has."""
    files: Path | None = None
    """Of a command: a folder; a copy of it is where the command starts."""
    token: str = field(default="", repr=False)
    """Of a URL: shown as `Authorization: Bearer`."""

    @property
    def host(self) -> str:
        """What a capability names; `sandbox` for what runs here."""
        return urlsplit(self.url).hostname or "" if self.url else "sandbox"


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as its server describes it. A stranger's words: they reach a model only once a person allowed the tool."""

    name: str
    about: str
    schema: Mapping[str, Any] = field(repr=False)

    @property
    def digest(self) -> str:
        """sha256 over all that a model is told of it besides its name."""
        told = {"about": self.about, "schema": self.schema}
        encoded = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(encoded.encode()).hexdigest()


class Tools:
    """A server that is connected."""

    def __init__(self, client: Client, server: _Server) -> None:
        self._client, self._server = client, server

    @property
    def address(self) -> Address:
        """Where it is."""
        return self._server.address

    async def all(self) -> list[Tool]:
        """What it offers.

        Raises:
            AgentError: it does not say, or offers too much, or a tool whose name is none.

        """
        found: list[Tool] = []
        cursor: str | None = None
        async with self._server.understood():
            async with asyncio.timeout(_CALL_SECONDS):
                while True:
                    page = await self._client.list_tools(cursor=cursor)
                    found += [Tool(one.name, (one.description or "")[:1000], one.input_schema) for one in page.tools]
                    cursor = page.next_cursor
                    if bad := [tool.name for tool in found if not _NAME.fullmatch(tool.name)]:
                        raise AgentError(
                            f"This server offers a tool called {bad[0]!r:.200}. MCP allows letters, digits, '_', '-' and '.', at"
                            " most 128 of them: have whoever runs it give it such a name."
                        )
                    if len(found) > MOST_TOOLS:
                        raise AgentError(f"This server offers more than {MOST_TOOLS} tools.")
                    if not cursor:
                        return found

    async def call(self, name: str, arguments: Mapping[str, Any], *, seconds: float = _CALL_SECONDS) -> str:
        """Use a tool; what it says, as text.

        Raises:
            ToolError: it says that it failed.
            AgentError: it does not answer, or not in the protocol.

        """
        async with self._server.understood():
            async with asyncio.timeout(seconds):
                result = await self._client.call_tool(name, dict(arguments))
        text = _text(result)
        if result.is_error:
            raise ToolError(f"{name} failed: {text[:1000]}")
        return text


@contextlib.asynccontextmanager
async def open_tools(address: Address, sandbox: Sandbox | None = None) -> AsyncIterator[Tools]:
    """Connect to a server; `sandbox` is for one that runs here, with no network, no files and no key.

    Raises:
        AgentUnreachableError: nobody answers at its URL.
        AgentError: it is not there, or does not speak MCP.

    """
    failed: BaseException | None = None
    server = _Server(address)
    try:
        async with contextlib.AsyncExitStack() as stack:
            async with server.understood():
                if address.url:
                    http = await stack.enter_async_context(bounded_client(silence=_CALL_SECONDS, token=address.token))
                    client = Client(streamable_http_client(address.url, http_client=http), cache=None)
                else:
                    assert sandbox is not None, "a command runs in the sandbox"
                    environment = Environment.read(address.environment) if address.environment else None
                    packages = f"/agent/{environment.packages}" if environment else ""
                    empty = stack.enter_context(tempfile.TemporaryDirectory(prefix="tercet-empty-"))
                    server.box = await stack.enter_async_context(
                        open_box(
                            sandbox,
                            ["--command", packages, *address.command],
                            address.files or Path(empty),
                            seconds=_SESSION_SECONDS,
                            environment=environment,
                        )
                    )
                    client = Client(pipe(server.box), cache=None)
                async with asyncio.timeout(_CALL_SECONDS):
                    await stack.enter_async_context(client)
            try:
                yield Tools(client, server)
            except BaseException as error:
                failed = error
                raise
    except BaseExceptionGroup:  # the library wraps what its user raises
        if failed is None:
            raise
        raise failed from None


async def list_tools(address: Address, sandbox: Sandbox | None = None) -> list[Tool]:
    """Connect, look, leave."""
    async with open_tools(address, sandbox) as tools:
        return await tools.all()


async def grant(added: Added, tools: Tools, allowed: Mapping[str, ToolReach], box: Toolbox) -> list[GrantedTool]:
    """The allowed tools of a server, each use of them through an agent's guard.

    Args:
        added: the server as the person added it; its name stands before each tool's.
        tools: the connected server.
        allowed: name of a tool to how far it reaches.
        box: of the agent: its capabilities have to name the server's host.

    Raises:
        AgentError: one of them says something else than when it was added.

    """
    offered = {tool.name: tool for tool in await tools.all()}
    return [
        _granted(added.name, tools, _as_added(added, offered[name]), reach, box)
        for name, reach in allowed.items()
        if name in offered
    ]


def _as_added(added: Added, tool: Tool) -> Tool:
    """The tool, if it says what the person saw: its words go into a prompt, and nothing else marks them as read."""
    seen = added.digests.get(tool.name)
    if seen == tool.digest:
        return tool
    why = (
        "says something else now than when it was added"
        if seen
        else "was added by an older version of Tercet, which did not keep what it said"
    )
    raise AgentError(
        f"The tool {tool.name!r} of {added.name!r} {why}. Run {added.add_again} to see what it says now and to add it anew."
    )


def _granted(server: str, tools: Tools, tool: Tool, reach: ToolReach, box: Toolbox) -> GrantedTool:
    name = f"{server}_{tool.name}".replace("-", "_")

    async def use(arguments: Mapping[str, Any]) -> str:
        return await box.outside(
            name,
            arguments,
            lambda: tools.call(tool.name, arguments),
            host=tools.address.host,
            reach=Reach.LOCAL if reach == "local" else Reach.IRREVERSIBLE,
        )

    return GrantedTool(name, tool.about, tool.schema, use)


def as_toolset(granted: Sequence[GrantedTool], name: str) -> FunctionToolset[Any]:
    """Granted tools for `Agent(toolsets=[...])`; `name` is the toolset's, the same after a resume."""
    return FunctionToolset([_model_tool(tool) for tool in granted], id=name)


def _model_tool(tool: GrantedTool) -> ModelTool[Any]:
    async def use(_context: RunContext[Any], **arguments: Any) -> str:
        try:
            return await tool.use(arguments)
        except REFUSALS as error:
            return f"Refused: {error}"

    return ModelTool.from_schema(use, tool.name, tool.about, dict(tool.schema), takes_ctx=True)


def _text(result: CallToolResult) -> str:
    parts = [part.text if isinstance(part, TextContent) else f"({part.type})" for part in result.content]
    return "\n".join(parts)[:MAX_RESULT]


@dataclass(slots=True)
class _Server:
    """What may be the matter with a server."""

    address: Address
    box: Box | None = None
    """Of a command: where it runs."""

    @contextlib.asynccontextmanager
    async def understood(self) -> AsyncIterator[None]:
        """Whatever its silence or junk makes the library raise, as ours."""
        try:
            yield
        except (MCPError, ValidationError, httpx2.HTTPError, TimeoutError, OSError, ValueError, RuntimeError) as error:
            raise await self._ours(error) from error
        except ExceptionGroup as group:
            ours, others = group.split(AgentError)
            first: Exception = ours or others or group
            while isinstance(first, ExceptionGroup):
                first = first.exceptions[0]
            raise await self._ours(first) from group

    async def _ours(self, error: Exception) -> AgentError:
        silent = self.address.url and isinstance(error, _SILENCE)
        return (AgentUnreachableError if silent else AgentError)(await self._why(error))

    async def _why(self, error: Exception) -> str:
        where, why = self.address.url or " ".join(self.address.command), str(error) or "it did not answer in time"
        words = f"The server of tools {where!r} cannot be used: {why.removesuffix('.')}."
        if self.box is None:
            return words
        end = "" if isinstance(error, TimeoutError) else await _end_of(self.box)
        return f"{words}{end} Run it by hand to see what it says; here it has --files and no network."


async def _end_of(box: Box) -> str:
    """How it ended, if it did: its streams close a moment before."""
    await asyncio.wait([box.ended], timeout=_DYING_SECONDS)
    if not box.ended.done() or box.ended.cancelled() or box.ended.exception():
        return ""
    words = last_words(box.ended.result())
    return f" {words[0].upper()}{words[1:]}."
