"""The market's epoch: what agreement pays, and to whom."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.market.epoch import (
    FULL,
    ONE,
    PRECISE,
    STAKE_UNIT,
    MarketRules,
    MarketState,
    Seat,
    close_market_epoch,
    find_consensus,
    follow,
    pack_row,
    unpack_row,
    weigh_seats,
)
from tercet.market.treasury import Split, pay_pot

RULES = MarketRules(kappa=6 * 10**17, bond_alpha=10**17, validator_share_bps=5_000, activity_epochs=2)


def make_state(rows: list[list[int] | None], stakes: list[int] | None = None) -> MarketState:
    """Epoch 5 of a market of old hands; a row of `None` is committed, not revealed."""
    columns = max((len(row) for row in rows if row), default=1)
    stakes = stakes or [1_000] * len(rows)
    seats = tuple(
        Seat(
            stake=stake * STAKE_UNIT,
            generation=1,
            committed=6,
            revealed=6 if row is not None else 0,
            as_of=10,
            row=tuple(row or ()),
        )
        for row, stake in zip(rows, stakes, strict=True)
    )
    return MarketState(
        epoch=5,
        rules=RULES,
        seats=seats,
        generations=(0, *range(1, columns)),
        bonds=tuple((0,) * columns for _ in rows),
        closed_generation=10,
        reward=1_000_000,
    )


def test_equal_rows_are_the_consensus_and_pay_by_weight() -> None:
    row = [15_535, 10_000, 40_000]
    outcome = close_market_epoch(make_state([row, row, row]))
    assert outcome.consensus == tuple(row)
    assert outcome.hints == tuple(pack_row(row))
    assert outcome.incentives == (15_535, 10_000, 40_000)
    assert outcome.miner_pay == (0, 76_295, 305_180)
    assert outcome.validator_pay[0] == outcome.validator_pay[1] == outcome.validator_pay[2]
    assert sum(outcome.miner_pay) + sum(outcome.validator_pay) + outcome.refund == 1_000_000


def test_a_lone_praiser_is_clipped() -> None:
    """A validator that gives all to its friend moves nothing when it has no majority."""
    honest = [0, 32_767, 32_768, 0]
    outcome = close_market_epoch(make_state([honest, honest, [0, 0, 0, FULL]]))
    assert outcome.consensus == (0, 32_767, 32_768, 0)
    assert outcome.miner_pay[3] == 0
    assert outcome.validator_pay[2] == 0


def test_no_majority_pays_nobody() -> None:
    outcome = close_market_epoch(make_state([[0, FULL, 0], [0, 0, FULL]]))
    assert outcome.consensus == (0, 0, 0)
    assert outcome.refund == 1_000_000


def test_silence_weighs_in_the_total() -> None:
    row = [0, FULL]
    assert close_market_epoch(make_state([row, row, None])).consensus == (0, FULL)
    assert close_market_epoch(make_state([row, None, None])).consensus == (0, 0)


def test_a_majority_at_the_threshold_is_enough() -> None:
    rows: list[list[int] | None] = [[0, FULL], [FULL, 0]]
    assert close_market_epoch(make_state(rows, [600, 400])).consensus == (0, FULL)
    assert close_market_epoch(make_state(rows, [599, 401])).consensus == (0, 0)


def test_an_empty_market_refunds_everything() -> None:
    state = make_state([])
    outcome = close_market_epoch(state)
    assert (outcome.consensus, outcome.refund) == ((0,), 1_000_000)


def test_unspent_votes_go_back() -> None:
    outcome = close_market_epoch(make_state([[FULL, 0], [FULL, 0]]))
    assert outcome.ranks[0] > 0
    assert (outcome.miner_pay, outcome.refund) == ((0, 0), 1_000_000)


def test_a_slot_taken_after_the_measurement_gets_no_weight() -> None:
    row = [0, 30_000, 35_535]
    state = make_state([row, row])
    outcome = close_market_epoch(replace(state, generations=(0, 1, 11)))
    assert outcome.consensus == (0, 30_000, 0)


def test_bonds_of_a_new_holder_start_at_zero() -> None:
    row = [0, 30_000, 35_535]
    state = replace(make_state([row, row]), bonds=((0, 9 << 16, 9 << 16),) * 2, closed_generation=1)
    outcome = close_market_epoch(state)
    alpha = RULES.bond_alpha * ONE // PRECISE
    assert outcome.bonds[0][1] == follow(9 << 16, 30_000, alpha)
    assert outcome.bonds[0][2] == follow(0, 35_535, alpha)


def test_an_early_believer_earns_more() -> None:
    """Who backed a miner before the others holds more of its bonds when the others agree."""
    row = [0, FULL]
    state = replace(make_state([row, row]), bonds=((0, 30_000 << 16), (0, 0)))
    early, late = close_market_epoch(state).validator_pay
    assert early > 3 * late > 0


@given(weight=st.integers(0, FULL), bond=st.integers(0, 2**32 - 1), alpha=st.integers(ONE // 1_000, ONE))
def test_a_bond_moves_towards_its_weight_and_never_past(weight: int, bond: int, alpha: int) -> None:
    target = weight << 16
    after = follow(bond, weight, alpha)
    assert min(bond, target) <= after <= max(bond, target)
    assert after != bond or bond == target


@pytest.mark.parametrize("alpha", [ONE // 1_000, ONE // 40, ONE // 10, ONE // 2, ONE])
@pytest.mark.parametrize("weight", [0, 1, 2, 1_000, FULL])
def test_a_constant_weight_settles_exactly_at_every_rate(alpha: int, weight: int) -> None:
    """The reference's 16 bits stop 1.5 % short at 0.001."""
    for start in (0, 2**32 - 1):
        bond = start
        while (after := follow(bond, weight, alpha)) != bond:
            bond = after
        assert bond == weight << 16


