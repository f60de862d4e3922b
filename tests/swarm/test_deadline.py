"""The time that a task's work may take."""

from __future__ import annotations

import asyncio

import pytest

from tercet.errors import AttemptError
from tercet.swarm.deadline import Deadline


async def test_a_wait_that_begins_while_the_clock_runs_is_not_the_works_time() -> None:
    """An agent works a little, and then waits for the person, longer than its task may take."""
    waits = asyncio.Event()

    async def work() -> str:
        waits.set()
        await asyncio.sleep(0.3)
        return "done"

    assert await Deadline(0.1, waits.is_set).run(work()) == "done"


async def test_work_without_an_end_is_ended() -> None:
    """For good, and with the time that it had."""
    with pytest.raises(AttemptError, match=r"0\.1 seconds are over") as caught:
        await Deadline(0.1, lambda: False).run(asyncio.sleep(60))
    assert caught.value.final
