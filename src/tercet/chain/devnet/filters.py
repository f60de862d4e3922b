"""Filters that clients poll: which logs or blocks, and how far each was read."""

from __future__ import annotations

import itertools
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass

from tercet.chain.devnet.store import LogQuery
from tercet.errors import RpcError

_MAX_FILTERS = 1_000
_IDLE_SECONDS = 300.0


@dataclass(slots=True)
class _Filter:
    query: LogQuery | None
    """None for a block filter."""
    next_block: int
    polled: float


class Filters:
    """At most 1,000 filters; one not polled for five minutes is dropped, as in other nodes."""

    def __init__(self) -> None:
        self._filters: OrderedDict[str, _Filter] = OrderedDict()
        self._ids = itertools.count(1)
        self._salt = secrets.randbits(48) << 32  # a restarted node must not honour an old filter's id

    def add(self, query: LogQuery | None, first: int) -> str:
        """Watch from block `first` on; returns the filter's id."""
        self._expire()
        while len(self._filters) >= _MAX_FILTERS:
            self._filters.popitem(last=False)
        name = hex(self._salt + next(self._ids))
        self._filters[name] = _Filter(query, first, time.monotonic())
        return name

    def query(self, name: str) -> LogQuery | None:
        """What the filter looks for."""
        return self._find(name).query

    def advance(self, name: str, head: int) -> tuple[LogQuery | None, int]:
        """The query and the first block not yet read; everything up to `head` counts as read from now on."""
        found = self._find(name)
        first, found.next_block = found.next_block, max(found.next_block, head + 1)
        return found.query, first

    def remove(self, name: str) -> bool:
        """Forget a filter; whether it was there."""
        return self._filters.pop(name, None) is not None

    def _find(self, name: str) -> _Filter:
        self._expire()
        found = self._filters.get(name)
        if found is None:
            raise RpcError("filter not found", code=-32000)
        found.polled = time.monotonic()
        self._filters.move_to_end(name)
        return found

    def _expire(self) -> None:
        limit = time.monotonic() - _IDLE_SECONDS
        while self._filters and next(iter(self._filters.values())).polled < limit:
            self._filters.popitem(last=False)
