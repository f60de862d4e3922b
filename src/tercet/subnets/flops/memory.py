"""The memory test: sums over an array too large for any cache, in passes that cannot be folded into fewer.

x[0][i] = mix(nonce, lane, i) and x[t] = x[t-1] + a[t] · (x[t-1] turned by s[t]), in 64-bit words that wrap, with a[t] odd
and s[t] anywhere in the array: each pass reads two streams and writes one, as in STREAM's triad, and an element of the
last pass depends on 2^passes far-apart elements of the first. So a machine streams, or does hundreds of times the work;
a judge looks at a few elements and does that.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from tercet.subnets.flops.chain import Array, counter
from tercet.subnets.flops.tasks import LEAF_ITEMS
from tercet.subnets.kit import derive

__all__ = ["LANES", "PASSES", "lane_bytes", "recompute", "run_lane"]

PASSES = 10
"""Even, so that the result lies where it began."""
LANES = 32
"""The most that an answer can have: the miner keeps all of them until it knows which leaves to send."""
_BLOCK = 1 << 15
"""Words worked on at once: three blocks fit any second-level cache."""
_WORD = np.uint64


def lane_bytes(n: int) -> float:
    """Bytes that one lane moves: three words a pass, and one to begin with."""
    return 8.0 * n * (3 * PASSES + 1)


def _plan(nonce: bytes, lane: int, n: int) -> tuple[np.uint64, list[tuple[np.uint64, int]]]:
    """(seed, [(factor, turn), ...]) of a lane."""
    raw = counter(derive(nonce, "flops lane", lane)).random_raw(2 * PASSES + 1)
    steps = [(_WORD(raw[2 * t + 1] | 1), int(raw[2 * t + 2] % n)) for t in range(PASSES)]
    return _WORD(raw[0]), steps


def _mix(seed: np.uint64, index: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """splitmix64's output function of seed + index · golden ratio."""
    x = index * _WORD(0x9E3779B97F4A7C15) + seed
    x ^= x >> _WORD(30)
    x *= _WORD(0xBF58476D1CE4E5B9)
    x ^= x >> _WORD(27)
    x *= _WORD(0x94D049BB133111EB)
    x ^= x >> _WORD(31)
    return x


def run_lane(nonce: bytes, lane: int, n: int, now: Array, after: Array) -> Array:
    """All passes of one lane, in two arrays of n words: (n / 2048, 2048) words of `now`, a leaf a row."""
    seed, steps = _plan(nonce, lane, n)
    scaled = np.empty(_BLOCK, _WORD)
    with np.errstate(over="ignore"):
        for start in range(0, n, _BLOCK):
            end = min(n, start + _BLOCK)
            now[start:end] = _mix(seed, np.arange(start, end, dtype=_WORD))
        for factor, turn in steps:
            for start, end in _spans(n, turn):
                part = scaled[: end - start]
                at = (start + turn) % n
                np.multiply(now[at : at + end - start], factor, out=part)
                np.add(now[start:end], part, out=after[start:end])
            now, after = after, now
    return now.reshape(-1, LEAF_ITEMS)


def _spans(n: int, turn: int) -> list[tuple[int, int]]:
    """Blocks that cover 0..n, none of which wraps around when it is turned."""
    cuts = sorted({*range(0, n, _BLOCK), n - turn, n})
    return list(itertools.pairwise(cuts))


def recompute(nonce: bytes, lane: int, n: int, places: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """The words of the last pass at `places`, from the 2^passes words of the first that each depends on."""
    seed, steps = _plan(nonce, lane, n)
    offsets, factors = np.zeros(1, np.int64), np.ones(1, _WORD)
    with np.errstate(over="ignore"):
        for factor, turn in steps:
            offsets = np.concatenate([offsets, (offsets + turn) % n])
            factors = np.concatenate([factors, factors * factor])
        where = (places[:, None] + offsets[None, :]) % n
        found: npt.NDArray[np.uint64] = (_mix(seed, where.astype(_WORD)) * factors).sum(axis=1, dtype=_WORD)
    return found
