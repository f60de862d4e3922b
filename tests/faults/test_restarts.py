"""The chain dies in the middle of an epoch, a clock is a minute wrong, everybody is stopped by Ctrl-C and comes back."""

from __future__ import annotations

import asyncio
import signal
import subprocess

import pytest
from tests.faults.town import Resident, Town, until

from tercet.client import ClosedEpoch
from tercet.errors import RefusedError

pytestmark = pytest.mark.slow


async def test_a_market_outlives_its_chain_and_ctrl_c(town: Town) -> None:
    """SIGKILL of the chain in mid-epoch loses no epoch's work; SIGINT of every role exits 130 and locks nothing.

    The miner's clock is a minute ahead of everybody's all the time, and it is paid all the same.
    """
    judge = await town.add_validator("judge")
    miner = await town.add_miner("hasty-miner", skew=60.0)
    await asyncio.gather(judge.until_ready(), miner.until_ready())
    await town.settle_in()

    await town.until_asked([judge], [miner])
    await town.until_committed([judge])
    await restart_chain(town, judge)
    await town.until_revealed([judge])
    await paid(town, await town.until_closed(), miner)

    assert await asyncio.to_thread(second_on_the_same_state, judge) == RefusedError.exit_code
    assert [await one.end(signal.SIGINT) for one in (judge, miner, town.chain)] == [130, 130, 130]
    for one in (town.chain, miner, judge):
        one.start()
        await one.until_ready()
    await paid(town, await town.live_through([judge], [miner]), miner)
    assert [await one.end(signal.SIGTERM) for one in (judge, miner, town.chain)] == [0, 0, 0]


async def paid(town: Town, closed: ClosedEpoch, miner: Resident) -> None:
    """The miner has its part, and the validator."""
    assert closed.miners.keys() == {await town.uid(miner)}
    assert closed.validators.keys() == {0}


async def restart_chain(town: Town, judge: Resident) -> None:
    """Without a goodbye; everybody else must notice, wait, and go on."""
    await town.chain.end(signal.SIGKILL)

    async def noticed() -> bool:
        return "chain.unreachable" in judge.log

    await until(noticed, 40, "the validator did not say that the chain is away")
    town.chain.start()
    await town.chain.until_ready()


def second_on_the_same_state(judge: Resident) -> int:
    """The exit code of another process with the same facts; it must say who holds the state."""
    second = subprocess.run(judge.command, capture_output=True, timeout=30, check=False, text=True)
    assert judge.process is not None
    assert f"in use by process {judge.process.pid}" in second.stderr
    assert second.stdout == ""
    return second.returncode
