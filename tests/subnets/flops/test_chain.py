"""The chain: sizes and ranks that last, shuffles from the nonce alone, numbers as they travel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.subnets.flops.chain import (
    INT8_LARGEST,
    build_base,
    decode_rows,
    draw_links,
    encode_rows,
    int8_largest,
    round_to,
    shuffle,
)
from tercet.subnets.flops.tasks import DTYPES, LARGEST_PRODUCT, Dtype

from .desk import NONCE, by_definition


def test_a_long_chain_keeps_its_size_and_its_rank() -> None:
    """Else its later links could be carried on for less than their price."""
    now = decode_rows("float32", by_definition("float32", 64, NONCE, 200).tobytes(), 64)
    values = np.linalg.svd(now.astype(np.float64), compute_uv=False)
    assert values == pytest.approx(np.ones(64), abs=1e-4)


def test_plain_random_matrices_would_not() -> None:
    """Why Q is orthogonal: after 200 links of a normal matrix, a tenth of the rank carries everything."""
    draws = np.random.default_rng(0)
    base = draws.normal(size=(64, 64)) / 8
    now = base
    for _ in range(200):
        now = base @ draws.permutation(now)
        now /= np.linalg.norm(now)
    values = np.linalg.svd(now, compute_uv=False)
    assert np.sum(values > 1e-6 * values[0]) < 8


@given(st.binary(min_size=32, max_size=32), st.integers(1, 4096))
def test_a_shuffle_is_a_shuffle_and_follows_from_nonce_and_link(nonce: bytes, link: int) -> None:
    """Every row once; another link, another order."""
    order = shuffle(nonce, link, 64)
    assert sorted(order) == list(range(64))
    assert (order == shuffle(nonce, link, 64)).all()
    assert (order != shuffle(nonce, link + 1, 64)).any()


def test_shuffles_are_the_same_on_every_machine() -> None:
    """Counter numbers by their definition, fixed here: another numpy must not ask for another product."""
    assert shuffle(bytes(32), 1, 16).tolist() == [0, 10, 6, 1, 5, 8, 9, 13, 15, 14, 12, 3, 11, 4, 7, 2]
    assert build_base("int8", 64)[0, :8].tolist() == [-18, -11, 5, -33, 50, -24, 5, 28]


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_travel_unchanged(dtype: Dtype) -> None:
    """What is sent is what was computed, bit for bit."""
    rows = round_to(dtype, build_base(dtype, 64) * 1.3)
    assert (decode_rows(dtype, encode_rows(dtype, rows).tobytes(), 64) == rows).all()


@given(
    st.lists(
        st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**100), max_value=2.0**100),
        min_size=1,
    )
)
def test_bfloat16_rounds_to_the_nearest(numbers: list[float]) -> None:
    """Within half a unit in the eighth binary digit, and idempotent."""
    exact = np.array(numbers, np.float32)
    rounded = round_to("bfloat16", exact)
    assert (np.abs(rounded.astype(np.float64) - exact) <= np.abs(exact.astype(np.float64)) * 2.0**-8 + 1e-38).all()
    assert (round_to("bfloat16", rounded) == rounded).all()


def test_int8_sums_stay_exact_in_float32() -> None:
    """At every size and the worst entries: where only float32 multiplies, int8 is still int8."""
    assert np.abs(build_base("int8", 256)).max() == int8_largest(256) == INT8_LARGEST
    for n in (2048, 4096, LARGEST_PRODUCT):
        worst = int8_largest(n)
        assert worst * 128 * n < 2**24
        base, now = np.full((1, n), worst, np.float32), np.full((n, 1), -128, np.float32)
        now[-1] = 127
        assert int((base @ now)[0, 0]) == worst * (127 - 128 * (n - 1))


def test_larger_int8_matrices_hold_smaller_numbers() -> None:
    """Up to n = 2048 they are what they always were."""
    assert [int8_largest(n) for n in (64, 2048, 4096, LARGEST_PRODUCT)] == [63, 63, 31, 15]
    assert np.abs(build_base("int8", 4096)).max() == 31


def test_shuffles_that_are_drawn_together_are_those_that_are_drawn_alone() -> None:
    """An accelerator sorts many at once, as signed numbers."""
    drawn = draw_links(NONCE, 5, 3, 64)
    assert drawn.max() > 2**63
    for link, order in zip((5, 6, 7), drawn.argsort(axis=1, kind="stable"), strict=True):
        assert (order == shuffle(NONCE, link, 64)).all()
