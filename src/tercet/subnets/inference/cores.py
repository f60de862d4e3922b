"""How many threads a model may take: many are faster where cores are idle, and ruin each other where they are not.

The threads of one product wait for each other in a loop. One of them that has no core holds up all others: two threads
beside one busy process were ten times slower than one.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["count_cores", "model_threads"]

_MOST = 8
"""Memory is what a short answer waits for; more threads than this do not fetch it faster."""
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def count_cores(quota: Path = _QUOTA) -> int:
    """Whole cores that this process may use, by its affinity and its container's quota; at least 1.

    Args:
        quota: microseconds of CPU time per period and the period's, as cgroups (version 2) write them; `max` is no limit.

    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        allowed, period = quota.read_text().split()
        limit = cores if allowed == "max" else int(allowed) // int(period)
    except (OSError, ValueError, ZeroDivisionError):
        limit = cores  # no container, or an older one: its cores are what there is to go by
    return max(1, min(cores, limit))


def model_threads(cores: int) -> int:
    """Half of the cores, so that the other half is left for sandboxes and for whoever sits there: 1 to 8."""
    return max(1, min(_MOST, cores // 2))
