"""What is asked: one dtype or the memory, for a fixed time, from a fresh nonce. Parses strangers' tasks and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from tercet.errors import TaskError
from tercet.market import Task

__all__ = ["DTYPES", "KINDS", "SIZES", "Dtype", "Kind", "Probe", "Size", "parse_probe"]

Dtype: TypeAlias = Literal["float64", "float32", "float16", "bfloat16", "int8"]
Kind: TypeAlias = Literal["float64", "float32", "float16", "bfloat16", "int8", "memory"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
KINDS: tuple[Kind, ...] = get_args(Kind)
"""A dtype names how exact the answer must be, not how it is computed. `memory` measures bytes moved instead."""

ITEM_BYTES: Mapping[str, int] = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int8": 1, "memory": 8}
LARGEST: Mapping[str, int] = {"memory": 1 << 24}
"""The most that `n` may be where it is not `LARGEST_PRODUCT`."""
LARGEST_PRODUCT = 8192
SMALLEST = 32
LEAF_ITEMS = 2048
"""Numbers in one leaf of a memory test: 16 KiB."""
MEMORY_LEAVES = 64
"""Leaves of it that are sent: who computes nine lanes of ten has to try eight hundred promises, which takes as long."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large the matrices of one class of machines are."""

    n: Mapping[Kind, int]
    """Rows of the square matrices; numbers of a lane for `memory`."""
    open_bytes: int
    """How much of the result is sent, at most."""


SIZES: Mapping[str, Size] = {
    "tiny": Size(dict.fromkeys(DTYPES, 128) | {"memory": 1 << 15}, 1 << 18),
    "mini": Size(dict.fromkeys(DTYPES, 512) | {"memory": 1 << 20}, 1 << 20),
    "small": Size(
        {"float64": 1024, "float32": 1024, "float16": 1024, "bfloat16": 2048, "int8": 2048, "memory": 1 << 22}, 1 << 20
    ),
    "large": Size(
        {"float64": 4096, "float32": 4096, "float16": 8192, "bfloat16": 8192, "int8": 8192, "memory": 1 << 24}, 8 << 20
    ),
}
"""tiny: tests and demonstrations. mini: single-board computers. small: processors. large: accelerators; validators need one too."""

_MAX_WINDOW_MS = 30_000
_MAX_OPEN_BYTES = 8 << 20
_MAX_MEMORY_LEAVES = 64


@dataclass(frozen=True, slots=True)
class Probe:
    """A task, read and in range."""

    kind: Kind
    n: int
    rows: int
    """Leaves of the result that are sent: rows of the product, or blocks of the memory test."""
    window_seconds: float
    """How long the miner works. Speed is work over this time, or over the time that it took when that is longer."""
    nonce: bytes
    """32 bytes that nobody could have prepared for."""

    @property
    def task(self) -> Task:
        """As JSON."""
        return {
            "kind": self.kind,
            "n": self.n,
            "rows": self.rows,
            "window_ms": round(1000 * self.window_seconds),
            "nonce": self.nonce.hex(),
        }

    @property
    def leaf_bytes(self) -> int:
        """Bytes of one leaf."""
        return (LEAF_ITEMS if self.kind == "memory" else self.n) * ITEM_BYTES[self.kind]

    @classmethod
    def of(cls, kind: Kind, size: Size, window_seconds: float, nonce: bytes) -> Probe:
        """The usual task of its class: as many leaves as may be sent."""
        n = size.n[kind]
        if kind == "memory":
            return cls(kind, n, MEMORY_LEAVES, window_seconds, nonce)
        return cls(kind, n, max(1, min(n, size.open_bytes // (n * ITEM_BYTES[kind]))), window_seconds, nonce)


def parse_probe(task: Task) -> Probe:
    """Read a stranger's task.

    Raises:
        TaskError: it is malformed, or asks for more than any miner should do.

    """
    kind: Any = task.get("kind")
    if kind not in KINDS:
        raise TaskError(f"A flops task's kind is one of {', '.join(KINDS)}; this one's is {str(kind)[:40]!r}.")
    most = LARGEST.get(kind, LARGEST_PRODUCT)
    least = 2 * LEAF_ITEMS if kind == "memory" else SMALLEST
    n = _whole(task, "n", least, most)
    if n % 8 or (kind == "memory" and n % LEAF_ITEMS):
        raise TaskError(f"n must be a multiple of {LEAF_ITEMS if kind == 'memory' else 8}, not {n}.")
    leaf = (LEAF_ITEMS if kind == "memory" else n) * ITEM_BYTES[kind]
    rows = _whole(task, "rows", 1, min(_MAX_OPEN_BYTES // leaf, _MAX_MEMORY_LEAVES if kind == "memory" else n))
    window = _whole(task, "window_ms", 10, _MAX_WINDOW_MS)
    return Probe(kind, n, rows, window / 1000, _nonce(task.get("nonce")))


def _whole(task: Task, name: str, least: int, most: int) -> int:
    value = task.get(name)
    if type(value) is not int or not least <= value <= most:
        raise TaskError(f"A flops task has {name!r}: a whole number from {least} to {most}.")
    return value


def _nonce(text: object) -> bytes:
    try:
        nonce = bytes.fromhex(text) if isinstance(text, str) and len(text) == 64 else b""
    except ValueError:
        nonce = b""
    if len(nonce) != 32:
        raise TaskError("A flops task has a nonce of 64 hex digits.")
    return nonce
