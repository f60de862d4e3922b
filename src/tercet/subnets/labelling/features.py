"""Items as rows of numbers, for the small models here: ink of pictures, hashed letters and words of texts."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tercet.subnets.labelling.items import Item
from tercet.subnets.labelling.pictures import decode_gray

__all__ = ["featurise"]

_SIDE = 16
"""Of a picture as a model sees it."""
_BUCKETS = 512


def featurise(items: Sequence[Item]) -> npt.NDArray[np.float64]:
    """(items, features): all of one kind and, where they are pixels, of one size; else each in the general form."""
    if len({(item.kind, item.width, len(item.data)) for item in items if item.kind == "gray"}) == 1 and all(
        item.kind == "gray" for item in items
    ):
        pixels = np.frombuffer(b"".join(item.data for item in items), np.uint8)
        return 1 - pixels.reshape(len(items), -1) / 255.0
    return np.stack([_row(item) for item in items])


def _row(item: Item) -> npt.NDArray[np.float64]:
    if item.kind == "text":
        return _hash_text(item.data.decode())
    if item.kind == "image":
        return np.concatenate([1 - decode_gray(item.data, _SIDE).ravel(), np.zeros(_BUCKETS - _SIDE * _SIDE)])
    grid = 1 - np.frombuffer(item.data, np.uint8).reshape(-1, item.width) / 255.0
    rows, columns = (np.arange(_SIDE) * length // _SIDE for length in grid.shape)
    return np.concatenate([grid[rows][:, columns].ravel(), np.zeros(_BUCKETS - _SIDE * _SIDE)])


def _hash_text(text: str) -> npt.NDArray[np.float64]:
    """Words and runs of four letters, counted in buckets, damped, of length 1."""
    row = np.zeros(_BUCKETS)
    low = " ".join(text.lower().split())
    for part in [*low.split(), *(low[at : at + 4] for at in range(max(0, len(low) - 3)))]:
        row[zlib.crc32(part.encode()) % _BUCKETS] += 1
    row = np.log1p(row)
    length = float(np.linalg.norm(row))
    return row / length if length else row
