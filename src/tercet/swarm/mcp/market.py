"""Our tools for other people's programs: ask a model of the market, see the budget, the receipts and the markets."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

import aiohttp
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from tercet import __version__
from tercet.errors import AgentError, TercetError, UnreachableError
from tercet.market import CREDIT, Amount
from tercet.market.text import decode_json

__all__ = ["GatewayDoor", "Markets", "build_server"]

_SECONDS = 150.0
_MAX_ANSWER = 4 << 20
_MOST_RECEIPTS = 100
Markets: TypeAlias = Callable[[], Awaitable[Sequence[Mapping[str, Any]]]]
"""Reads the list of markets from the chain."""


class GatewayDoor:
    """A gateway as one key sees it."""

    def __init__(self, url: str, key: str) -> None:
        """`url` ends in /v1."""
        self.url, self._key = url.rstrip("/"), key

    async def get(self, path: str) -> Any:
        """Read something; see `call`."""
        return await self.call("GET", path, None)

    async def call(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        """One request, one JSON answer.

        Raises:
            UnreachableError: no gateway there.
            AgentError: it said no; with its words.

        """
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        headers = {"Authorization": f"Bearer {self._key}"}
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                # Redirects would carry the key to wherever they point.
                session.request(
                    method, f"{self.url}/{path}", json=body, headers=headers, allow_redirects=False
                ) as answer,
            ):
                found = decode_json(await _read(answer))
                status = answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UnreachableError(
                f"No gateway answers at {self.url}: {str(error) or 'not in time'}. Start one: tercet up."
            ) from error
        if status != 200 or not isinstance(found, dict):
            told = found.get("error", {}).get("message", "") if isinstance(found, dict) else ""
            raise AgentError(f"The gateway said {status}: {told or 'nothing that can be read'}")
        return found


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    """All of it, within bounds; one `read` gives only what has come so far."""
    data = bytearray()
    async for chunk in answer.content.iter_chunked(1 << 16):
        data += chunk
        if len(data) > _MAX_ANSWER:
            raise AgentError(f"The gateway answered more than {_MAX_ANSWER >> 20} MiB, which nobody asked for.")
    return bytes(data)


def build_server(door: GatewayDoor, markets: Markets | None = None) -> MCPServer:
    """The server; how it is reached (lines, HTTP) is the caller's business.

    Args:
        door: the gateway, with the key that pays.
        markets: how the chain's markets are listed; None where there is no chain.

    """
    server = MCPServer(
        "tercet",
        version=__version__,
        instructions="A market for machine intelligence. Each question to a model costs credit of one key's budget.",
    )

    @server.tool()
    async def ask_model(
        prompt: str, model: str, system: str = "", max_tokens: int = 256, temperature: float = 0.0
    ) -> str:
        """Ask a language model of the market one question. Costs credit; the answer ends with what it cost and its receipt.

        Args:
            prompt: the question.
            model: one of list_models.
            system: how it should answer.
            max_tokens: the longest answer.
            temperature: 0 to 2.

        """
        messages = [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": prompt}]
        body = {"model": model, "messages": messages, "max_tokens": max_tokens, "temperature": temperature}
        found = await _told(door.call("POST", "chat/completions", body))
        choices, receipt = found.get("choices") or [{}], found.get("tercet") or {}
        text = str((choices[0].get("message") or {}).get("content", ""))
        cost = Amount(int(receipt.get("cost") or 0), CREDIT)
        return f"{text}\n\n[cost {cost}, receipt {receipt.get('receipt', 'none')}]"

    @server.tool()
    async def list_models() -> str:
        """The models that can be asked, as JSON."""
        found = await _told(door.get("models"))
        return _lines({"model": each.get("id"), **(each.get("tercet") or {})} for each in found.get("data", []))

    @server.tool()
    async def budget_left() -> str:
        """What the key may still spend, as JSON; credit units, a million to the credit."""
        return _lines([await _told(door.get("budget"))])

    @server.tool()
    async def receipts(limit: int = 10) -> str:
        """The last calls of this key and what each cost, the newest first, as JSON: who answered, and the signed proof."""
        found = await _told(door.get(f"receipts?limit={max(1, min(limit, _MOST_RECEIPTS))}"))
        return _lines(found.get("data", []))

    @server.tool()
    async def list_markets() -> str:
        """The markets on the chain, as JSON: what each sells, and who is in it."""
        if markets is None:
            return "There is no chain that this server can read."
        return _lines(await _told(markets()))

    return server


async def _told(answer: Awaitable[Any]) -> Any:
    """An error of ours as the words that the caller's model reads."""
    try:
        return await answer
    except TercetError as error:
        raise ToolError(str(error)) from error


def _lines(rows: Any) -> str:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows) or "(none)"
