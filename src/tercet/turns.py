"""Whose turn is next when a gateway is full: a weighted fair queue over a bound of calls in flight.

The market's gateway shares miners between keys with it, a run's gateway shares models between agents.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tercet.errors import BusyError

__all__ = ["FairQueue"]


class FairQueue:
    """At most `slots` turns at once; those who wait go by start-time fair queueing.

    Each call of a key costs 1 / weight of virtual time, and the one that would finish first goes first. So under
    pressure keys are served in proportion to their weights, whatever the number of calls each of them sends, and a key
    that was idle gains no credit from having been idle (Goyal, Vin and Cheng 1997).
    """

    def __init__(self, slots: int, longest: int) -> None:
        """`longest` is how many may wait; the next one is sent away."""
        self._free = slots
        self._longest = longest
        self._virtual = 0.0
        self._finish: dict[str, float] = {}
        self._waiting: list[tuple[float, int, float, asyncio.Future[None]]] = []
        self._count = 0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(not turn.done() for *_, turn in self._waiting)

    @asynccontextmanager
    async def turn(self, who: str, weight: int, seconds: float | None) -> AsyncIterator[None]:
        """Wait for a turn, at most `seconds` (None: as long as it takes), and hold it for the block.

        Raises:
            BusyError: too many wait already, or none came in `seconds`.

        """
        await self._enter(who, weight, seconds)
        try:
            yield
        finally:
            self._free += 1
            self._serve()

    async def _enter(self, who: str, weight: int, seconds: float | None) -> None:
        if self._free == 0 and self.waiting >= self._longest:
            raise BusyError(f"The gateway is full and {self._longest} calls wait already. Try again soon.")
        turn = self._line_up(who, weight)
        self._serve()
        try:
            async with asyncio.timeout(seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._free += 1  # it was given in the very moment of giving up
                self._serve()
            turn.cancel()
            if isinstance(error, TimeoutError):
                raise BusyError(f"The gateway is full: no turn came within {seconds:g} s. Try again soon.") from None
            raise

    def _line_up(self, who: str, weight: int) -> asyncio.Future[None]:
        start = max(self._virtual, self._finish.get(who, 0.0))
        finish = self._finish[who] = start + 1.0 / weight
        self._count += 1
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (finish, self._count, start, turn))
        return turn

    def _serve(self) -> None:
        while self._free and self._waiting:
            _, _, start, turn = heapq.heappop(self._waiting)
            if not turn.done():
                self._free -= 1
                self._virtual = max(self._virtual, start)
                turn.set_result(None)
