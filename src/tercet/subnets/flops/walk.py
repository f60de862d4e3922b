"""The judge's way back along several chains at once: a few vectors times Q, shuffle after shuffle.

On a processor nearly all of it is reading Q once a link, on an accelerator it is drawing the shuffles. Both say the same up
to rounding.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from tercet.subnets.flops.chain import Array, build_base, draw_links, sort_draws
from tercet.subnets.flops.engines import sort_on_device
from tercet.subnets.flops.tasks import Dtype

__all__ = ["Track", "multiply", "prepare", "walk"]

_AT_ONCE = 32
"""Links whose shuffles are drawn together."""


class Track(Protocol):
    """One chain to go back along."""

    @property
    def nonce(self) -> bytes:
        """Of its shuffles."""

    @property
    def links(self) -> int:
        """How many, at least one."""

    @property
    def start(self) -> Array:
        """(n, vectors): where to begin."""


def walk(device: str, dtype: Dtype, n: int, tracks: Sequence[Track]) -> list[Array]:
    """Of each track, in order, (n, vectors): its start through all links, and through Q once more.

    Args:
        device: `numpy`, or an accelerator as torch names it.
        dtype: of the chain; int8 is worked out modulo 256.
        n: rows.
        tracks: all with the same number of vectors.

    """
    if not tracks:
        return []
    # The longest chain first, so that those still under way are always the left part of the array.
    order = sorted(range(len(tracks)), key=lambda index: -tracks[index].links)
    sides = np.concatenate([tracks[index].start for index in order], axis=1)
    width = sides.shape[1] // len(tracks)
    way = _Numpy(dtype, sides) if device == "numpy" else _Torch(device, dtype, sides)
    left = [tracks[index].links for index in order]
    shuffles = [_backwards(way, tracks[index], n) for index in order]
    active = len(order)
    while active:
        way.times(width * active)
        for place in range(active):
            way.put(slice(width * place, width * (place + 1)), next(shuffles[place]))
            left[place] -= 1
        while active and left[active - 1] == 0:
            active -= 1
    # All end at X[0] = Q.
    way.times(sides.shape[1])
    done, found = way.read(), [sides] * len(tracks)
    for place, index in enumerate(order):
        found[index] = done[:, width * place : width * (place + 1)]
    return found


def prepare(device: str, dtype: Dtype, n: int) -> None:
    """Make what every check of this dtype and size needs. Seconds, once."""
    if device == "numpy":
        _turned(dtype, n)
    else:
        _turned_on(device, dtype, n)


def _backwards(way: _Numpy | _Torch, track: Track, n: int) -> Iterator[Any]:
    """The shuffles from the last link to the first."""
    for end in range(track.links, 0, -_AT_ONCE):
        first = max(1, end - _AT_ONCE + 1)
        yield from reversed(way.sort(draw_links(track.nonce, first, end - first + 1, n)))


@lru_cache(maxsize=8)
def _turned(dtype: Dtype, n: int) -> Array:
    """Q transposed and laid out anew, so that blocks of its rows lie together."""
    return np.ascontiguousarray(build_base(dtype, n).T)


_THIN, _LEAST_ROWS = 1_000_000, 8
"""Multiplications up to which OpenBLAS takes its kernel for small products, which leaves Q where it lies instead of packing
it anew for every link; and rows of Q below which that gains nothing."""


def multiply(base: Array, now: Array) -> Array:
    """The product of Q and a few vectors, a block of rows after the other: half the time of one product, or less."""
    n, width = now.shape
    rows = 1 << max(0, (_THIN // (n * width)).bit_length() - 1)
    blocks = base if rows < _LEAST_ROWS or n % rows else base.reshape(-1, rows, n)
    return np.asarray(np.matmul(blocks, now)).reshape(n, width)


@lru_cache(maxsize=8)
def _turned_on(device: str, dtype: Dtype, n: int) -> Any:
    return importlib.import_module("torch").from_numpy(build_base(dtype, n).T.copy()).to(device)


class _Numpy:
    def __init__(self, dtype: Dtype, now: Array) -> None:
        self._whole, self._base = dtype == "int8", _turned(dtype, len(now))
        self._now = np.ascontiguousarray(now, self._base.dtype)
        self._part = self._now

    def sort(self, draws: Array) -> Sequence[Array]:
        return list(sort_draws(draws))

    def times(self, width: int) -> None:
        self._part = multiply(self._base, self._now[:, :width])
        if self._whole:
            self._part -= 256 * np.rint(self._part / 256)

    def put(self, columns: slice, order: Array) -> None:
        self._now[order, columns] = self._part[:, columns]

    def read(self) -> Array:
        return self._part


class _Torch:
    def __init__(self, device: str, dtype: Dtype, now: Array) -> None:
        self._torch: Any = importlib.import_module("torch")
        self._torch.set_float32_matmul_precision("highest")
        self._device, self._whole = device, dtype == "int8"
        self._base = _turned_on(device, dtype, len(now))
        self._now = self._torch.from_numpy(now.copy()).to(device=device, dtype=self._base.dtype)
        self._part = self._now

    def sort(self, draws: Array) -> Sequence[Any]:
        return list(sort_on_device(self._torch, self._device, draws))

    def times(self, width: int) -> None:
        self._part = self._base @ self._now[:, :width]
        if self._whole:
            self._part -= 256 * self._torch.round(self._part / 256)

    def put(self, columns: slice, order: Any) -> None:
        self._now[:, columns].index_copy_(0, order, self._part[:, columns])

    def read(self) -> Array:
        found: Array = self._part.cpu().numpy()
        return found
