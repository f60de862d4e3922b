"""Prices: what a usage costs, and when an offer is good enough."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tercet.market import Price, Usage

units = st.integers(0, 10**15)
prices = st.builds(Price, units, units, units)
usages = st.builds(Usage, st.integers(0, 10**9), st.integers(0, 10**9))


@given(prices, usages)
def test_no_work_is_free_by_rounding(price: Price, usage: Usage) -> None:
    """A charge is the exact price rounded up by less than one unit."""
    exact = usage.prompt * price.prompt_per_1k + usage.completion * price.completion_per_1k
    metered = price.charge(usage) - price.per_request
    assert exact <= metered * 1000 < exact + 1000


@given(prices, usages, usages)
def test_more_usage_never_costs_less(price: Price, some: Usage, more: Usage) -> None:
    """So the limit of a task is always enough to reserve."""
    both = Usage(some.prompt + more.prompt, some.completion + more.completion)
    assert price.charge(both) >= price.charge(some)


@given(prices, prices, usages)
def test_an_offer_that_covers_pays_at_least_as_much(offer: Price, ask: Price, usage: Usage) -> None:
    """Field by field, hence for every usage."""
    if offer.covers(ask):
        assert offer.charge(usage) >= ask.charge(usage)


@given(prices, st.integers(0, 10_000))
def test_a_scaled_price_is_covered_by_the_whole_one(price: Price, bps: int) -> None:
    """Probation never asks more than the ask; all of it is the ask itself."""
    assert price.covers(price.scaled(bps))
    assert price.scaled(10_000) == price
    assert price.scaled(0) == Price()


@given(prices, prices)
def test_a_price_at_least_a_floor_covers_both(price: Price, floor: Price) -> None:
    """And is raised no further than that."""
    raised = price.at_least(floor)
    assert raised.covers(price)
    assert raised.covers(floor)
    assert raised.at_least(price) == raised
    assert price.at_least(price) == price
