"""How every engine of `swarm_steps.py` is measured: the same lines in each one's own environment. Standard library only."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

URL = os.environ.get("STUB_URL", "")
AGENTS = int(os.environ.get("STUB_AGENTS", "100"))
STEPS = int(os.environ.get("STUB_STEPS", "5"))
PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """Bytes of memory that are in use."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE


def pin(core: int) -> None:
    """Stay on this core, where there are several: the engine on one, its model on another."""
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {core})


async def add(n: int) -> int:
    """Add one to n."""
    return n + 1


def calibrate() -> float:
    """Milliseconds of a fixed loop: what this machine makes of a second just now."""
    began = time.process_time()
    total = 0
    for i in range(500_000):
        total += i * i % 7
    return (time.process_time() - began) * 1000


async def measure(build: Callable[[int], Any], once: Callable[[Any], Awaitable[Any]]) -> None:
    """Run AGENTS of them at once, and print what a step of one takes.

    Args:
        build: makes an agent; the number is its own.
        once: runs it, and gives back all that a program would keep of the run.

    """
    kept: list[Any] = [await once(build(-1 - n)) for n in range(3)]  # warm: imports, connections, caches
    gc.collect()
    loop, memory, cpu = calibrate(), resident(), time.process_time()
    agents = [build(n) for n in range(AGENTS)]
    built, began = time.process_time() - cpu, time.perf_counter()
    kept += await asyncio.gather(*(once(agent) for agent in agents))
    wall, spent = time.perf_counter() - began, time.process_time() - cpu
    gc.collect()
    report = {
        "cpu_ms_per_step": spent * 1000 / (AGENTS * STEPS),
        "build_ms_per_agent": built * 1000 / AGENTS,
        "kept_kb_per_agent": (resident() - memory) / 1000 / AGENTS,
        "wall_s": wall,
        "rss_mb": resident() / 1e6,
        "loop_ms": (loop + calibrate()) / 2,
        "kept": len(kept) + len(agents) > 0,
    }
    sys.stdout.write(f"\nREPORT {json.dumps(report)}\n")
