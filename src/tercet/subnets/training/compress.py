"""A change of the model's vector in a sixteenth of its bytes: the largest eighth of each chunk, in 8 bits.

Each tensor is cut into chunks of 4096 values (64 x 64; its last one may be shorter). Of a chunk of n the ceil(n / 8)
values of largest size are kept: a bit mask of n bits says which, an int8 each says how large, in units of one float16.
Everything that is not a value follows from the model's shapes, so a stranger's update is one string of one right
length: it names no tensors, has no indices that could repeat or lie outside, and cannot grow when it is unpacked.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tercet.errors import SubmissionError
from tercet.subnets.kit import inflate
from tercet.subnets.training.model import Vector

__all__ = ["LARGEST_UPDATE", "Codec", "Update"]

CHUNK = 4096
LARGEST_UPDATE = 11 << 20
"""Bytes of a packed update: in base64 it still fits an answer of 16 MiB."""


@dataclass(frozen=True, slots=True, eq=False)
class Update:
    """A change of the vector as it travels."""

    packed: bytes
    """Deflated."""
    kept: npt.NDArray[np.int64] = field(repr=False)
    """(K,) where in the vector the kept values stand, rising."""
    values: npt.NDArray[np.float32] = field(repr=False)
    """(K,)"""
    norm: float
    """Euclidean, the same to the last bit on every machine."""
    digest: str = field(init=False)
    """What it is known by: sha256 of the packed bytes, hex."""

    def __post_init__(self) -> None:
        """Digest it once."""
        object.__setattr__(self, "digest", hashlib.sha256(self.packed).hexdigest())

    def dense(self, size: int) -> Vector:
        """The whole vector, zero where nothing was kept."""
        vector = np.zeros(size, np.float32)
        vector[self.kept] = self.values
        return vector

    def cosine(self, other: Update) -> float:
        """Similarity in direction, -1 to 1; 0 with an empty one."""
        if not self.norm or not other.norm:
            return 0.0
        _, mine, theirs = np.intersect1d(self.kept, other.kept, assume_unique=True, return_indices=True)
        # Summed exactly, so that two machines never differ on which side of a threshold this lies.
        product = math.fsum((self.values[mine].astype(np.float64) * other.values[theirs]).tolist())
        return product / (self.norm * other.norm)


class Codec:
    """Packs and unpacks the updates of one model."""

    def __init__(self, sizes: tuple[int, ...], fraction: int = 8) -> None:
        """`sizes` are the tensors' lengths in the order of the vector; one value in `fraction` is kept."""
        bounds = [0]
        for size in sizes:
            first = bounds[-1]
            bounds += [first + min(end, size) for end in range(CHUNK, size + CHUNK, CHUNK)]
        self.size = bounds[-1]
        self._bounds = np.array(bounds, np.int64)
        lengths = np.diff(self._bounds)
        self._quota = -(-lengths // fraction)
        self._chunk_of = np.repeat(np.arange(len(lengths)), self._quota)
        self._mask_bytes = -(-self.size // 8)
        kept = int(self._quota.sum())
        self.raw_bytes = 2 * len(lengths) + self._mask_bytes + kept
        """Of every update, unpacked."""

    def pack(self, change: Vector) -> Update:
        """The nearest update to a change. What is not finite in it counts as zero."""
        change = np.nan_to_num(change, nan=0.0, posinf=0.0, neginf=0.0)
        mask = np.zeros(self.size, bool)
        scales = np.zeros(len(self._quota), np.float16)
        for chunk, (start, end) in enumerate(zip(self._bounds[:-1], self._bounds[1:], strict=True)):
            sizes = np.abs(change[start:end])
            top = np.argpartition(sizes, len(sizes) - self._quota[chunk])[len(sizes) - self._quota[chunk] :]
            mask[start + top] = True
            scales[chunk] = min(float(sizes[top].max()) / 127, 60_000.0)
        units = scales.astype(np.float32)[self._chunk_of]
        steps = np.divide(change[mask], units, out=np.zeros(len(units), np.float32), where=units > 0)
        values = np.clip(np.rint(steps), -127, 127).astype(np.int8)
        raw = scales.astype("<f2").tobytes() + np.packbits(mask).tobytes() + values.tobytes()
        return self._read(zlib.compress(raw, 6), raw)

    def unpack(self, packed: bytes) -> Update:
        """Read a stranger's update.

        Raises:
            SubmissionError: it is not of this model, or breaks a bound.

        """
        if len(packed) > LARGEST_UPDATE:
            raise SubmissionError(f"The update has {len(packed)} bytes, more than {LARGEST_UPDATE}.")
        raw = inflate(packed, self.raw_bytes)
        if len(raw) != self.raw_bytes:
            raise SubmissionError(
                f"The update unpacks to {len(raw)} bytes, an update of this model to {self.raw_bytes}."
            )
        return self._read(packed, raw)

    def encode(self, update: Update) -> str:
        """For a piece of JSON."""
        return base64.b64encode(update.packed).decode()

    def decode(self, text: Any) -> Update:
        """Read what `encode` wrote, from a stranger.

        Raises:
            SubmissionError: see `unpack`.

        """
        if not isinstance(text, str) or len(text) > 4 * LARGEST_UPDATE // 3 + 4:
            raise SubmissionError("The update must be a string of base64.")
        try:
            packed = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise SubmissionError("The update is no base64.") from None
        return self.unpack(packed)

    def _read(self, packed: bytes, raw: bytes) -> Update:
        chunks = len(self._quota)
        scales = np.frombuffer(raw, "<f2", chunks).astype(np.float32)
        bits = np.unpackbits(np.frombuffer(raw, np.uint8, self._mask_bytes, 2 * chunks))
        kept = np.flatnonzero(bits)
        values = np.frombuffer(raw, np.int8, offset=2 * chunks + self._mask_bytes)
        if not np.isfinite(scales).all() or (scales < 0).any():
            raise SubmissionError("The update has a scale that is not finite, or negative.")
        counts = np.add.reduceat(bits[: self.size].astype(np.int64), self._bounds[:-1])
        if bits[self.size :].any() or not np.array_equal(counts, self._quota):
            raise SubmissionError("The update does not keep the right number of values in each chunk.")
        if (values == -128).any():
            raise SubmissionError("The update has a value out of -127 to 127.")
        # Whole numbers first, then one exactly rounded sum: no machine's order of adding shows in the norm.
        squares = np.add.reduceat(values.astype(np.int64) ** 2, np.concatenate([[0], np.cumsum(self._quota)[:-1]]))
        exact = (float(s) ** 2 * int(n) for s, n in zip(scales, squares, strict=True))
        norm = math.sqrt(math.fsum(exact))
        return Update(packed, kept, scales[self._chunk_of] * values.astype(np.float32), norm)
