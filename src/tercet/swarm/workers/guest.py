"""A driver at work: an order goes in, lines come out and are heeded, until it says how it ended."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from tercet.errors import AgentError
from tercet.market.text import decode_json
from tercet.subnets.kit import Outcome, Sandbox
from tercet.swarm.workers.box import Box, Environment, last_words, open_box
from tercet.swarm.workers.granted import GrantedTool

__all__ = ["FACE", "MCP", "Guest", "Heed"]

log = logging.getLogger(__name__)

FACE = "http://127.0.0.1:8000/v1"
"""Where the program inside thinks."""
MCP = "http://127.0.0.1:8000/mcp"
"""Where its tools are, if it was granted any."""
_MAX_LINES = 10_000
_GRACE_SECONDS = 2.0
"""For a program that broke off to tell its exit code."""
Heed: TypeAlias = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any] | None]]
"""Takes a line of the program; the line to answer it with, or None where it wants none."""


class Guest:
    """One run of a driver. It has a copy of one folder, its own packages, the gateway's face, and nothing else."""

    def __init__(self, sandbox: Sandbox, environment: Environment, driver: Path) -> None:
        self._sandbox, self._environment, self._driver = sandbox, environment, driver
        self._running: asyncio.Task[Mapping[str, Any]] | None = None

    async def run(
        self,
        order: Mapping[str, Any],
        folder: Path,
        heed: Heed,
        *,
        seconds: float,
        face: tuple[str, str] | None = None,
        tools: Sequence[GrantedTool] = (),
        writable: bool = True,
    ) -> Mapping[str, Any]:
        """Start it, give it its order, heed its lines until it says `end`; that line.

        What it left in its folder comes back, when it ended by itself and `writable` is true.

        Args:
            order: the first line that it reads.
            folder: is /w inside.
            heed: what is done about its lines.
            seconds: the longest it may take.
            face: URL and token of the gateway.
            tools: what it was granted, at `MCP`.
            writable: whether what it leaves counts.

        Raises:
            AgentError: it died, spoke nonsense, or exceeded a limit.

        """
        assert self._running is None, "a guest runs once"
        self._running = asyncio.create_task(self._run(order, folder, heed, seconds, face, tools, writable=writable))
        try:
            return await self._running
        finally:
            await self.stop()

    async def stop(self) -> None:
        """End it, with all that it started."""
        running = self._running
        if running is not None and not running.done():
            running.cancel()
            await asyncio.wait([running])

    async def _run(
        self,
        order: Mapping[str, Any],
        folder: Path,
        heed: Heed,
        seconds: float,
        face: tuple[str, str] | None,
        tools: Sequence[GrantedTool],
        *,
        writable: bool,
    ) -> Mapping[str, Any]:
        async with open_box(
            self._sandbox,
            ["/driver.py", f"/agent/{self._environment.packages}"],
            folder,
            seconds=seconds,
            environment=self._environment,
            lent={"/driver.py": self._driver},
            face=face,
            tools=tools,
            writable=writable,
        ) as box:
            ended = await _converse(box, order, heed)
            if ended is None:
                await asyncio.wait([box.ended], timeout=_GRACE_SECONDS)
                raise AgentError(_why(box.ended.result() if box.ended.done() else None))
            outcome = await box.ended
        if outcome.stopped:
            raise AgentError(_why(outcome))
        return ended


async def _converse(box: Box, order: Mapping[str, Any], heed: Heed) -> Mapping[str, Any] | None:
    """Speak with it until its last line; None when it went without one."""
    streams = await box.streams()
    if streams is None:
        return None
    reader, writer = streams
    said: Mapping[str, Any] | None = order
    try:
        for _ in range(_MAX_LINES):
            if said is not None:
                writer.write(json.dumps(said).encode() + b"\n")
                await writer.drain()
            line = decode_json(await reader.readline())
            if not isinstance(line, dict):
                return None
            if "end" in line:
                return line
            said = await heed(line)
    except (ConnectionError, ValueError) as error:  # a line beyond the limit is a ValueError
        log.info("guest.silenced why=%r", str(error))
        return None
    raise AgentError(f"The agent said more than {_MAX_LINES} lines. It seems to turn in circles.")


def _why(outcome: Outcome | None) -> str:
    if outcome is None:
        return "The agent said something that is no line of JSON, so it was ended and did not say how it went."
    if outcome.stopped:
        return f"The agent was stopped: it exceeded its limit of {outcome.stopped}. Nothing that it did is kept."
    return f"The agent did not say how it went: {last_words(outcome)}."
