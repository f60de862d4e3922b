"""Who is let in, decided before a body is read: token buckets and a cap on work.

Buckets are charged only after the caller is proven: nobody can empty another one's bucket. What
comes before that proof (a signature costs 70 us to check) is charged to the remote address.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tercet.errors import RefusalError


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server grants. Rates are requests a second; a bucket holds two seconds' worth."""

    rate: float = 1000.0
    """For a known caller of weight 1; a caller of weight w gets w times as much."""
    stranger_rate: float = 50.0
    """For each remote address, all of its unknown callers and unproven requests together."""
    max_weight: float = 16.0
    in_flight: int = 256
    """Requests being worked on."""
    connections: int = 1024
    connections_per_address: int = 256
    header_seconds: float = 10.0
    """From the first byte of a request (or from connecting) to the end of its headers."""
    body_seconds: float = 10.0
    """From the end of the headers to the end of the body."""
    idle_seconds: float = 75.0
    """Between requests."""
    write_seconds: float = 30.0
    """For a caller to take what is written."""
    buckets: int = 8192


class TokenBucket:
    """`rate` tokens a second, at most `burst` in store."""

    __slots__ = ("_burst", "_level", "_rate", "_seen")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._level, self._seen = burst, now

    def take(self, now: float) -> float:
        """Take one token; 0 when there was one, else the seconds until there is."""
        self._level = min(self._burst, self._level + (now - self._seen) * self._rate)
        self._seen = now
        if self._level >= 1:
            self._level -= 1
            return 0.0
        return (1 - self._level) / self._rate


class Admission:
    """The door: `admit_address` before a signature is checked, `admit_caller` after it, `slot` round the work."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._limits, self._clock = limits, clock
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()
        self.in_flight = 0
        self.idle = asyncio.Event()
        """Set while nothing is being worked on."""
        self.idle.set()

    def admit_address(self, address: str) -> None:
        """Refuse with `slow_down` an address whose strangers ask too often."""
        self._take("@" + address, self._limits.stranger_rate)

    def admit_caller(self, caller: str, weight: float) -> None:
        """Refuse with `slow_down` a proven caller that asks too often for its weight (above 0)."""
        self._take(caller, self._limits.rate * min(weight, self._limits.max_weight))

    def _take(self, name: str, rate: float) -> None:
        now = self._clock()
        bucket = self._buckets.get(name)
        if bucket is None:
            if len(self._buckets) >= self._limits.buckets:
                self._buckets.popitem(last=False)
            bucket = self._buckets[name] = TokenBucket(rate, max(2 * rate, 1.0), now)
        else:
            self._buckets.move_to_end(name)
        wait = bucket.take(now)
        if wait:
            raise RefusalError("slow_down", retry_after=wait)

    @contextmanager
    def slot(self, weight: float) -> Iterator[None]:
        """Hold one of the places for work; refuses with `busy` when all are taken (for strangers: a quarter)."""
        places = self._limits.in_flight if weight > 0 else self._limits.in_flight // 4
        if self.in_flight >= places:
            raise RefusalError("busy", retry_after=1)
        self.in_flight += 1
        self.idle.clear()
        try:
            yield
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self.idle.set()
