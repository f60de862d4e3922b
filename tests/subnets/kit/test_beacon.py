"""Draws that everybody can repeat, and that nobody can mix up."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from tercet.subnets.kit import derive, lottery

LABELS = st.lists(st.one_of(st.binary(), st.text(), st.integers()))


def test_the_bytes_are_fixed() -> None:
    """Another encoding would be another market: every validator must draw the same."""
    parts = [b"b" + (32).to_bytes(8, "big") + bytes(32), b"s" + (4).to_bytes(8, "big") + b"task"]
    parts += [b"i" + (2).to_bytes(8, "big") + b"\x00\x80", b"i" + (1).to_bytes(8, "big") + b"\xff"]
    parts += [b"b" + (1).to_bytes(8, "big") + b"\x01"]
    assert derive(bytes(32), "task", 128, -1, b"\x01") == hashlib.sha256(b"tercet-kit/1" + b"".join(parts)).digest()
    assert derive(bytes(32)).hex() == "ed44bbe3dfb9c5485f1103dacc0dc4c0fb9c7af7d2f7ccf01b5629f7ad416f63"


@given(LABELS, LABELS)
def test_different_labels_never_meet(one: list[bytes | str | int], other: list[bytes | str | int]) -> None:
    """Neither by where they are cut nor by their kind."""
    same = one == other and [type(label) for label in one] == [type(label) for label in other]
    assert (derive(b"seed", *one) == derive(b"seed", *other)) == same


@given(st.binary(), LABELS)
def test_a_derivation_is_32_bytes(seed: bytes, labels: list[bytes | str | int]) -> None:
    """So it can be a seed again."""
    assert len(derive(seed, *labels)) == 32
    assert lottery(seed, *labels).random() == lottery(seed, *labels).random()
