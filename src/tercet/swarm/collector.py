"""Python's collector of cycles, at the pace of a process that keeps a hundred agents alive.

As it comes, it looks at everything young after each 700 new objects, and at all of a run's agents again and again. For
100 agents that was a third of the processor time of a step (`benchmarks/swarm_steps.py`).
"""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["collected_seldom"]

_YOUNG, _MIDDLE, _OLD = 50_000, 20, 100


@contextmanager
def collected_seldom() -> Generator[None]:
    """Look seldom at what is new, and not at what was there before; as ever again afterwards."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
