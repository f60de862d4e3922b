"""Strangers' JSON at the gateway's edge: read strictly, refused by name, never a surprise."""

from __future__ import annotations

import base64
import contextlib
import json
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.errors import CallError, MinerMisbehaved
from tercet.market import Receipt, Usage
from tercet.nodes.gateway_openai import (
    ChatPiece,
    ChatRequest,
    EmbeddingRequest,
    build_completion,
    build_embeddings,
    parse_body,
    read_chat,
    read_chat_piece,
    read_vectors,
)

RECEIPT = Receipt("chatcmpl-1", "key_1", "chat", "smol", "complete", 1000, usage=Usage(3, 2))
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)
_names = st.sampled_from([*ChatRequest.model_fields, *EmbeddingRequest.model_fields, "unknown"])
_bodies = st.dictionaries(_names, _json, max_size=8)
_messages = st.just([{"role": "user", "content": "hi"}])


@given(_bodies, st.booleans())
def test_any_json_is_read_or_refused(body: dict[str, Any], valid: bool) -> None:
    """Whatever the fields hold, the outcome is a request or a CallError that fits in one line."""
    if valid:
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "input": "x", **body}
    chat, embedding = (outcome(kind, json.dumps(body).encode()) for kind in (ChatRequest, EmbeddingRequest))
    for refused in (chat, embedding):
        assert refused is None or (refused.status == 422 and len(str(refused)) < 400)


def outcome(kind: type[ChatRequest | EmbeddingRequest], body: bytes) -> CallError | None:
    """The refusal, or None."""
    try:
        parse_body(kind, body).validate_supported()
    except CallError as refused:
        return refused
    return None


@given(st.binary(max_size=40))
def test_any_bytes_are_refused(body: bytes) -> None:
    """No bytes but a JSON object with the needed fields are a request."""
    with pytest.raises(CallError):
        parse_body(ChatRequest, body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
        b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": "5"}',
        b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 5.5}',
        b'{"model": "m", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"model": "m", "messages": "hi"}',
        b'{"model": 3, "messages": [{"role": "user", "content": "x"}]}',
    ],
)
def test_near_misses_are_refused(body: bytes) -> None:
    """Numbers as texts, halves of tokens, half characters: no guessing."""
    with pytest.raises(CallError):
        parse_body(ChatRequest, body)


@given(_bodies | st.dictionaries(st.sampled_from(["text", "tokens", "finish", "vectors"]), _json, max_size=4))
def test_any_piece_is_read_or_misbehaviour(piece: dict[str, Any]) -> None:
    """Whatever a miner sends, it is read or blamed, and what is read can be written as JSON."""
    with contextlib.suppress(MinerMisbehaved):
        read = read_chat_piece(piece)
        json.dumps([read.text, read.tokens], allow_nan=False).encode()
        read_chat([read])
    with contextlib.suppress(MinerMisbehaved):
        json.dumps(read_vectors([piece], 1), allow_nan=False)


@pytest.mark.parametrize("logprob", [math.nan, math.inf, "0", None, True])
def test_a_logprob_is_a_number(logprob: Any) -> None:
    """Anything else is misbehaviour."""
    with pytest.raises(MinerMisbehaved):
        read_chat_piece({"text": "x", "tokens": [[1, logprob]]})


@pytest.mark.parametrize("vectors", [[], [[1.0], [2.0], [3.0]], [[1.0], []], [[1.0], ["x"]], [[1.0], 5], 5])
def test_vectors_match_their_inputs(vectors: Any) -> None:
    """Two inputs, two lists of numbers; anything else is misbehaviour."""
    with pytest.raises(MinerMisbehaved):
        read_vectors([{"vectors": vectors}], 2)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=8))
def test_base64_vectors_are_little_endian_floats(vector: list[float]) -> None:
    """As OpenAI's client decodes them."""
    ask = EmbeddingRequest(model="m", input="x", encoding_format="base64")
    coded = build_embeddings(ask, [vector], RECEIPT)["data"][0]["embedding"]
    assert list(struct.unpack(f"<{len(vector)}f", base64.b64decode(coded))) == vector


def test_a_whole_answer_has_the_fields_clients_read() -> None:
    """Usage adds up; texts are joined; the reason is the last piece's."""
    ask = parse_body(ChatRequest, b'{"model": "smol", "messages": [{"role": "user", "content": "x"}]}')
    answer = build_completion(ask, [ChatPiece("a", ((1, -0.1),), None), ChatPiece("b", (), "stop")], RECEIPT)
    assert answer["choices"][0]["message"]["content"] == "ab"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def test_an_answer_that_does_not_end_is_misbehaviour() -> None:
    """No pieces, or a last piece without a reason."""
    for pieces in ([], [ChatPiece("a", (), None)]):
        with pytest.raises(MinerMisbehaved, match="why it ended"):
            read_chat(pieces)


@pytest.mark.parametrize("seed", [-1, 0, 7, 2**63, 10**40])
def test_any_seed_fits(seed: int) -> None:
    """Seeds are whole numbers of any size at OpenAI's; the subnet takes 63 bits."""
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "seed": seed}
    task = parse_body(ChatRequest, json.dumps(body).encode()).task(5)
    assert 0 <= task["seed"] < 2**63
