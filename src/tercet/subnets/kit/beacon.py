"""Chance that everybody can check: 32 bytes from the chain become draws that are the same on every machine."""

from __future__ import annotations

import hashlib
import random
from typing import TypeAlias

__all__ = ["Label", "derive", "lottery"]

Label: TypeAlias = bytes | str | int


def derive(seed: bytes, *labels: Label) -> bytes:
    """32 bytes that belong to `seed` and to what they are for, and tell nothing about any others.

    Every label goes in with its kind and its length, so that no two lists of labels are ever hashed as the same bytes:
    `derive(s, "ab", "c")`, `derive(s, "a", "bc")` and `derive(s, b"ab", "c")` differ.
    """
    digest = hashlib.sha256(b"tercet-kit/1")
    for label in (seed, *labels):
        kind, data = _encode(label)
        digest.update(kind + len(data).to_bytes(8, "big") + data)
    return digest.digest()


def lottery(seed: bytes, *labels: Label) -> random.Random:
    """A source of draws seeded by `derive`. What it draws depends on the order of the calls: give each use its own."""
    return random.Random(derive(seed, *labels))


def _encode(label: Label) -> tuple[bytes, bytes]:
    if isinstance(label, bytes):
        return b"b", label
    if isinstance(label, str):
        return b"s", label.encode()
    return b"i", label.to_bytes(label.bit_length() // 8 + 1, "big", signed=True)
