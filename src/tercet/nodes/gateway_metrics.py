"""What Prometheus sees of a gateway. Its own registry, so that several gateways fit in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from tercet.market import Receipt

__all__ = ["Metrics"]

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 120)


class Metrics:
    """Counters of calls, tokens, money and failures."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        self._calls = Counter("tercet_gateway_calls", "Calls ended, by how.", ["kind", "status"], registry=own)
        self._tokens = Counter("tercet_gateway_tokens", "Tokens of answers.", ["kind", "side"], registry=own)
        self._charged = Counter("tercet_gateway_charged_units", "Credit units charged.", ["kind"], registry=own)
        self._seconds = Histogram(
            "tercet_gateway_call_seconds", "Whole calls.", ["kind"], buckets=_SECONDS, registry=own
        )
        self._first = Histogram(
            "tercet_gateway_first_piece_seconds", "Until a miner's first piece.", buckets=_SECONDS, registry=own
        )
        self._in_flight = Gauge("tercet_gateway_in_flight", "Calls going on.", registry=own)
        self._failures = Counter("tercet_gateway_miner_failures", "Attempts that failed.", ["error"], registry=own)
        self._refused = Counter("tercet_gateway_refused", "Errors sent, by HTTP status.", ["status"], registry=own)
        self.waiting = Gauge("tercet_gateway_waiting", "Calls waiting for a turn.", registry=own)
        self.miners = Gauge("tercet_gateway_miners", "Miners registered.", ["class"], registry=own)

    @contextmanager
    def call(self, kind: str) -> Iterator[Callable[[Receipt], None]]:
        """Count a call while the block runs; what is yielded takes its receipt."""
        begun = time.perf_counter()
        try:
            with self._in_flight.track_inprogress():
                yield self._note
        finally:
            self._seconds.labels(kind).observe(time.perf_counter() - begun)

    def _note(self, receipt: Receipt) -> None:
        kind = receipt.kind
        self._calls.labels(kind, receipt.status).inc()
        self._charged.labels(kind).inc(receipt.charged)
        self._tokens.labels(kind, "prompt").inc(receipt.usage.prompt)
        self._tokens.labels(kind, "completion").inc(receipt.usage.completion)
        if receipt.first_seconds:
            self._first.observe(receipt.first_seconds)

    def miner_failed(self, error: str) -> None:
        """An attempt failed."""
        self._failures.labels(error).inc()

    def refused(self, status: int) -> None:
        """An error went out."""
        self._refused.labels(str(status)).inc()

    def render(self) -> bytes:
        """The text format."""
        return generate_latest(self.registry)
