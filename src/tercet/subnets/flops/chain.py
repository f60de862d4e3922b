"""The work: a chain of matrix products that only multiplying gets to the end of.

X[0] = Q, X[i] = Q · P[i] · X[i-1], with P[i] a shuffle of rows drawn from the nonce. Q is public and the same for ever:

- for floats it is orthogonal, so that X keeps its size and its full rank however long the chain gets: with plain random
  matrices a product of k has the effective rank n/k, and could be carried on at a fraction of the cost;
- for int8 its entries are random and sums wrap at 256, so that every link is exact and equal on every machine.

Q has no structure that multiplies faster, and the shuffles leave nothing to prepare: two nonces share no X but X[0].
How many links a machine gets done in the time is the measurement.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tercet.subnets.flops.tasks import Dtype
from tercet.subnets.kit import derive

__all__ = [
    "Array",
    "build_base",
    "counter",
    "decode_rows",
    "draw_links",
    "encode_rows",
    "int8_largest",
    "link_flops",
    "round_to",
    "shuffle",
    "sort_draws",
]

Array: TypeAlias = npt.NDArray[Any]

_HALVES = ("float16", "bfloat16")
_LARGE = 8192
"""Rows from which an accelerator makes Q."""
INT8_LARGEST = 63
"""Of an entry of Q, up to n = 2048."""


def int8_largest(n: int) -> int:
    """Of an entry of Q: so small that 128 · n of it stay below 2^24, and float32 multiplies int8 exactly."""
    return min(INT8_LARGEST, ((1 << 24) - 1) // (128 * n))


def link_flops(n: int) -> float:
    """Operations of one link: n³ multiplications and as many additions."""
    return 2.0 * n**3


@lru_cache(maxsize=8)
def build_base(dtype: Dtype, n: int) -> Array:
    """Q, rounded to `dtype` and held in what numpy multiplies it with: float64, or float32 for the rest.

    Floats: (n, n) orthogonal, from the QR of a fixed normal matrix. Machines differ in the last bits of a QR, which is
    far below any tolerance. int8: whole numbers up to `int8_largest`. Takes about a second for n = 1024; 8192 is
    512 times the operations. Do not write to it.
    """
    if dtype == "int8":
        raw, largest = _philox("int8", n).random_raw(n * n // 8), int8_largest(n)
        base = (raw.view(np.uint8).astype(np.int16) % (2 * largest + 1) - largest).astype(np.float32)
        return _frozen(base.reshape(n, n))
    return _frozen(round_to(dtype, _orthogonal(n, coarse=dtype in _HALVES)))


@lru_cache(maxsize=4)
def _orthogonal(n: int, *, coarse: bool) -> Array:
    """`coarse`: for half the digits, which the other last bits of an accelerator's QR do not reach."""
    raw = _philox("float", n).random_raw(n * n)
    # Sums of four 16-bit numbers are normal enough, and the same on every machine, which a library's normals are not.
    normal = raw.view(np.uint16).reshape(n, n, 4).astype(np.float64).sum(axis=2) - 2 * 65535
    if coarse and n >= _LARGE and importlib.util.find_spec("torch") is not None:
        torch: Any = importlib.import_module("torch")
        if torch.cuda.is_available():
            q, r = torch.linalg.qr(torch.from_numpy(normal).cuda())
            found: Array = (q * r.diagonal().sign()).cpu().numpy()
            return _frozen(found)
    q, r = np.linalg.qr(normal)
    return _frozen(q * np.sign(np.diag(r)))


def _philox(label: str, n: int) -> np.random.Philox:
    return counter(derive(b"", "flops base", label, n))


def _frozen(array: Array) -> Array:
    array.setflags(write=False)
    return array


def shuffle(nonce: bytes, link: int, n: int) -> npt.NDArray[np.intp]:
    """The rows that link `link` (1, 2, ...) takes, in order: row r of P·X is row `shuffle[r]` of X."""
    order: npt.NDArray[np.intp] = sort_draws(draw_links(nonce, link, 1, n))[0]
    return order


def draw_links(nonce: bytes, first: int, count: int, n: int) -> npt.NDArray[np.uint64]:
    """(count, n): whose stable sorting, row by row, is the shuffle of links `first`, `first` + 1, ..."""
    # The raw counter stream is fixed by its definition; numpy's own permutations may change between versions.
    draws = [counter(derive(nonce, "flops link", link)).random_raw(n) for link in range(first, first + count)]
    return np.stack(draws)


def sort_draws(draws: npt.NDArray[np.uint64]) -> npt.NDArray[np.intp]:
    """(links, n): the stable order of each row."""
    order = draws.argsort(axis=1)  # three times as fast as a stable sort, and the same where no two draws are equal
    ranked = np.take_along_axis(draws, order, axis=1)
    return order if (ranked[:, 1:] != ranked[:, :-1]).all() else draws.argsort(axis=1, kind="stable")


def counter(seed: bytes) -> np.random.Philox:
    """A stream of 64-bit numbers that anybody can make from 32 bytes, at a billion bytes a second."""
    return np.random.Philox(key=int.from_bytes(seed[:16], "big"))


def round_to(dtype: Dtype, exact: Array) -> Array:
    """The numbers of `exact` nearest in `dtype`, in what numpy computes with; int8 wraps."""
    if dtype == "float64":
        return exact.astype(np.float64, copy=False)
    if dtype == "int8":
        return exact.astype(np.int32).astype(np.int8).astype(np.float32)
    if dtype == "float16":
        return exact.astype(np.float16).astype(np.float32)
    single = exact.astype(np.float32)
    return _round_bfloat16(single) if dtype == "bfloat16" else single


def _round_bfloat16(single: Array) -> Array:
    """To the nearest, ties to even, in place."""
    bits = single.view(np.uint32)
    bits += np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    bits &= np.uint32(0xFFFF0000)
    return single


_WIRE: dict[str, Any] = {"float64": "<f8", "float32": "<f4", "float16": "<f2", "bfloat16": "<u2", "int8": "i1"}


def encode_rows(dtype: Dtype, rows: Array) -> Array:
    """Rows as they are hashed and sent: little-endian numbers of the dtype, bfloat16 as the upper halves of float32."""
    if dtype == "bfloat16":
        return (rows.astype(np.float32).view(np.uint32) >> np.uint32(16)).astype("<u2")
    return np.ascontiguousarray(rows, dtype=_WIRE[dtype])


def decode_rows(dtype: Dtype, raw: bytes, n: int) -> Array:
    """The (rows, n) numbers in `raw`, in what numpy computes with; whatever the bytes are."""
    found = np.frombuffer(raw, dtype=_WIRE[dtype]).reshape(-1, n)
    if dtype == "bfloat16":
        return (found.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return found.astype(np.float64 if dtype == "float64" else np.float32)
