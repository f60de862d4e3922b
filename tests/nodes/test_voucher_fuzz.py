"""Strangers' orders, byte by byte: an order is read in full and as it is written, or refused with `bad_request`."""

from __future__ import annotations

import contextlib
import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tercet.chain.keys import Key, parse_address
from tercet.chain.voucher import MAX_CLAIMABLE, EscrowDomain, channel_id, recover_voucher, sign_voucher
from tercet.errors import InvalidSignatureError, RefusalError, WireError
from tercet.market import ChannelConfig, Voucher
from tercet.nodes.channel_text import (
    config_object,
    decode_config,
    encode_config,
    parse_config,
    parse_voucher,
    voucher_object,
)
from tercet.nodes.paid_work import read_order

PAYER, RECEIVER, TOKEN = (Key(bytes([k]) * 32) for k in (1, 2, 3))
DOMAIN = EscrowDomain(8_411_001, TOKEN.address)
CONFIG = ChannelConfig(
    PAYER.address,
    PAYER.address,
    RECEIVER.address,
    RECEIVER.address,
    TOKEN.address,
    withdraw_delay=600,
    salt=b"\0" * 31 + b"\7",
)
CHANNEL = channel_id(DOMAIN, CONFIG)
VOUCHER = sign_voucher(DOMAIN, PAYER, CHANNEL, 1_000)
ORDER: dict[str, Any] = {
    "task": {"prompt": "hello"},
    "limit": {"prompt": 10, "completion": 10},
    "price": {"per_request": 1, "prompt_per_1k": 1, "completion_per_1k": 1},
    "voucher": voucher_object(VOUCHER),
    "config": config_object(CONFIG),
}
HEX = "0123456789abcdefABCDEF"
ODD = [
    "\u00a0",
    " ",
    "\t",
    "\n",
    "_",
    "+",
    "-",
    ".",
    "e",
    "x",
    "\u0663",
    "\u00b2",
    "\uff11",
    "\x00",
    "\ud800",
    "\u00e9",
    "0x",
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything in a JSON value, objects included."""
    found = [path] if path else []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += leaves(inner, (*path, key))
    return found


@st.composite
def bent_texts(draw: Any, text: str) -> str:
    """A text with one to three small faults."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(text) - 1)))
        piece = draw(st.sampled_from([*ODD, *HEX, ""]))
        text = text[:at] + piece + text[at + draw(st.integers(0, 2)) :]
    return text


@st.composite
def bent_orders(draw: Any) -> Any:
    """A good order with something wrong, or perhaps only strange, in it."""
    order = copy.deepcopy(ORDER)
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from(leaves(ORDER)))
        parent: Any = order
        for key in path[:-1]:
            parent = parent.get(key) if isinstance(parent, dict) else None
        if not isinstance(parent, dict):
            continue
        old = parent.get(path[-1])
        if isinstance(old, str) and draw(st.booleans()):
            parent[path[-1]] = draw(bent_texts(old))
        elif draw(st.booleans()):
            parent[path[-1]] = draw(json_values | st.integers(0, 2**130).map(str))
        else:
            parent.pop(path[-1], None)
    return order


def require_exact(body: bytes) -> None:
    """Refused as a bad request, or read as just what is written."""
    try:
        order = read_order(body)
    except RefusalError as refusal:
        assert refusal.code == "bad_request"  # noqa: PT017
        return
    written = json.loads(body)
    again = voucher_object(order.voucher)
    assert {key: text.lower() for key, text in again.items()} == {
        key: str(written["voucher"][key]).lower() for key in again
    }
    assert len(order.voucher.channel) == 32
    assert 65 <= len(order.voucher.signature) <= 1_024
    assert 0 <= order.voucher.max_claimable <= MAX_CLAIMABLE
    with contextlib.suppress(InvalidSignatureError):
        recover_voucher(DOMAIN, order.voucher)
    if order.config is None:
        assert written.get("config") is None
        return
    assert decode_config(encode_config(order.config)) == order.config
    again_config = config_object(order.config)
    assert {key: str(value).lower() for key, value in again_config.items()} == {
        key: str(written["config"][key]).lower() for key in again_config
    }
    assert len(order.config.salt) == 32
    assert len(parse_address(order.config.token)) == 20