@given(
    votes=st.lists(st.tuples(st.integers(0, 20), st.integers(1, 50)), min_size=1, max_size=12),
    share=st.integers(1, 100),
)
def test_the_consensus_is_the_largest_weight_with_enough_behind_it(votes: list[tuple[int, int]], share: int) -> None:
    total = sum(stake for _, stake in votes)
    threshold = max(1, share * total // 100)
    agreed = find_consensus(votes, threshold)
    assert sum(stake for weight, stake in votes if weight >= agreed) >= threshold
    assert sum(stake for weight, stake in votes if weight > agreed) < threshold


@given(st.lists(st.integers(0, FULL), min_size=1, max_size=64))
def test_rows_survive_packing(weights: list[int]) -> None:
    assert unpack_row(pack_row(weights), len(weights)) == weights
    assert unpack_row(pack_row(weights))[: len(weights)] == weights


def test_money_is_conserved_to_the_unit() -> None:
    rows: list[list[int] | None] = [[7, 21_842, 21_843, 21_843], [0, 21_845, 21_845, 21_845], [1, 1, 1, 65_532]]
    for reward in (0, 1, 7, 10**18 + 1):
        outcome = close_market_epoch(replace(make_state(rows, [7, 11, 13]), reward=reward))
        assert sum(outcome.miner_pay) + sum(outcome.validator_pay) + outcome.refund == reward
        assert outcome.refund >= 0


# --- Who votes, and with how much ---


def make_seat(stake: int, *, generation: int = 1, revealed: bool = True) -> Seat:
    """A seat of epoch 5; one that did not reveal never did."""
    return Seat(stake * STAKE_UNIT, generation, 6 if revealed else 0, 6 if revealed else 0, 10, (0, FULL))


def test_nobody_weighs_more_than_the_cap_of_all_stake_before_it() -> None:
    seats = [make_seat(stake) for stake in (700, 100, 100, 100)]
    assert weigh_seats(seats, 5, replace(RULES, weight_cap_bps=2_000)) == [200, 100, 100, 100]


def test_the_strongest_take_the_permits_and_of_equals_the_oldest() -> None:
    seats = [make_seat(5, generation=1), make_seat(7, generation=4), make_seat(7, generation=2), None, make_seat(9)]
    assert weigh_seats(seats, 5, replace(RULES, max_validators=2)) == [0, 0, 7, 0, 9]


def test_a_permit_is_not_for_those_who_stay_away() -> None:
    seats = [make_seat(5), make_seat(7, revealed=False), make_seat(0)]
    assert weigh_seats(seats, 5, replace(RULES, max_validators=1)) == [5, 0, 0]


@given(
    stakes=st.lists(st.integers(0, 50), min_size=1, max_size=20),
    permits=st.integers(1, 20),
    cap=st.integers(100, 10_000),
)
def test_permits_and_cap_bound_everybody(stakes: list[int], permits: int, cap: int) -> None:
    seats = [make_seat(stake, generation=place) for place, stake in enumerate(stakes, 1)]
    uncapped = weigh_seats(seats, 5, replace(RULES, max_validators=permits))
    assert sorted(uncapped, reverse=True)[:permits] == sorted(stakes, reverse=True)[:permits]
    assert sum(weight > 0 for weight in uncapped) <= permits
    capped = weigh_seats(seats, 5, replace(RULES, max_validators=permits, weight_cap_bps=cap))
    assert all(weight * 10_000 <= cap * sum(uncapped) for weight in capped)
    assert all(after in (before, max(capped)) for before, after in zip(uncapped, capped, strict=True))


def test_pressing_others_below_their_consensus_gains_nothing() -> None:
    """A cartel that keeps every other column from its consensus is paid for its own agreed votes only, not for all."""
    rules = replace(RULES, kappa=PRECISE * 51 // 100)
    honest: list[int] = [0, 1_311, 32_112, 32_112]
    fair = close_market_epoch(replace(make_state([honest, honest], [510, 491]), rules=rules))
    taken = close_market_epoch(replace(make_state([honest, [0, FULL, 0, 0]], [510, 491]), rules=rules))
    assert taken.consensus == (0, 1_311, 0, 0)
    assert taken.miner_pay[1] <= fair.miner_pay[1]


def test_an_epoch_and_the_treasury_split_a_pot_alike() -> None:
    rows: list[list[int] | None] = [[7, 21_842, 21_843, 21_843], [0, 21_845, 21_845, 21_845], [1, 1, 1, 65_532], None]
    state = make_state(rows, [7, 11, 13, 2])
    outcome = close_market_epoch(state)
    shares = [weight * dividend for weight, dividend in zip(outcome.weights, outcome.dividends, strict=True)]
    votes = sum(outcome.weights[:3]) * FULL
    paid = pay_pot(state.reward, Split(votes, outcome.ranks[1:], tuple(shares), RULES.validator_share_bps))
    assert (paid.to_miners, paid.to_validators) == (outcome.miner_pay[1:], outcome.validator_pay)
