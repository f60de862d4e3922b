"""A chat that is answered as it is written: the gateway's server-sent events, in OpenAI's shape."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from tercet.errors import TercetError
from tercet.nodes.directory import MinerEntry
from tercet.nodes.gateway_calls import Desk, Order
from tercet.nodes.gateway_openai import ChatPiece, ChatRequest, build_chunk, build_error, build_logprobs
from tercet.nodes.gateway_problems import explain

__all__ = ["Stream"]


class Stream:
    """A chat as server-sent events. The response begins with the first piece, so that until then another miner can be
    tried and an error still has its HTTP status; after that an error is an event.
    """

    def __init__(self, request: web.Request, ask: ChatRequest, order: Order[ChatPiece, Any]) -> None:
        self._request = request
        self._ask = ask
        self._order = order
        self._response: web.StreamResponse | None = None

    async def run(self, desk: Desk) -> web.StreamResponse:
        """Buy it at the desk, and pass each piece on.

        Raises:
            TercetError: nothing was sent yet, so this can still be answered with an HTTP status.

        """
        try:
            pieces, receipt = await desk.relay(self._order, self._send)
        except (TercetError, TimeoutError) as error:
            if self._response is None:
                raise
            await self._event(explain(error).content())
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
