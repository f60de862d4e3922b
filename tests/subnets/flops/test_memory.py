"""The memory test: what streaming finds is what a judge works out for single words."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tercet.subnets.flops.chain import Array
from tercet.subnets.flops.memory import PASSES, recompute, run_lane

N = 1 << 14


def _lane(nonce: bytes, lane: int) -> Array:
    return run_lane(nonce, lane, N, np.empty(N, np.uint64), np.empty(N, np.uint64)).reshape(-1)


@settings(max_examples=20)
@given(
    st.binary(min_size=32, max_size=32), st.integers(0, 15), st.lists(st.integers(0, N - 1), min_size=1, max_size=20)
)
def test_single_words_are_recomputed_from_the_first_pass(nonce: bytes, lane: int, places: list[int]) -> None:
    """2^passes words of the first pass for each of the last: no array at all."""
    found = recompute(nonce, lane, N, np.array(places))
    assert (found == _lane(nonce, lane)[places]).all()


def test_lanes_and_nonces_share_nothing() -> None:
    """Nothing to prepare, nothing to use twice."""
    first = _lane(bytes(32), 0)
    assert not (first == _lane(bytes(32), 1)).any()
    assert not (first == _lane(b"x" * 32, 0)).any()


def test_the_result_lies_where_it_began() -> None:
    """The caller keeps the first array and uses the second again."""
    assert PASSES % 2 == 0
    now = np.empty(N, np.uint64)
    assert np.shares_memory(run_lane(bytes(32), 0, N, now, np.empty(N, np.uint64)), now)
