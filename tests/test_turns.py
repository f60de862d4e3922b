"""The queue in front of miners and models: bounded, fair by weight, and no slot is ever lost."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tercet.errors import BusyError
from tercet.turns import FairQueue


async def serve(queue: FairQueue, calls: list[tuple[str, int]]) -> list[str]:
    """Let all of them wait behind one that holds the only slot; the order in which they were served."""
    order: list[str] = []

    async def call(who: str, weight: int) -> None:
        async with queue.turn(who, weight, 5):
            order.append(who)

    async with queue.turn("first", 1, 5):
        tasks = [asyncio.create_task(call(*each)) for each in calls]
        await asyncio.sleep(0)
        assert queue.waiting == len(calls)
    await asyncio.gather(*tasks)
    return order


async def test_heavier_keys_are_served_more_often() -> None:
    """Of the first twelve turns a key of weight 3 gets nine, one of weight 1 three, though both ask as often."""
    order = await serve(FairQueue(1, 100), [("heavy", 3), ("light", 1)] * 20)
    assert Counter(order[:12]) == {"heavy": 9, "light": 3}
    assert Counter(order) == {"heavy": 20, "light": 20}


async def test_many_calls_of_one_key_do_not_push_another_back() -> None:
    """A key with one call is served next to a key with fifty."""
    order = await serve(FairQueue(1, 100), [("noisy", 1)] * 50 + [("quiet", 1)])
    assert order.index("quiet") <= 1


async def test_an_idle_key_gains_no_credit() -> None:
    """Whoever comes after others were served for long shares from now on, and does not catch up."""
    queue = FairQueue(1, 200)
    await serve(queue, [("old", 1)] * 50)
    order = await serve(queue, [("old", 1)] * 10 + [("new", 1)] * 10)
    assert 4 <= order[:10].count("new") <= 6


async def test_a_full_queue_sends_away_and_a_long_wait_ends() -> None:
    """Above the bound, and after the time, BusyError with a retry."""
    queue = FairQueue(1, 1)
    async with queue.turn("a", 1, 5):
        waiting = asyncio.create_task(serve_once(queue, 0.02))
        await asyncio.sleep(0)
        with pytest.raises(BusyError, match="1 calls wait already"):
            await serve_once(queue, 5)
        with pytest.raises(BusyError, match=r"no turn came within 0\.02 s"):
            await waiting
    await serve_once(queue, 0)


async def serve_once(queue: FairQueue, seconds: float) -> None:
    async with queue.turn("b", 1, seconds):
        pass


@given(st.integers(1, 4), st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9), st.booleans()), max_size=30))
@settings(max_examples=60, deadline=None)
def test_no_slot_is_lost_or_doubled(slots: int, calls: list[tuple[int, int, bool]]) -> None:
    """Whoever is cancelled, waiting or served, at most `slots` work at once and all slots are free in the end."""

    async def run() -> None:
        queue = FairQueue(slots, 1000)
        working = most = 0

        async def call(who: int, weight: int) -> None:
            nonlocal working, most
            async with queue.turn(str(who), weight, 5):
                working += 1
                most = max(most, working)
                try:
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                finally:
                    working -= 1

        tasks = [asyncio.create_task(call(who, weight)) for who, weight, _ in calls]
        for task, (*_, cancelled) in zip(tasks, calls, strict=True):
            await asyncio.sleep(0)
            if cancelled:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert most <= slots
        async with asyncio.timeout(1):
            for _ in range(slots):
                await queue._enter("z", 1, 1)
        assert queue._free == 0

    asyncio.run(run())
