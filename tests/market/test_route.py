"""Routing: the better offer goes first, exploration stays bounded, and somebody is always tried."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from tercet.market.route import Offer, Taste, rank, rest_seconds, score

STEADY = Taste(explore=0.0)


@st.composite
def offers(draw: st.DrawFn) -> list[Offer]:
    uids = draw(st.lists(st.integers(1, 255), min_size=1, max_size=12, unique=True))
    return [
        Offer(
            uid,
            price=draw(st.integers(0, 10**7)),
            quality=draw(st.floats(0, 1)),
            latency=draw(st.none() | st.floats(0, 60)),
            proven=draw(st.booleans()),
            in_flight=draw(st.integers(0, 9)),
            resting=draw(st.sampled_from([0.0, 0.0, 1.0, 30.0])),
        )
        for uid in uids
    ]


@given(offers(), st.integers(), st.integers(1, 1000), st.floats(0.1, 10), st.floats(0.1, 0.9))
def test_a_dearer_slower_or_worse_twin_never_ranks_above(
    market: list[Offer], seed: int, dearer: int, slower: float, worse: float
) -> None:
    """All else equal, more money, more waiting or less quality never goes first."""
    good = Offer(256, price=1000, quality=0.8, latency=2.0)
    twins = [
        replace(good, uid=257, price=good.price + dearer),
        replace(good, uid=258, latency=2.0 + slower),
        replace(good, uid=259, quality=0.8 * worse),
        replace(good, uid=260, in_flight=1),
        replace(good, uid=261, resting=1.0),
    ]
    order = [offer.uid for offer in rank([*twins, *market, good], random.Random(seed), STEADY)]
    assert all(order.index(256) < order.index(twin.uid) for twin in twins)


@given(offers(), st.integers(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(market: list[Offer], seed: int, shuffler: random.Random) -> None:
    """The same offers and the same seed give the same order."""
    shuffled = list(market)
    shuffler.shuffle(shuffled)
    assert rank(market, random.Random(seed)) == rank(shuffled, random.Random(seed))


@given(offers(), st.integers())
def test_everybody_is_ranked_once(market: list[Offer], seed: int) -> None:
    """Nobody is dropped or doubled, not even when nobody is proven or all of them rest."""
    assert sorted(offer.uid for offer in rank(market, random.Random(seed))) == sorted(offer.uid for offer in market)


@given(offers(), st.integers())
def test_resting_miners_come_last_and_unproven_ones_behind_the_proven(market: list[Offer], seed: int) -> None:
    """Without exploration the order is: rested and proven, rested and unproven, resting."""
    order = rank(market, random.Random(seed), STEADY)
    assert order == sorted(order, key=lambda offer: (offer.resting, not offer.proven))


@given(offers(), st.integers())
def test_exploration_never_wakes_a_resting_miner_nor_pays_a_fortune(market: list[Offer], seed: int) -> None:
    """Who goes first out of turn is awake and costs at most `dearest` times the best offer."""
    best = rank(market, random.Random(seed), STEADY)[0]
    first = rank(market, random.Random(seed), Taste(explore=1.0))[0]
    assume(first != best)
    assert not first.resting
    assert first.price <= 4 * (1 + best.price)


def test_newcomers_get_a_small_bounded_share() -> None:
    """Of 20,000 calls the unproven miner gets about half of the explored tenth, the best one nine tenths."""
    market = [
        Offer(1, price=1000, quality=1.0, latency=1.0),
        Offer(2, price=1000, quality=0.5, latency=2.0),
        Offer(3, price=50, quality=0.0, latency=0.1, proven=False),
    ]
    dice = random.Random(7)
    firsts = [rank(market, dice)[0].uid for _ in range(20_000)]
    assert abs(firsts.count(1) / 20_000 - 0.9) < 0.01
    assert abs(firsts.count(2) / 20_000 - 0.05) < 0.01
    assert abs(firsts.count(3) / 20_000 - 0.05) < 0.01


def test_when_nobody_is_proven_all_get_their_turn() -> None:
    """Before the first epoch calls are spread evenly: a quick cheap stranger is not trusted for being quick."""
    market = [Offer(uid, price=uid, quality=0.0, latency=uid / 10, proven=False) for uid in (1, 2, 3, 4)]
    dice = random.Random(3)
    firsts = [rank(market, dice)[0].uid for _ in range(8_000)]
    assert all(abs(firsts.count(uid) / 8_000 - 0.25) < 0.03 for uid in (1, 2, 3, 4))


def test_a_proven_miner_nobody_timed_is_tried_soon() -> None:
    """An unknown latency counts as the best known one, so the better of two else equal goes by quality."""
    timed = Offer(1, price=10, quality=0.9, latency=0.5)
    unknown = Offer(2, price=10, quality=1.0, latency=None)
    assert rank([timed, unknown], random.Random(1), STEADY)[0] == unknown


def test_no_offers_rank_to_none() -> None:
    """An empty market is an empty answer, not an error."""
    assert rank([], random.Random(1), Taste(explore=1.0)) == []


@given(st.integers(0, 10**6), st.floats(0, 1), st.none() | st.floats(0, 1e6))
def test_scores_are_finite(price: int, quality: float, latency: float | None) -> None:
    """No price of zero or latency of zero divides by zero."""
    assert 0 <= score(Offer(1, price, quality, latency), Taste()) < 1e9


def test_rest_doubles_up_to_a_bound() -> None:
    """Failures in a row: 2 s, 4 s, 8 s, ... 120 s; none, no rest."""
    assert [rest_seconds(n) for n in (0, 1, 2, 3, 9, 10**9)] == [0, 2, 4, 8, 120, 120]
