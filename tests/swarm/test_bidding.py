"""What agents offer and whose offer is taken: rules without a run."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tercet.market import Price, Usage
from tercet.swarm.bidding import Kind, Past, PastWork, Proposal, first_call, quote, rank
from tercet.swarm.events import Event
from tercet.swarm.plan import Slot

PROPOSALS = st.builds(
    Proposal,
    price=st.integers(0, 2000),
    seconds=st.floats(0.1, 2000, allow_nan=False),
    success_bps=st.integers(1, 10_000),
)
OFFERS = st.dictionaries(st.sampled_from([f"author-{n}" for n in range(1, 8)]), PROPOSALS)
CALL = Usage(100, 100)


def worth(offer: Proposal) -> tuple[Fraction, Fraction]:
    """What an offer is ranked by."""
    return Fraction(offer.price, offer.success_bps), Fraction(offer.seconds) / offer.success_bps


@given(OFFERS, st.integers(0, 2000), st.integers(1, 2000), st.randoms(use_true_random=False))
def test_the_winner_is_the_cheapest_success_within_budget_and_time_in_any_order(
    offers: dict[str, Proposal], budget: int, seconds: int, chance: Any
) -> None:
    """Nobody who can be taken has a cheaper success; equals are told apart by their time, then by who was asked first."""
    ranked = rank(offers, budget=budget, seconds=seconds)
    assert set(ranked) == {
        name for name, each in offers.items() if each.price <= budget and each.seconds <= seconds
    }  # fmt: skip
    shuffled = list(offers.items())
    chance.shuffle(shuffled)
    again = rank(dict(shuffled), budget=budget, seconds=seconds)
    assert [worth(offers[name]) for name in again] == [worth(offers[name]) for name in ranked]
    for better, worse in itertools.pairwise(ranked):
        one, two = offers[better], offers[worse]
        cost = one.price * two.success_bps - two.price * one.success_bps
        assert cost <= 0
        asked = list(offers)
        if cost == 0 and one.success_bps == two.success_bps:
            assert (one.seconds, asked.index(better)) <= (two.seconds, asked.index(worse))


@given(OFFERS.filter(bool), st.sampled_from(["price", "seconds", "success_bps"]), st.integers(1, 100))
def test_who_offers_more_for_less_never_falls_behind(offers: dict[str, Proposal], what: str, by: int) -> None:
    """A lower price, less time or a better chance is no disadvantage."""
    name = min(offers)
    was = offers[name]
    changes: dict[str, dict[str, Any]] = {
        "price": {"price": max(0, was.price - by)},
        "seconds": {"seconds": max(0.1, was.seconds - by)},
        "success_bps": {"success_bps": min(10_000, was.success_bps + by)},
    }
    before = rank(offers, budget=2000, seconds=2000).index(name)
    after = rank({**offers, name: was.model_copy(update=changes[what])}, budget=2000, seconds=2000).index(name)
    assert after <= before


def test_the_price_of_a_success_counts_and_not_the_price() -> None:
    """Half the price at a third of the chance is dearer."""
    offers = {
        "cheap": Proposal(price=50, seconds=1.0, success_bps=3000),
        "sound": Proposal(price=100, seconds=9.0, success_bps=9000),
    }
    assert rank(offers, budget=100, seconds=10) == ["sound", "cheap"]
    assert rank(offers, budget=99, seconds=10) == ["cheap"]
    assert rank(offers, budget=100, seconds=5) == ["cheap"]


def test_free_offers_go_by_the_time_to_a_success_and_equal_ones_by_who_was_asked_first() -> None:
    """The first offers of free models are all the same: then the one counts whom the plan names first."""
    known = {
        "slow": Proposal(price=0, seconds=60.0, success_bps=9500),
        "wild": Proposal(price=0, seconds=50.0, success_bps=500),
        "quick": Proposal(price=0, seconds=10.0, success_bps=3000),
    }
    assert rank(known, budget=0, seconds=60) == ["quick", "slow", "wild"]
    new = quote(Past(), price=Price(), call=CALL, budget=0, seconds=60.0, queue=0.0)
    assert rank({"coder-2": new, "author-1": new, "author-10": new}, budget=0, seconds=60) == [
        "coder-2",
        "author-1",
        "author-10",
    ]


def offer(past: Past, price: Price | None, **more: Any) -> Proposal:
    """For a task of 1000 credit units and 60 seconds."""
    return quote(past, price=price, call=CALL, budget=1000, seconds=60.0, **{"queue": 0.0, **more})


def test_an_offer_is_what_is_known_of_the_model_and_of_the_past() -> None:
    """Of who never did such a task, eight calls and all the time; of who did, twice the dearest and the mean time."""
    price = Price(per_request=10)
    assert offer(Past(), price) == Proposal(price=80, seconds=60.0, success_bps=5000)
    assert offer(Past(), None).price == 1000, "nobody knows the price: all that it may cost"
    known = Past(done=3, failed=1, dearest=300, seconds=20.0)
    assert offer(known, price) == Proposal(price=600, seconds=5.0, success_bps=6666)
    assert offer(Past(done=1, seconds=2.0), price).price == 10, "what was free may need a call the next time"
    assert offer(known, price, queue=7.5).seconds == 12.5


def test_the_first_call_is_bounded_however_much_there_is_to_read() -> None:
    """Whole repositories go into no prompt."""
    assert first_call(0).prompt < first_call(4000).prompt < first_call(10**9).prompt == first_call(10**10).prompt


def test_the_past_is_told_apart_by_kind_of_task_and_kind_of_agent() -> None:
    """What one slot spent and took on tasks of a role, whoever of it did them; a task that goes on counts for nothing."""
    bodies: list[tuple[str, str, Mapping[str, Any]]] = [
        ("run.planned", "", {"plan": {"tasks": [{"id": "a", "role": "author"}, {"id": "b", "role": "author"}]}}),
        ("agent.started", "", {"agent": "author-1", "role": "author"}),
        ("agent.started", "", {"agent": "author-2", "role": "author", "own_model": "dear"}),
        ("task.started", "a", {"agent": "author-1", "attempt": 1}),
        ("call", "a", {"agent": "run/crew/author-1", "charged": 7}),
        ("task.failed", "a", {"attempt": 1, "final": False}),
        ("task.started", "a", {"agent": "author-1", "attempt": 2}),
        ("call", "a", {"agent": "run/crew/author-1", "charged": 5}),
        ("task.failed", "a", {"attempt": 2, "final": False, "contract": "c"}),
        ("task.started", "a", {"agent": "author-2", "attempt": 3}),
        ("call", "a", {"agent": "run/crew/author-2", "charged": 90}),
        ("task.done", "a", {"attempt": 3}),
        ("task.started", "b", {"agent": "author-2", "attempt": 1}),
    ]
    events = [
        Event(number, number * 1000, kind, "kernel", task, dict(body), None, None, b"")
        for number, (kind, task, body) in enumerate(bodies, 1)
    ]
    past = PastWork()
    past.take(events[:7])
    past.take(events[7:])
    assert past.seen == len(events)
    assert past.of(Kind("author", Slot("author"))) == Past(done=0, failed=1, dearest=12, seconds=5.0)
    assert past.of(Kind("author", Slot("author", "dear"))) == Past(done=1, failed=0, dearest=90, seconds=2.0)
    assert past.of(Kind("writer", Slot("author"))) == Past()
