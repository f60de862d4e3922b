"""Receipts survive their JSON form, and junk is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.errors import MarketError
from tercet.market import Answer, Price, Usage
from tercet.market.receipt import Receipt

_count = st.integers(0, 2**63)
_usage = st.builds(Usage, _count, _count)
_answer = st.builds(
    Answer, st.binary(max_size=32), st.binary(max_size=32), _usage, _count, _count, st.text(), st.binary(max_size=65)
)
_receipts = st.builds(
    Receipt,
    id=st.text(),
    key=st.text(),
    kind=st.sampled_from(["chat", "embed"]),
    model=st.text(),
    status=st.sampled_from(["complete", "budget", "client_gone", "failed", "lost"]),
    time_ms=_count,
    request=st.binary(max_size=32),
    usage=_usage,
    price=st.builds(Price, _count, _count, _count),
    probation=st.booleans(),
    first_seconds=st.integers(0, 10**6).map(lambda n: n / 1000),
    answer=st.none() | _answer,
    detail=st.text(),
)


@given(_receipts)
def test_a_receipt_survives_its_json_form(receipt: Receipt) -> None:
    """Written, sent and read back it is the same value."""
    assert Receipt.from_json(json.loads(json.dumps(receipt.to_json()))) == receipt


def _junk() -> list[dict[str, object]]:
    good = Receipt("r", "k", "chat", "m", "complete", 0).to_json()
    return [
        {},
        good | {"status": "splendid"},
        good | {"request": "zz"},
        good | {"miner": 3},
        good | {"price": {"x": 1}},
    ]


@pytest.mark.parametrize("junk", _junk())
def test_junk_is_no_receipt(junk: dict[str, object]) -> None:
    """A missing field, an unknown status or broken hex is refused by name."""
    with pytest.raises(MarketError, match="no receipt"):
        Receipt.from_json(junk)
