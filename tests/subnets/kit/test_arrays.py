"""Arrays come back exactly, and nothing else comes back at all."""

from __future__ import annotations

import base64
import contextlib
import json
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tercet.errors import SubmissionError
from tercet.subnets.kit import decode_array, encode_array, inflate

DTYPES = ["float32", "float64", "float16", "int8", "uint8", "int32", "int64", "bool", ">f4"]


@given(st.data())
def test_arrays_come_back_exactly(data: st.DataObject) -> None:
    """Through JSON, whatever the shape, also with no item or no dimension at all."""
    dtype = np.dtype(data.draw(st.sampled_from(DTYPES)))
    elements = hnp.from_dtype(dtype, allow_nan=False, allow_infinity=False)
    array = data.draw(
        hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5), elements=elements)
    )
    piece = json.loads(json.dumps(encode_array(array)))
    found = decode_array(piece, dtype=dtype, shape=array.shape, limit_bytes=array.nbytes)
    assert found.dtype == dtype
    assert np.array_equal(found, array)
    assert found.flags.writeable
    free = decode_array(piece, dtype=dtype, shape=[None] * array.ndim, limit_bytes=array.nbytes)
    assert free.shape == array.shape


def piece(**changes: Any) -> dict[str, Any]:
    """A good one of 2 x 3 float32, changed."""
    return {**encode_array(np.ones((2, 3), np.float32)), **changes}


def packed(raw: bytes) -> str:
    """Bytes as an array's data."""
    return base64.b64encode(zlib.compress(raw)).decode()


BAD = {
    "nothing": None,
    "a list": [1, 2],
    "no fields": {},
    "another dtype": piece(dtype="f8"),
    "a dtype that is none": piece(dtype=["f4"]),
    "objects": piece(dtype="O"),
    "another shape": piece(shape=[3, 2]),
    "a shape of words": piece(shape=["2", "3"]),
    "a shape of floats": piece(shape=[2.0, 3.0]),
    "a shape of truth values": piece(shape=[True, 3]),
    "a negative shape": piece(shape=[-2, -3]),
    "a huge shape": piece(shape=[2**70, 3]),
    "no shape": piece(shape=None),
    "too many dimensions": piece(shape=[2, 3, 1]),
    "no data": piece(data=None),
    "data as bytes": piece(data=b"x"),
    "data that are no base64": piece(data="%%%%"),
    "data beyond ASCII": piece(data="\u00e4\u00e4\u00e4\u00e4"),
    "data that are no zlib": piece(data=base64.b64encode(b"x" * 24).decode()),
    "too few data": piece(data=packed(bytes(20))),
    "too many data": piece(data=packed(bytes(28))),
    "a bomb": piece(data=packed(bytes(1 << 26))),
    "long base64": piece(data="A" * 4_000_000),
    "truncated data": piece(data=base64.b64encode(zlib.compress(bytes(24))[:-3]).decode()),
    "data with a tail": piece(data=base64.b64encode(zlib.compress(bytes(24)) + b"x").decode()),
    "not a number": piece(data=packed(np.array([1, 2, 3, 4, 5, np.nan], np.float32).tobytes())),
    "infinity": piece(data=packed(np.array([1, 2, 3, 4, 5, -np.inf], np.float32).tobytes())),
}


@pytest.mark.parametrize("sent", BAD.values(), ids=BAD)
def test_anything_else_is_refused_in_words(sent: object) -> None:
    """Always the same class, never a crash, and a message short enough to send back."""
    with pytest.raises(SubmissionError) as caught:
        decode_array(sent, dtype=np.float32, shape=(2, 3), limit_bytes=1 << 20)
    assert 10 < len(str(caught.value)) < 300


def test_the_limit_comes_before_the_work() -> None:
    """A shape beyond the limit is refused before anything is unpacked."""
    sent = piece(shape=[2**20, 2**19])
    with pytest.raises(SubmissionError, match="at most 1024"):
        decode_array(sent, dtype=np.float32, shape=(None, None), limit_bytes=1024)


def test_a_truth_value_is_zero_or_one() -> None:
    """Other bytes would be true and not equal to true."""
    sent = {"dtype": "b1", "shape": [2], "data": packed(b"\x01\x02")}
    with pytest.raises(SubmissionError, match="0 or 1"):
        decode_array(sent, dtype=bool, shape=(2,), limit_bytes=10)


def test_objects_are_never_sent_nor_read() -> None:
    """Pickle would be the only way."""
    with pytest.raises(SubmissionError, match="numbers"):
        encode_array(np.array([object()]))
    with pytest.raises(ValueError, match="numbers"):
        decode_array({}, dtype=object, shape=(), limit_bytes=1)


def test_a_bomb_costs_no_memory() -> None:
    """Megabytes of zeros in a few kilobytes is dropped at the limit."""
    bomb = zlib.compress(bytes(1 << 26), 1)
    tracemalloc.start()
    with pytest.raises(SubmissionError, match="more than 1000 bytes"):
        inflate(bomb, 1000)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@given(st.binary(max_size=200), st.integers(0, 100))
def test_noise_is_refused_or_fits(data: bytes, limit: int) -> None:
    """Whatever the bytes."""
    with contextlib.suppress(SubmissionError):
        assert len(inflate(data, limit)) <= limit


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["dtype", "shape", "data", "x"]), inner)
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_refused_or_right(sent: object) -> None:
    """A stranger may send what it likes."""
    try:
        found = decode_array(sent, dtype=np.float32, shape=(None,), limit_bytes=1 << 16)
    except SubmissionError:
        return
    assert found.dtype == np.float32
