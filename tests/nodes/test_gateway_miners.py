"""What a gateway remembers of miners: latency for the task at hand, and rest after failures."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tercet.market import Price, Usage
from tercet.nodes.directory import MinerEntry
from tercet.nodes.gateway_miners import MinerNotes

PRICE = Price(per_request=1)


def seller_of(uid: int = 1, *, generation: int = 1, proven: bool = True, price: Price | None = PRICE) -> MinerEntry:
    return MinerEntry(uid, generation, "0x", "0x", "http://x", 1.0, proven, price)


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def test_latency_is_that_of_the_task() -> None:
    """First piece plus time per token; answers rarely use their whole limit, so at most 128 tokens count."""
    notes, seller = MinerNotes(), seller_of()
    assert notes.offer(seller, "chat", PRICE, Usage(1, 10)).latency is None
    notes.succeeded(seller, "chat", 1.0, 3.0, Usage(1, 20))
    assert notes.offer(seller, "chat", PRICE, Usage(1, 10)).latency == pytest.approx(2.0)
    assert notes.offer(seller, "chat", PRICE, Usage(1, 4096)).latency == pytest.approx(13.8)
    assert notes.offer(seller, "embed", PRICE, Usage(1, 0)).latency is None


def test_old_measurements_fade() -> None:
    """A miner that became quick is seen to be quick after some answers."""
    notes, seller = MinerNotes(), seller_of()
    for seconds in [10.0] + [1.0] * 12:
        notes.succeeded(seller, "chat", seconds, seconds, Usage(1, 1))
    latency = notes.offer(seller, "chat", PRICE, Usage(1, 1)).latency
    assert latency is not None
    assert 1.0 < latency < 1.2


def test_failures_rest_a_miner_longer_and_longer_until_it_works() -> None:
    """2 s, then 4 s; failures while it rests double nothing; success wakes it."""
    clock = Clock()
    notes, seller = MinerNotes(clock), seller_of()
    notes.failed(seller)
    notes.failed(seller)
    assert notes.offer(seller, "chat", PRICE, Usage()).resting == 2.0
    clock.now += 2.0
    assert notes.offer(seller, "chat", PRICE, Usage()).resting == 0.0
    notes.failed(seller)
    assert notes.offer(seller, "chat", PRICE, Usage()).resting == 4.0
    notes.succeeded(seller, "chat", 1, 1, Usage())
    assert notes.offer(seller, "chat", PRICE, Usage()).resting == 0.0


def test_misbehaviour_weighs_more_and_a_busy_miner_is_not_blamed() -> None:
    """Four failures at once rest 16 s; a miner that asks for three seconds gets three."""
    clock = Clock()
    notes, liar, tired = MinerNotes(clock), seller_of(1), seller_of(2)
    notes.failed(liar, weight=4)
    notes.busy(tired, 3.0)
    assert notes.offer(liar, "chat", PRICE, Usage()).resting == 16.0
    assert notes.offer(tired, "chat", PRICE, Usage()).resting == 3.0
    clock.now += 3.0
    notes.failed(tired)
    assert notes.offer(tired, "chat", PRICE, Usage()).resting == 2.0


def test_a_new_holder_of_a_uid_starts_clean() -> None:
    """Notes belong to (uid, generation)."""
    notes, old, new = MinerNotes(), seller_of(generation=1), seller_of(generation=2)
    notes.succeeded(old, "chat", 1, 1, Usage())
    assert notes.offer(new, "chat", PRICE, Usage()).latency is None
