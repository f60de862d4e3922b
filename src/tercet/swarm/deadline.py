"""A time that work may take, such as a task's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from tercet.errors import AttemptError

__all__ = ["Deadline"]

_T = TypeVar("_T")


class Deadline:
    """Runs work until a time is up; what passes while its agent is held does not count."""

    def __init__(self, seconds: float, held: Callable[[], bool]) -> None:
        self._left, self._held, self._seconds = seconds, held, seconds

    async def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Do it.

        Raises:
            AttemptError: the time is up.

        """
        future = asyncio.ensure_future(work)
        try:
            while not future.done():
                began, held = time.monotonic(), self._held()
                await asyncio.wait([future], timeout=1.0 if held else min(1.0, max(0.0, self._left)))
                if not held and (future.done() or not self._held()):  # not where a wait began meanwhile
                    self._left -= time.monotonic() - began
                if self._left <= 0 and not future.done():
                    raise AttemptError(f"Its {self._seconds:g} seconds are over.", final=True)
            return await future
        finally:
            if not future.done():
                future.cancel()
                await asyncio.wait([future])
