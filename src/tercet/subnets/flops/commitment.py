"""How a result is promised before any of it is sent: one root over its rows, and then the rows that the root picks.

The first piece of an answer is the root: when it arrives the work is done, because nobody knows the hash of rows that
are not computed yet. That moment is what a validator times. The rows that follow are drawn from the root itself, so
whoever computed only a share s of them has to try s^-rows roots until the draw is kind; with the usual sizes nearly
all rows, or all, are sent.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from tercet.errors import SubmissionError
from tercet.subnets.flops.chain import Array, counter
from tercet.subnets.flops.memory import LANES
from tercet.subnets.flops.tasks import LEAF_ITEMS, Probe
from tercet.subnets.mechanism import Piece

__all__ = ["MAX_LINKS", "Opened", "build_answer", "choose_leaves", "hash_leaves", "parse_answer", "read_claims"]

_LINE_BYTES = 384 << 10
"""Of rows in one piece; a multiple of 3, so that base64 pieces need no padding between them."""
MAX_LINKS = 4096
"""The most that an answer can claim: what a judge has to go through is bounded."""
_HASH_BYTES = 32


@dataclass(frozen=True, slots=True)
class Opened:
    """An answer, read and found to be what it promised; whether that is right is not known yet."""

    done: int
    """Links of the chain, or lanes of the memory test."""
    leaves: Sequence[int]
    """Which ones were sent, ascending."""
    rows: bytes
    """Theirs, one after the other."""
    bytes_sent: int
    """Of the pieces after the first, as text."""
    claims: dict[str, float | str]
    """What the miner says of its machine. Nobody checked."""


_MANY_BYTES = 32 << 20
"""Of a result from which it is hashed in several threads: an accelerator's is as large as its work is quick."""


def hash_leaves(rows: Array) -> bytes:
    """The hashes of the rows of a contiguous array, one after the other."""
    if rows.nbytes < _MANY_BYTES:
        return _hash(rows)
    threads = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        return b"".join(pool.map(_hash, np.array_split(rows, threads)))


def _hash(rows: Array) -> bytes:
    return b"".join(hashlib.sha256(row.data).digest() for row in rows)


def _root(probe: Probe, done: int, hashes: bytes) -> bytes:
    head = f"tercet-flops/1 {probe.kind} {probe.n} {probe.rows} {probe.nonce.hex()} {done} {len(hashes)} "
    return hashlib.sha256(head.encode() + hashes).digest()


def choose_leaves(root: bytes, total: int, count: int) -> list[int]:
    """`count` of `total` leaves, ascending, as the root says."""
    if count >= total:
        return list(range(total))
    draws = counter(root).random_raw(total)
    return sorted(draws.argsort(kind="stable")[:count].tolist())


def leaf_count(probe: Probe, done: int) -> int:
    """Leaves of a result."""
    return done * (probe.n // LEAF_ITEMS) if probe.kind == "memory" else probe.n


def build_answer(probe: Probe, done: int, rows: Array, hashes: bytes, claims: dict[str, Any]) -> Iterator[Piece]:
    """The pieces of an answer.

    Args:
        probe: what was asked.
        done: links or lanes.
        rows: every leaf of the result, contiguous, one a row.
        hashes: from `hash_leaves(rows)`.
        claims: of the machine; numbers and short texts.

    """
    root = _root(probe, done, hashes)
    yield {"root": root.hex(), "nonce": probe.nonce.hex(), "done": done}
    chosen = choose_leaves(root, len(rows), probe.rows)
    if len(chosen) < len(rows):
        yield {"hashes": base64.b64encode(hashes).decode()}
    raw = np.ascontiguousarray(rows[chosen]).tobytes()
    for start in range(0, len(raw), _LINE_BYTES):
        yield {"rows": base64.b64encode(raw[start : start + _LINE_BYTES]).decode()}
    yield {"claims": claims, "usage": {"prompt": 0, "completion": 0}}


def parse_answer(probe: Probe, pieces: Sequence[Piece]) -> Opened:
    """Read an answer and check every hash in it.

    Raises:
        SubmissionError: it is not an answer to this task, or not the one that its first piece promised.

    """
    first = pieces[0] if pieces else {}
    if first.get("nonce") != probe.nonce.hex():
        raise SubmissionError("it answers another task than this one")
    done, root = first.get("done"), first.get("root")
    most = LANES if probe.kind == "memory" else MAX_LINKS
    if type(done) is not int or not 1 <= done <= most:
        raise SubmissionError(f"the first piece says how much was done: a whole number from 1 to {most}")
    total = leaf_count(probe, done)
    chosen = choose_leaves(_hex_root(root), total, probe.rows)
    size = len(chosen) * probe.leaf_bytes
    texts = [piece.get("rows") for piece in pieces[1:] if "rows" in piece]
    rows = _unpack(texts, size, "rows")
    known = [hashlib.sha256(rows[at : at + probe.leaf_bytes]).digest() for at in range(0, size, probe.leaf_bytes)]
    if len(chosen) < total:
        said = [piece.get("hashes") for piece in pieces[1:] if "hashes" in piece]
        hashes = _unpack(said, total * _HASH_BYTES, "hashes")
        if any(
            hashes[_HASH_BYTES * leaf : _HASH_BYTES * (leaf + 1)] != k for leaf, k in zip(chosen, known, strict=True)
        ):
            raise SubmissionError("its rows are not those that it promised")
    else:
        hashes = b"".join(known)
    if _root(probe, done, hashes).hex() != root:
        raise SubmissionError("its rows are not those that it promised")
    sent = sum(len(text) for piece in pieces[1:] for text in piece.values() if isinstance(text, str))
    return Opened(done, chosen, rows, sent, read_claims(pieces))


def _hex_root(root: object) -> bytes:
    try:
        found = bytes.fromhex(root) if isinstance(root, str) and len(root) == 2 * _HASH_BYTES else b""
    except ValueError:
        found = b""
    if len(found) != _HASH_BYTES:
        raise SubmissionError("the first piece has a root of 64 hex digits")
    return found


def _unpack(texts: Sequence[object], size: int, what: str) -> bytes:
    """The bytes of all `texts`, exactly `size`; longer ones are not even decoded."""
    wanted = -(-size // 3) * 4
    if not all(isinstance(text, str) for text in texts) or sum(len(str(text)) for text in texts) != wanted:
        raise SubmissionError(
            f"its {what} are {sum(len(str(text)) for text in texts)} characters of base64, not {wanted}"
        )
    try:
        found = b"".join(binascii.a2b_base64(str(text), strict_mode=True) for text in texts)
    except (binascii.Error, ValueError):
        found = b""
    if len(found) != size:
        raise SubmissionError(f"its {what} are no base64")
    return found


_LARGEST_CLAIM = 1e6
_NUMBERS = ("cores", "load", "steal")
_TEXTS = ("accelerator", "engine")


def read_claims(pieces: Sequence[Piece]) -> dict[str, float | str]:
    """What an answer says of its machine: the usual claims, cut to a size; anything else is dropped."""
    value = pieces[-1].get("claims")
    said = value if isinstance(value, dict) else {}
    found: dict[str, float | str] = {
        name: float(said[name])
        for name in _NUMBERS
        if type(said.get(name)) in (int, float) and 0 <= said[name] < _LARGEST_CLAIM
    }
    return found | {name: said[name][:60] for name in _TEXTS if isinstance(said.get(name), str)}
