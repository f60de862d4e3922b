"""Promises: what is sent must be what was promised, and the promise picks it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.errors import SubmissionError
from tercet.subnets.flops.commitment import choose_leaves, parse_answer
from tercet.subnets.flops.tasks import Probe

from .desk import answer_with, honest, probe_of

PROBE, PIECES = honest("float32")
SPARSE = replace(PROBE, rows=16)
ROWS = np.arange(128 * 128, dtype=np.float32).reshape(128, 128)


@pytest.mark.parametrize("probe", [PROBE, SPARSE], ids=["all rows", "some rows"])
def test_an_answer_is_read_back(probe: Probe) -> None:
    """The rows that the root picks, in order, and what the miner says of its machine."""
    found = parse_answer(probe, answer_with(probe, ROWS, 7))
    assert (found.done, len(found.leaves)) == (7, probe.rows)
    assert found.rows == ROWS[found.leaves].tobytes()
    assert found.claims == {"cores": 2.0, "load": 0.5}
    assert found.bytes_sent > len(found.rows)


def test_the_promise_picks_the_rows() -> None:
    """Another number of links, another root, other rows: nobody knows them before the promise."""
    picked = [tuple(parse_answer(SPARSE, answer_with(SPARSE, ROWS, done)).leaves) for done in range(1, 9)]
    assert len(set(picked)) == 8


@given(st.binary(min_size=32, max_size=32), st.integers(1, 300), st.integers(1, 300))
def test_a_choice_is_of_different_leaves_in_order(root: bytes, total: int, count: int) -> None:
    """All of them when there are no more than asked for."""
    chosen = choose_leaves(root, total, count)
    assert len(chosen) == min(total, count) == len(set(chosen))
    assert chosen == sorted(chosen)
    assert 0 <= chosen[0] <= chosen[-1] < total


def _with(index: int, **changes: Any) -> list[Any]:
    pieces = [dict(piece) for piece in answer_with(SPARSE, ROWS, 7)]
    pieces[index] |= changes
    return pieces


HASHES, DATA = 1, 2


@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        ([], "answers another task"),
        ([{}], "answers another task"),
        (_with(0, nonce="00" * 32), "answers another task"),
        (_with(0, nonce=None), "answers another task"),
        (_with(0, done="many"), "how much was done"),
        (_with(0, done=0), "how much was done"),
        (_with(0, done=True), "how much was done"),
        (_with(0, done=10**9), "how much was done"),
        (_with(0, done=8), "promised"),
        (_with(0, root="zz" * 32), "root of 64 hex digits"),
        (_with(0, root=None), "root of 64 hex digits"),
        (_with(0, root="00" * 32), "promised"),
        (_with(HASHES, hashes="AAAA"), "hashes are 4 characters"),
        (_with(HASHES, hashes=7), "characters of base64"),
        (_with(DATA, rows=None), "characters of base64"),
        (_with(DATA, rows=""), "rows are 0 characters"),
        (_with(DATA, rows="A" * 50_000_000), "rows are 50000000 characters"),
        (_with(DATA, rows="!" * 10924), "no base64"),
        (_with(DATA, rows="A" * 10923 + "="), "promised"),
        (PIECES, "rows are 87384 characters"),
    ],
)
def test_what_a_stranger_may_send_is_refused_with_a_reason(pieces: list[Any], why: str) -> None:
    """Truncated, huge, of another size, of another task, or simply something else."""
    with pytest.raises(SubmissionError, match=why):
        parse_answer(SPARSE, pieces)


@pytest.mark.parametrize(
    "claims", [None, 7, [1], {"cores": float("nan")}, {"cores": -1}, {"load": 1e300}, {"other": 1}]
)
def test_odd_claims_are_dropped(claims: object) -> None:
    """They are nobody's word but the miner's, and decide nothing."""
    assert parse_answer(SPARSE, _with(-1, claims=claims)).claims == {}


def test_the_first_piece_is_small() -> None:
    """The clock stops at it, so it must not wait for the rows to travel."""
    first = answer_with(probe_of("float64"), ROWS.astype(np.float64), 3)[0]
    assert len(str(first)) < 300