def test_the_plain_order_is_read() -> None:
    """Else everything below would be refused."""
    order = read_order(json.dumps(ORDER).encode())
    assert order.voucher == VOUCHER
    assert order.config == CONFIG
    assert recover_voucher(DOMAIN, order.voucher) == PAYER.address


@given(bent_orders())
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_bent_order_is_refused_or_read_as_written(order: Any) -> None:
    """Whitespace in hex, foreign digits, wrong types, numbers out of range, missing and strange fields."""
    require_exact(json.dumps(order).encode())


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=200, deadline=None)
def test_bytes_of_any_kind_are_refused(body: bytes) -> None:
    """Also numbers with thousands of digits and words that JSON does not have."""
    with pytest.raises(RefusalError, match="bad_request"):
        read_order(body)


@pytest.mark.parametrize(
    "body", [b"1" * 5_000, b'{"voucher":' + b"9" * 5_000 + b"}", b"NaN", b'{"a":Infinity}', b"\xff\xfe"]
)
def test_bytes_that_trip_parsers_are_refused(body: bytes) -> None:
    """What json would raise something else than its own error for."""
    with pytest.raises(RefusalError, match="bad_request"):
        read_order(body)


@pytest.mark.parametrize("blank", [" ", "\t", "\n"])
def test_hex_with_blanks_is_no_hex(blank: str) -> None:
    """Python's own reader skips blanks: a salt that is short that way names another channel than the contract's."""
    short = "0x" + CONFIG.salt[1:].hex() + 2 * blank
    with pytest.raises(WireError):
        parse_config({**config_object(CONFIG), "salt": short})
    with pytest.raises(WireError):
        parse_voucher({**voucher_object(VOUCHER), "channel": "0x" + CHANNEL[1:].hex() + 2 * blank})


@pytest.mark.parametrize(
    "amount", ["340282366920938463463374607431768211456", "9" * 39, "007", "", "1 ", "\uff11", "-1", "1e3"]
)
def test_an_amount_is_a_plain_number_that_the_contract_can_hold(amount: str) -> None:
    """Decimal digits without a leading zero, below 2**128."""
    with pytest.raises(WireError):
        parse_voucher({**voucher_object(VOUCHER), "max_claimable": amount})


@given(st.binary(max_size=40), st.integers(-(2**130), 2**130), st.binary(max_size=80))
@example(CHANNEL, 1_000, VOUCHER.signature)
@settings(max_examples=200, deadline=None)
def test_recovery_answers_or_refuses(channel: bytes, amount: int, signature: bytes) -> None:
    """No other error than `InvalidSignatureError` comes out of any voucher."""
    try:
        signer = recover_voucher(DOMAIN, Voucher(channel, amount, signature))
    except InvalidSignatureError:
        return
    assert (signer == PAYER.address) == ((channel, amount, signature) == (CHANNEL, 1_000, VOUCHER.signature))


@given(st.integers(0, 8 * 65 - 1), st.integers(0, 8 * 65 - 1))
@settings(max_examples=150, deadline=None)
def test_a_signature_with_a_bit_changed_is_nobodys(first: int, second: int) -> None:
    """One or two bits anywhere in the 65 bytes; two equal ones change nothing."""
    bent = int.from_bytes(VOUCHER.signature, "big") ^ (1 << first) ^ (1 << second)
    voucher = Voucher(CHANNEL, 1_000, bent.to_bytes(65, "big"))
    if first == second:
        assert recover_voucher(DOMAIN, voucher) == PAYER.address
        return
    with contextlib.suppress(InvalidSignatureError):
        assert recover_voucher(DOMAIN, voucher) != PAYER.address
