"""Arguments, results and events through eth-abi; transactions against eth-account."""

from __future__ import annotations

from time import process_time
from typing import Any

import eth_abi
import pytest
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st

from tercet.chain.abi import AbiError, Type, decode, encode, parse_type
from tercet.chain.keys import Key, checksum_address
from tercet.chain.transaction import Transaction, contract_address, sign_transaction
from tercet.errors import InvalidKeyError

ADDRESSES = st.binary(min_size=20, max_size=20).map(checksum_address)
SIMPLE: dict[str, st.SearchStrategy[Any]] = {
    "uint256": st.integers(0, 2**256 - 1),
    "uint40": st.integers(0, 2**40 - 1),
    "int128": st.integers(-(2**127), 2**127 - 1),
    "bool": st.booleans(),
    "address": ADDRESSES,
    "bytes32": st.binary(min_size=32, max_size=32),
    "bytes4": st.binary(min_size=4, max_size=4),
    "bytes": st.binary(max_size=70),
    "string": st.text(alphabet=st.characters(codec="utf-8"), max_size=40),
}


def entry_of(text: str) -> dict[str, Any]:
    """A JSON ABI entry for a type text such as `(uint256,string)[]`."""
    if text.endswith("]"):
        base, _, length = text.rpartition("[")
        inner = entry_of(base)
        return {**inner, "type": f"{inner['type']}[{length}"}
    if text.startswith("("):
        return {"type": "tuple", "components": [entry_of(part) for part in split_members(text[1:-1])]}
    return {"type": text}


def split_members(text: str) -> list[str]:
    """Members of a tuple text, at depth 0."""
    parts, depth = [""], 0
    for c in text:
        depth += (c == "(") - (c == ")")
        if c == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += c
    return parts


@st.composite
def typed_values(draw: st.DrawFn, depth: int = 2) -> tuple[str, Any]:
    """A type and a value of it."""
    kind = draw(st.sampled_from(["simple", "simple", "array", "fixed", "tuple"])) if depth else "simple"
    if kind == "simple":
        text = draw(st.sampled_from(sorted(SIMPLE)))
        return text, draw(SIMPLE[text])
    if kind == "tuple":
        members = draw(st.lists(typed_values(depth=depth - 1), min_size=1, max_size=3))
        return f"({','.join(t for t, _ in members)})", tuple(v for _, v in members)
    text, value = draw(typed_values(depth=depth - 1))
    count = draw(st.integers(0 if kind == "array" else 1, 3))
    return f"{text}[{'' if kind == 'array' else count}]", (value,) * count


@settings(max_examples=150, deadline=None)
@given(st.lists(typed_values(), min_size=1, max_size=3))
def test_eth_abi_agrees(values: list[tuple[str, Any]]) -> None:
    """Random types and values encode to the same bytes and come back as they were."""
    types: list[Type] = [parse_type(entry_of(text)) for text, _ in values]
    given_values = [value for _, value in values]
    assert [t.text for t in types] == [text for text, _ in values]
    encoded = encode(types, given_values)
    assert encoded == eth_abi.encode([text for text, _ in values], given_values)
    assert list(decode(types, encoded)) == given_values


@settings(max_examples=100, deadline=None)
@given(typed_values(), st.binary(max_size=200))
def test_junk_from_a_node_is_our_error(value: tuple[str, Any], junk: bytes) -> None:
    """Any bytes either decode or raise AbiError; they never crash or eat the memory."""
    try:
        decode([parse_type(entry_of(value[0]))], junk)
    except AbiError:
        return


def word(number: int) -> bytes:
    return number.to_bytes(32, "big")


HOSTILE = {
    "two to the sixty numbers": ("uint256[]", word(32) + word(2**60) + word(1) * 40),
    "two to the sixty texts": ("string[]", word(32) + word(2**60) + word(64) * 40),
    "bytes longer than any machine": ("bytes", word(32) + word(2**255) + word(0)),
    "a pointer beyond any machine": ("string", word(2**255)),
    "cut short": ("(uint256,uint256)", word(1)),
    "nothing": ("uint256", b""),
    "20 megabytes in 74 kilobytes": (
        "bytes[]",
        word(32) + word(2_000) + word(64_000) * 2_000 + word(10_000) + bytes(10_016),
    ),
}


@pytest.mark.parametrize(("text", "data"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_answer_is_refused_at_once(text: str, data: bytes) -> None:
    """What a node claims costs no more time or memory than what it sent."""
    started = process_time()
    with pytest.raises(AbiError, match="right contract"):
        decode([parse_type(entry_of(text))], data)
    assert process_time() - started < 0.5


def test_text_that_is_no_utf8_still_decodes() -> None:
    """A miner's odd endpoint must not hide all the others."""
    assert decode([parse_type({"type": "string"})], word(32) + word(2) + b"o\xff".ljust(32, b"\0")) == ("o\ufffd",)


@pytest.mark.parametrize("text", ["uint7", "word", "uint256[0]", "()", ""])
def test_a_type_that_is_none_is_refused(text: str) -> None:
    """Types without size too: an answer could claim any number of them."""
    with pytest.raises(AbiError, match="not supported"):
        parse_type({"type": text})


@pytest.mark.parametrize(
    ("text", "value"),
    [("uint8", 256), ("uint256", -1), ("address", "0x12"), ("bytes32", b"1"), ("uint256[2]", (1,)), ("string", 5)],
)
def test_a_value_that_does_not_fit_is_refused(text: str, value: Any) -> None:
    """Ranges and lengths are checked before anything is sent."""
    with pytest.raises((AbiError, InvalidKeyError)):
        encode([parse_type(entry_of(text))], [value])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(0, 2**90), st.one_of(st.none(), ADDRESSES), st.binary(max_size=100))
def test_eth_account_signs_the_same_transaction(nonce: int, value: int, to: str | None, data: bytes) -> None:
    """Wire bytes and hash equal those of the wallet library."""
    key = Key(b"\x11" * 32)
    signed = sign_transaction(Transaction(8_411_000_337, nonce, 1, 2 * 10**9, 90_000, to, value, data), key)
    fields: dict[str, Any] = {
        "type": 2, "chainId": 8_411_000_337, "nonce": nonce, "maxPriorityFeePerGas": 1,
        "maxFeePerGas": 2 * 10**9, "gas": 90_000, "value": value, "data": data,
    }  # fmt: skip
    peer = Account.sign_transaction(fields | ({"to": to} if to else {}), key.secret)
    assert signed.raw == bytes(peer.raw_transaction)
    assert signed.hash == bytes(peer.hash)


def test_a_contract_lands_where_the_rule_says() -> None:
    """The address of a creation follows from sender and nonce (a well-known vector)."""
    found = contract_address("0x6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0", 0)
    assert found.hex() == "cd234a471b72ba2f1ccf0a70fcaba648a5eecd8d"
