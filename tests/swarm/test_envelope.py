"""Envelopes: what is signed, what is refused."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tercet.chain.keys import Key
from tercet.errors import EnvelopeError
from tercet.swarm.envelope import FIRST, MAX_BYTES, Envelope, parse_envelope, seal, signer_of

KEY = Key(bytes(31) + b"\1")
CONTENTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def said(content: object = "hello") -> Envelope:
    return seal(KEY, "inform", "coder-1", "lead-1", content, prev=FIRST, claims=("c1",), cost=7)


@settings(max_examples=30, deadline=None)
@given(CONTENTS)
def test_what_is_sealed_is_read_back_with_its_signer(content: object) -> None:
    """Encoding and parsing change nothing that the signature is over; what JSON cannot carry is refused at once."""
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        with pytest.raises(EnvelopeError, match="has to be JSON"):
            said(content)
        return
    envelope = said(content)
    assert parse_envelope(envelope.encoded) == envelope
    assert signer_of(envelope) == KEY.address


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("performative", "request"), ("sender", "coder-2"), ("receiver", "lead-2"), ("conversation", "f" * 32),
        ("reply_by", 9), ("claims", []), ("cost", 0), ("prev", "a" * 64), ("content", "bye"), ("id", "0" * 32),
    ],
)  # fmt: skip
def test_the_signature_is_over_every_field(field: str, value: object) -> None:
    """Whoever changes one thing signs as somebody else."""
    raw = json.loads(said().encoded) | {field: value}
    found = []
    with contextlib.suppress(EnvelopeError):
        found = [signer_of(parse_envelope(json.dumps(raw)))]
    assert found != [KEY.address]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"performative": "shout"}, "malformed"),
        ({"performative": "agree"}, "malformed"),
        ({"sender": "../x"}, "malformed"),
        ({"cost": -1}, "malformed"),
        ({"cost": 1.5}, "malformed"),
        ({"cost": True}, "malformed"),
        ({"claims": ["x"] * 65}, "malformed"),
        ({"claims": [""]}, "malformed"),
        ({"more": 1}, "malformed"),
        ({"content": "x" * MAX_BYTES}, "too_large"),
        ({"content": float("nan")}, "malformed"),
        ({"content": "\ud800"}, "malformed"),
    ],
)
def test_what_is_no_envelope_is_refused_with_a_code(change: dict[str, object], code: str) -> None:
    """Unknown words, wrong types, too much: nothing is guessed."""
    raw = json.loads(said().encoded) | change
    with pytest.raises(EnvelopeError) as caught:
        parse_envelope(json.dumps(raw))
    assert caught.value.code == code


@pytest.mark.parametrize("junk", [b"", b"\xff", b"[]", b"null", b"[" * 10_000, b'{"id":1}'])
def test_junk_is_malformed(junk: bytes) -> None:
    """Bytes from strangers never raise anything else."""
    with pytest.raises(EnvelopeError) as caught:
        parse_envelope(junk)
    assert caught.value.code == "malformed"


def test_a_reply_says_what_it_replies_to() -> None:
    """`propose` without a call is nothing."""
    with pytest.raises(EnvelopeError, match="replies to"):
        seal(KEY, "propose", "coder-1", "lead-1", {}, prev=FIRST)
