"""Updates on the way, and what strangers send in their place."""

from __future__ import annotations

import base64
import math
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tercet.errors import SubmissionError
from tercet.subnets.training.compress import CHUNK, Codec, Update

SIZES = (10, CHUNK, CHUNK + 7, 1)
CODEC = Codec(SIZES)
FINITE = st.floats(-1e6, 1e6, width=32)


def some(seed: int = 0) -> Update:
    return CODEC.pack(np.random.default_rng(seed).standard_normal(sum(SIZES)).astype(np.float32))


@settings(max_examples=60, deadline=None)
@given(arrays(np.float32, sum(SIZES), elements=FINITE, fill=FINITE))
def test_what_is_kept_is_within_half_a_step_and_the_largest(change: np.ndarray) -> None:
    """Of each chunk an eighth, and nothing that was left out is larger than what was kept."""
    update = CODEC.pack(change)
    first = 0
    for size in (10, CHUNK, CHUNK, 7, 1):
        chunk = change[first : first + size]
        kept = update.kept[(update.kept >= first) & (update.kept < first + size)]
        assert len(kept) == -(-size // 8)
        left = np.delete(np.abs(chunk), kept - first)
        largest = np.abs(chunk).max()
        assert not left.size or left.max() <= np.abs(change[kept]).min()
        step = np.abs(update.dense(CODEC.size)[kept] - change[kept]).max()
        # half a step, and what the half-precision scale itself loses: 2**-25 of each of 127 steps where it is smallest
        assert step <= largest / 127 + 127 * 2**-25 + 2**-20
        first += size


@settings(max_examples=60, deadline=None)
@given(arrays(np.float32, sum(SIZES), elements=st.floats(width=32), fill=st.floats(width=32)))
def test_whatever_is_packed_unpacks_to_the_same(change: np.ndarray) -> None:
    """NaN and infinities too: a miner whose training exploded still sends something that can be judged."""
    update = CODEC.pack(change)
    again = CODEC.decode(CODEC.encode(update))
    assert again.digest == update.digest
    assert again.norm == update.norm
    assert np.array_equal(again.dense(CODEC.size), update.dense(CODEC.size))
    assert np.isfinite(again.values).all()


def test_the_norm_is_that_of_the_values() -> None:
    update = some()
    assert update.norm == pytest.approx(float(np.linalg.norm(update.dense(CODEC.size).astype(np.float64))), rel=1e-6)


def test_a_model_of_some_size_travels_in_a_sixteenth() -> None:
    codec = Codec((400_000,))
    update = codec.pack(np.random.default_rng(0).standard_normal(400_000).astype(np.float32))
    assert len(update.packed) < 4 * 400_000 / 16


def test_cosine_is_that_of_the_vectors() -> None:
    one, two = some(1), some(2)
    a, b = one.dense(CODEC.size).astype(np.float64), two.dense(CODEC.size).astype(np.float64)
    assert one.cosine(two) == pytest.approx(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)), abs=1e-6)
    assert one.cosine(one) == pytest.approx(1)
    assert one.cosine(CODEC.pack(np.zeros(CODEC.size, np.float32))) == 0


def raw() -> bytearray:
    return bytearray(zlib.decompress(some().packed))


def packed(data: bytes | bytearray) -> str:
    return base64.b64encode(zlib.compress(bytes(data))).decode()


def with_scale(value: float) -> str:
    data = raw()
    data[:2] = np.array([value], "<f2").tobytes()
    return packed(data)


def with_one_more_bit() -> str:
    data = raw()
    data[2 * 5] = 0xFF
    return packed(data)


def with_the_forbidden_value() -> str:
    data = raw()
    data[-1] = 0x80
    return packed(data)


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (None, "must be a string"),
        (7, "must be a string"),
        (["x"], "must be a string"),
        ("", "cut short"),
        ("ä", "no base64"),
        ("AAAA", "no zlib stream"),
        (packed(raw()[:-1]), "an update of this model to"),
        (packed(raw() + b"x"), "unpack to more than"),
        (packed(bytes(100 << 20)), "unpack to more than"),
        (CODEC.encode(some())[:-8], "cut short|no base64"),
        (base64.b64encode(some().packed + b"more").decode(), "Something follows"),
        (with_scale(math.nan), "not finite"),
        (with_scale(math.inf), "not finite"),
        (with_scale(-1.0), "negative"),
        (with_one_more_bit(), "right number of values"),
        (with_the_forbidden_value(), "out of -127 to 127"),
        ("A" * (17 << 20), "must be a string"),
        (Codec((500,)).encode(Codec((500,)).pack(np.ones(500, np.float32))), "an update of this model to"),
    ],
    ids=range(18),
)
def test_what_is_no_update_is_refused_with_a_reason(sent: object, why: str) -> None:
    with pytest.raises(SubmissionError, match=why):
        CODEC.decode(sent)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_junk_never_does_anything_else(data: bytes) -> None:
    with pytest.raises(SubmissionError):
        CODEC.decode(base64.b64encode(data).decode())


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 255))
def test_a_flipped_byte_is_refused_or_is_another_sound_update(place: int, byte: int) -> None:
    data = raw()
    data[place % len(data)] = byte
    try:
        update = CODEC.decode(packed(data))
    except SubmissionError:
        return
    assert np.isfinite(update.dense(CODEC.size)).all()
    assert math.isfinite(update.norm)
