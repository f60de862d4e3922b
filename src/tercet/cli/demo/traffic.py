"""Buyers: ordinary `openai` clients that ask the gateway what the shipped prompts ask, streaming and not."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from openai import AsyncOpenAI, OpenAIError

from tercet.subnets.inference.prompts import draw_chat

__all__ = ["Call", "Traffic"]

log = logging.getLogger(__name__)

REQUEST_SECONDS = 90.0
PAUSE_AFTER_FAILURE = 0.5
TRIALS = 1
"""Requests by each buyer before the market has opened."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call as the client saw it."""

    at: float
    """Seconds since the traffic began."""
    id: str
    """The receipt's id; empty when there was no answer."""
    stream: bool
    text: str
    failure: str = ""


@dataclass(slots=True)
class Traffic:
    """Keeps `concurrency` requests in flight until it is cancelled.

    Before `opened` is set only a few come: buyers who try a market that nobody has measured yet.
    """

    base_url: str
    api_key: str
    model: str
    concurrency: int = 1
    calls: list[Call] = field(default_factory=list)
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    _began: float = field(default_factory=time.monotonic)

    async def run(self) -> None:
        """Ask without end; a failed call is kept and the next one follows."""
        async with AsyncOpenAI(
            base_url=self.base_url, api_key=self.api_key, max_retries=0, timeout=REQUEST_SECONDS
        ) as client:
            await asyncio.gather(*(self._ask_on(client, stream=bool(i % 2)) for i in range(self.concurrency)))

    async def _ask_on(self, client: AsyncOpenAI, *, stream: bool) -> None:
        for number in itertools.count():
            if number >= TRIALS:
                await self.opened.wait()
            stream = not stream
            at = time.monotonic() - self._began
            try:
                name, text = await self._ask(client, draw_chat(os.urandom(32)), stream=stream)
                self.calls.append(Call(at, name, stream, text))
            except OpenAIError as error:
                log.info("call.failed why=%r", str(error))
                self.calls.append(Call(at, "", stream, "", str(error)))
                await asyncio.sleep(PAUSE_AFTER_FAILURE)

    async def _ask(self, client: AsyncOpenAI, task: Mapping[str, Any], *, stream: bool) -> tuple[str, str]:
        """The receipt's id and the words of one answer."""
        asked: dict[str, Any] = {
            "model": self.model,
            "messages": list(task["messages"]),
            "max_tokens": task["max_tokens"],
            "temperature": task["temperature"],
            "seed": task["seed"],
        }
        if task["stop"]:
            asked["stop"] = task["stop"]
        if not stream:
            whole = await client.chat.completions.create(**asked)
            return whole.id, whole.choices[0].message.content or ""
        name, words = "", []
        async for chunk in await client.chat.completions.create(**asked, stream=True):
            name = chunk.id
            words += [choice.delta.content or "" for choice in chunk.choices]
        return name, "".join(words)
