"""A miner's side of a task: work until the window is nearly over, then promise what was done. Blocks; runs in a thread."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tercet.subnets.flops.chain import Array, draw_links
from tercet.subnets.flops.commitment import MAX_LINKS, hash_leaves
from tercet.subnets.flops.engines import Engine
from tercet.subnets.flops.memory import LANES, run_lane
from tercet.subnets.flops.tasks import LEAF_ITEMS, Dtype, Probe

__all__ = ["Done", "Stop", "describe_machine", "run_chain", "run_memory"]

Stop = Callable[[float], bool]
"""From seconds that the next unit takes to whether it would come too late."""

_FINISH_BYTES_PER_SECOND = 2e9
"""At which a result is fetched and hashed, about: time that the window must leave."""
_ASLEEP_LINKS = 8
"""Links handed to an accelerator before it is waited for."""
_SLOW_LINK = 0.005
"""Seconds of a link from which each is waited for: the last ones must not run past the window."""


@dataclass(frozen=True, slots=True)
class Done:
    """What was computed."""

    count: int
    """Links, or lanes."""
    rows: Array
    """All leaves of the result."""
    hashes: bytes


def stop_after(began: float, seconds: float) -> Stop:
    """Stop where the next unit would end more than `seconds` after `began`, by the monotonic clock."""
    return lambda unit: time.monotonic() + unit > began + seconds


def run_chain(engine: Engine, probe: Probe, dtype: Dtype, stop: Stop) -> Done:
    """As many links as there is time for, at least one."""
    chain = engine.start(dtype, probe.n)
    orders = chain.sort(draw_links(probe.nonce, 1, 1, probe.n))
    count, unit = 0, 0.0
    finish = probe.n * probe.leaf_bytes / _FINISH_BYTES_PER_SECOND
    while count == 0 or (count < MAX_LINKS and not stop(unit * len(orders) + finish)):
        began, batch = time.monotonic(), len(orders)
        for order in orders:
            chain.step(order)
        count += batch
        # The next shuffles are drawn while an accelerator is at work; the very last are for nothing.
        ahead = 1 if count < _ASLEEP_LINKS or unit > _SLOW_LINK else min(_ASLEEP_LINKS, MAX_LINKS - count)
        orders = chain.sort(draw_links(probe.nonce, count + 1, max(1, ahead), probe.n))
        chain.wait()
        unit = (time.monotonic() - began) / batch
    rows = chain.finish()
    return Done(count, rows, hash_leaves(rows))


def run_memory(probe: Probe, stop: Stop) -> Done:
    """As many lanes as there is time for, at least one."""
    lanes, spare = np.empty((LANES, probe.n), np.uint64), np.empty(probe.n, np.uint64)
    count, hashes, unit = 0, b"", 0.0
    while count == 0 or (count < LANES and not stop(unit)):
        began = time.monotonic()
        hashes += hash_leaves(run_lane(probe.nonce, count, probe.n, lanes[count], spare))
        count += 1
        unit = time.monotonic() - began
    return Done(count, lanes[:count].reshape(-1, LEAF_ITEMS), hashes)


def describe_machine(engine: str, accelerator: str, steal_before: float) -> dict[str, Any]:
    """What a miner says of its machine beside an answer: nobody's word but its own.

    Args:
        engine: that did the work.
        accelerator: that it did it on; empty for the processor.
        steal_before: `read_steal` when the work began.

    """
    claims: dict[str, Any] = {"cores": len(os.sched_getaffinity(0)), "engine": engine}
    if accelerator:
        claims["accelerator"] = accelerator
    claims["load"] = round(os.getloadavg()[0], 2)
    claims["steal"] = round(max(0.0, read_steal() - steal_before), 2)
    return claims


def read_steal() -> float:
    """Seconds that the host took from this machine's processors since it started; 0 where it does not say."""
    try:
        with open("/proc/stat", encoding="ascii") as table:  # noqa: PTH123 - one line of a virtual file
            fields = table.readline().split()
        return int(fields[8]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return 0.0
