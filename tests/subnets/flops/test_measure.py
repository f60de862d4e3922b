"""Measuring one machine on purpose, as whoever leases it does."""

from __future__ import annotations

import asyncio
import time

import numpy as np

from tercet.market import Task
from tercet.market.rating import build_figures
from tercet.subnets import Submission
from tercet.subnets.flops import Measured, remeasure, rogues
from tercet.subnets.flops.chain import Array
from tercet.subnets.flops.engines import Chain, NumpyEngine, _NumpyChain
from tercet.subnets.flops.tasks import Dtype

from .desk import asked, in_time, opened


async def test_a_machine_is_measured_kind_by_kind() -> None:
    """Three readings of each are enough for a figure; what it says of itself comes along."""
    miner, validator = await opened("miner", kinds="float32,int8"), await opened(kinds="float32,int8")

    async def ask(task: Task) -> Submission:
        return in_time(await asked(miner, task), task)

    found = await remeasure(validator, ask, repeats=3)
    assert [(figure.kind, figure.count) for figure in build_figures(found.readings)] == [
        ("float32", 3),
        ("int8", 3),
        ("link", 6),
    ]
    assert found.failed == 0
    assert found.cores >= 1
    assert len({reading.evidence for reading in found.readings}) == 6


async def test_a_cheat_is_asked_once_for_each_kind() -> None:
    """Wrong once is enough, and the reason is kept."""
    miner, validator = await opened("miner", behaviour="zeros"), await opened()

    async def ask(task: Task) -> Submission:
        return await asked(miner, task)

    found = await remeasure(validator, ask, ("float32", "float64"), repeats=3)
    assert (found.readings, found.failed) == ([], 2)
    assert "off by" in found.reasons[0]


async def test_a_cheat_that_begins_honestly_gets_no_reading_for_what_is_wrong() -> None:
    """The later answers are checked together, each for itself."""
    honest, cheat, validator = await opened("miner"), await opened("miner", behaviour="zeros"), await opened()
    asking = iter([honest, cheat, honest, cheat])

    async def ask(task: Task) -> Submission:
        return in_time(await asked(next(asking), task), task)

    found = await remeasure(validator, ask, ("float32",), repeats=4)
    assert (len(found.readings), found.failed) == (2, 2)


async def test_a_machine_that_does_not_answer_is_asked_again() -> None:
    """Silence may be the network's; every one is counted."""

    async def ask(_task: Task) -> Submission:
        return Submission(0, [], 1.0, 1.0, b"", "no answer in 1 s")

    found = await remeasure(await opened(), ask, ("float32",), repeats=3)
    assert (found.readings, found.failed, found.reasons) == ([], 3, ["no answer in 1 s"] * 3)


class _Steady(NumpyEngine):
    """A machine that is as fast as it is, whatever else the one beneath does: BLAS on a busy one is slower by a hundred."""

    def start(self, dtype: Dtype, n: int) -> Chain:
        return _SteadyChain(dtype, n)


class _SteadyChain(_NumpyChain):
    def step(self, order: Array) -> None:
        time.sleep(0.004)
        self.now = np.einsum("ij,jk->ik", self._base, self.now[order])


async def test_a_machine_that_is_also_somebody_elses_is_seen_under_the_lease() -> None:
    """Rated alone, then leased under two names at once: the readings under the lease are lower."""
    miner, validator = await opened("miner", behaviour="shared"), await opened(kinds="float32", window=0.2)
    other = await opened("miner", behaviour="shared")
    for each in (miner, other):
        each._picked = {"float32": _Steady()}

    async def alone(task: Task) -> Submission:
        return await asked(miner, task)

    async def beside_others(task: Task) -> Submission:
        busy = asyncio.create_task(asked(other, validator.probe("float32", b"\x05" * 32).task))
        while not (rogues._ONE_MACHINE.locked() or busy.done()):  # noqa: ASYNC110 - a thread takes it
            await asyncio.sleep(0.001)
        mine = await asked(miner, task)
        await busy
        return mine

    free, leased = Measured(), Measured()
    for _ in range(4):  # in turns: what else the machine does bears on both alike
        for ask, found in ((alone, free), (beside_others, leased)):
            now = await remeasure(validator, ask, repeats=2)
            found.readings += now.readings
            found.reasons += now.reasons
    assert not any("off by" in reason for reason in free.reasons)
    # The best of several: a busy machine makes single readings small, never large.
    best = max(reading.rate for reading in free.readings)
    assert max([reading.rate for reading in leased.readings], default=0) < best
