"""Calls on their way: who asks the same waits for the same, and what nobody waits for is dropped before it costs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from tercet.errors import EndedError
from tercet.swarm.gateway.call import Reply
from tercet.swarm.gateway.gates import Gates

__all__ = ["Flight", "Flights"]


class Flight:
    """A call on its way."""

    task: asyncio.Task[Reply]

    def __init__(self) -> None:
        self.askers = 0
        self.sent = False
        """A model may be working on it, so it is brought to its end even if nobody waits."""


class Flights:
    """All calls on their way, by what makes two of them the same."""

    def __init__(self, gates: Gates) -> None:
        self._gates = gates
        self._going: dict[object, Flight] = {}

    @property
    def sent(self) -> int:
        """How many a model may be working on."""
        return sum(flight.sent for flight in self._going.values())

    async def join(self, key: object, node: str, work: Callable[[Flight], Coroutine[Any, Any, Reply]]) -> Reply:
        """The answer of the call with this key: of the one that is on its way, else `work` begins it.

        Raises:
            EndedError: `node` was ended meanwhile, or the run's gateway closed.
            TercetError: what `work` raised.

        """
        return await self._wait_for(self._going.get(key) or self._begin(key, node, work), node)

    async def close(self, grace: float) -> None:
        """Drop what was not sent, and give what was `grace` seconds to end."""
        tasks = [flight.task for flight in self._going.values()]
        for flight in self._going.values():
            if not flight.sent:
                flight.task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _begin(self, key: object, node: str, work: Callable[[Flight], Coroutine[Any, Any, Reply]]) -> Flight:
        flight = Flight()
        flight.task = asyncio.create_task(work(flight), name=f"call of {node}")
        self._going[key] = flight

        def forget(task: asyncio.Task[Reply]) -> None:
            self._going.pop(key, None)
            if not task.cancelled():
                task.exception()  # its askers had it, if any were left

        flight.task.add_done_callback(forget)
        return flight

    async def _wait_for(self, flight: Flight, node: str) -> Reply:
        watcher = self._gates.watch(node)

        def done(_: asyncio.Task[Reply]) -> None:
            if not watcher.done():
                watcher.set_result(None)

        flight.askers += 1
        flight.task.add_done_callback(done)
        try:
            try:
                await watcher
            except EndedError:
                if not flight.task.done():
                    raise
            if flight.task.cancelled():
                raise EndedError(node, "the run's gateway is closed")
            return flight.task.result()
        finally:
            flight.task.remove_done_callback(done)
            self._gates.unwatch(watcher)
            flight.askers -= 1
            if not flight.askers and not flight.sent:
                flight.task.cancel()
