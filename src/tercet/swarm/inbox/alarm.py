"""One alarm on a clock: rings at the moment that was set last, once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tercet.swarm.inbox.clock import Clock

__all__ = ["Alarm"]


class Alarm:
    """Set anew as often as needed; it rings in the loop it was set in."""

    def __init__(self, clock: Clock, ring: Callable[[], None]) -> None:
        self._clock, self._ring = clock, ring
        self._waiting: asyncio.Task[None] | None = None
        self._due = 0.0

    def set(self, due: float) -> None:
        """Ring at `due`, in Unix seconds, instead of when it was set for; 0 never."""
        if self._waiting is not None and not self._waiting.done() and self._due == due:
            return
        self.stop()
        self._due = due
        if due:
            self._waiting = asyncio.get_running_loop().create_task(self._wait(due - self._clock.now()))

    def stop(self) -> None:
        """Do not ring."""
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    async def _wait(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._waiting = None  # it rings now: setting it again cancels nobody
        self._ring()
