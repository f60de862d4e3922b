"""Group commit: one thread writes whatever has gathered in one transaction, and tells who waits when it is on the disk."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tercet.errors import JournalError
from tercet.swarm.events import Event, Row

__all__ = ["GroupCommit"]

_MOST_AT_ONCE = 512


class _Waiting(NamedTuple):
    row: Row | None
    """None where somebody only waits for what came before."""
    told: asyncio.Future[Any] | None
    answer: Event | None


class GroupCommit:
    """Writes rows in the order in which they were put. What fails once fails for good: later rows would not follow."""

    def __init__(self, write: Callable[[Sequence[Row]], None]) -> None:
        """`write` commits rows, all or none, or raises JournalError; it is called in a thread of its own."""
        self._write = write
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self.failure: JournalError | None = None
        """Why nothing is written any more."""
        self.lost_notes = 0
        """Rows that nobody waited for, and that could not be written."""
        self._thread = threading.Thread(target=self._write_forever, name="journal", daemon=True)
        self._thread.start()

    def put(self, row: Row | None, told: asyncio.Future[Any] | None = None, answer: Event | None = None) -> None:
        """Write `row` soon, and give `answer` to `told` when it is on the disk; without a row, when all before it is."""
        self._waiting.put(_Waiting(row, told, answer))

    def close(self) -> None:
        """Write what waits, and end."""
        self._waiting.put(None)
        self._thread.join()

    def _write_forever(self) -> None:
        ending = False
        while not ending:
            batch = [self._waiting.get()]
            while len(batch) < _MOST_AT_ONCE and not self._waiting.empty():
                batch.append(self._waiting.get())
            ending = None in batch
            items = [item for item in batch if item is not None]
            rows = [item.row for item in items if item.row is not None]
            if rows and self.failure is None:
                try:
                    self._write(rows)
                except JournalError as error:
                    self.failure = error
            self._tell(items)

    def _tell(self, items: Sequence[_Waiting]) -> None:
        failure = self.failure
        if failure is not None:
            self.lost_notes += sum(item.told is None for item in items)
        by_loop: dict[asyncio.AbstractEventLoop, list[_Waiting]] = {}
        for item in items:
            if item.told is not None:
                by_loop.setdefault(item.told.get_loop(), []).append(item)
        for loop, waiting in by_loop.items():
            try:
                loop.call_soon_threadsafe(_answer, waiting, failure)
            except RuntimeError:  # that loop is closed: nobody waits any more
                continue


def _answer(waiting: Sequence[_Waiting], failure: JournalError | None) -> None:
    for item in waiting:
        assert item.told is not None
        if not item.told.done():
            if failure is None:
                item.told.set_result(item.answer)
            else:
                item.told.set_exception(failure)
