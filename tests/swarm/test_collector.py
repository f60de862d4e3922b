"""The collector's pace, and that it is given back."""

from __future__ import annotations

import gc
import weakref

from tercet.swarm.collector import collected_seldom


class Knot:
    """Refers to itself."""

    def __init__(self) -> None:
        self.me = self


def test_cycles_are_collected_more_seldom_and_all_the_same() -> None:
    """Inside it takes many objects until a look is taken; what nobody needs goes then; outside all is as it was."""
    before = gc.get_threshold()
    with collected_seldom():
        assert gc.get_threshold()[0] > before[0]
        knots = [Knot() for _ in range(10)]
        gone = weakref.ref(knots[0])
        del knots
        assert gone() is not None
        kept = [[n] for n in range(60_000)]
        assert gone() is None
        assert len(kept) == 60_000
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
