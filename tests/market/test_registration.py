"""What a miner's slot costs, and who gives way to whom."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tercet.market.registration import (
    EvictionRules,
    MinerStanding,
    PriceRules,
    place_applicants,
    price_after,
    raise_price,
    rank_weakest,
    split_price,
)

RULES = PriceRules(min_price=100, max_price=10_000, half_life=1_000, refund_bps=5_000)


def test_the_price_halves_in_each_half_life_on_a_straight_line() -> None:
    prices = [price_after(8_000, seconds, RULES) for seconds in (0, 500, 1_000, 1_500, 3_000, 10**9)]
    assert prices == [8_000, 6_000, 4_000, 3_000, 1_000, 100]


def test_the_price_stays_within_its_bounds() -> None:
    assert price_after(0, 0, RULES) == 100
    assert price_after(50_000, 0, RULES) == 10_000
    assert raise_price(9_999, RULES) == 10_000


def test_a_step_is_an_eighth_and_never_nothing() -> None:
    assert raise_price(800, RULES) == 900
    assert raise_price(1, RULES) == 2
    assert raise_price(0, RULES) == 0, "a market may give its slots away"


def test_registering_back_and_forth_costs_what_is_burned() -> None:
    assert split_price(801, RULES) == (400, 401)


@given(
    price=st.integers(0, 2**112 - 1),
    seconds=st.integers(0, 10**10),
    more=st.integers(0, 10**6),
    half_life=st.integers(60, 365 * 86_400),
)
def test_waiting_never_raises_the_price(price: int, seconds: int, more: int, half_life: int) -> None:
    rules = PriceRules(min_price=0, max_price=2**112 - 1, half_life=half_life, refund_bps=0)
    before, after = price_after(price, seconds, rules), price_after(price, seconds + more, rules)
    # Each halving floors once, so a new half-life may begin one unit above where the line of the last one ended.
    assert after <= before + 1
    assert before <= price


@given(paid=st.integers(0, 2**112 - 1), refund_bps=st.integers(0, 10_000))
def test_a_price_is_split_to_the_unit(paid: int, refund_bps: int) -> None:
    deposit, burned = split_price(paid, PriceRules(0, paid, 60, refund_bps))
    assert deposit + burned == paid
    assert deposit * 10_000 <= paid * refund_bps


def make_miner(uid: int, rank: int, *, generation: int | None = None, since: int = 0) -> MinerStanding:
    return MinerStanding(uid=uid, generation=generation or uid, since=since, rank=rank)


def test_the_least_rank_goes_first_and_of_equals_the_oldest() -> None:
    miners = [
        make_miner(1, 7, generation=9),
        make_miner(2, 7, generation=3),
        make_miner(3, 5),
        make_miner(4, 0, since=4),
    ]
    order = rank_weakest(miners, 5, EvictionRules(immunity_epochs=2, floor_miners=0))
    assert [miner.uid for miner in order] == [3, 2, 1], "the newcomer is immune"


def test_immunity_ends_after_its_epochs() -> None:
    rules = EvictionRules(immunity_epochs=2, floor_miners=0)
    assert [bool(rank_weakest([make_miner(1, 0, since=3)], epoch, rules)) for epoch in (3, 4, 5)] == [
        False,
        False,
        True,
    ]


def test_free_slots_go_first_and_the_floor_stays() -> None:
    miners = [make_miner(uid, uid) for uid in (1, 2, 3)]
    rules = EvictionRules(immunity_epochs=2, floor_miners=1)
    assert place_applicants(5, [4], miners, 9, True, rules) == (4, 1, 2)
    assert place_applicants(2, [4], miners, 9, True, rules) == (4, 1)
    assert place_applicants(5, [4], miners, 9, False, rules) == (4,)


@given(
    ranks=st.lists(st.integers(0, 3), max_size=12),
    applicants=st.integers(0, 16),
    floor=st.integers(0, 12),
    young=st.integers(0, 12),
)
def test_no_slot_is_given_twice_and_the_floor_holds(ranks: list[int], applicants: int, floor: int, young: int) -> None:
    miners = [make_miner(uid, rank, since=9 if uid <= young else 0) for uid, rank in enumerate(ranks, 1)]
    placed = place_applicants(applicants, [200, 201], miners, 9, True, EvictionRules(2, floor))
    assert len(set(placed)) == len(placed) <= applicants
    exposed = sum(miner.since == 0 for miner in miners)
    evicted = [uid for uid in placed if uid < 200]
    assert exposed - len(evicted) >= min(floor, exposed)
    assert not any(uid <= young for uid in evicted)
