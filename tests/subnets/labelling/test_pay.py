"""Hourly pay: integers, rounded so that nobody falls below the floor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.errors import UsageError
from tercet.market import Price, Usage
from tercet.subnets.labelling.items import Item
from tercet.subnets.labelling.pay import check_floor, estimate_seconds, hourly_rate, parse_rate, price_of_rate


@given(st.integers(0, 10**9), st.integers(1, 10**6))
def test_a_rates_price_pays_at_least_that_rate(rate: int, seconds: int) -> None:
    charged = price_of_rate(rate).charge(Usage(seconds, 1))
    assert hourly_rate(charged, seconds) >= rate
    check_floor(price_of_rate(rate), rate)


@given(st.integers(1, 10**9))
def test_less_than_the_floor_is_refused(floor: int) -> None:
    """Whatever is paid for each item on top: there are tasks in which that is nothing beside the time."""
    least = price_of_rate(floor).prompt_per_1k
    with pytest.raises(UsageError, match="floor is"):
        check_floor(Price(per_request=10**9, prompt_per_1k=least - 1, completion_per_1k=10**9), floor)


def test_longer_texts_are_more_work() -> None:
    assert estimate_seconds(Item("gray", bytes(64), 8)) == 1.5
    assert estimate_seconds(Item("text", b"x" * 200)) == 11.5
    assert estimate_seconds(Item("text", b"x" * 400)) > estimate_seconds(Item("text", b"x" * 200))


def test_no_work_is_no_rate() -> None:
    assert hourly_rate(100, 0) == 0
    assert parse_rate("12") == 12_000_000
    with pytest.raises(UsageError):
        parse_rate("-1")
