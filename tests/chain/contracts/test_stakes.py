"""Stakes: who holds what, what it weighs and earns, what a slash takes, and that no money is made or lost.

The market here is a stub that tells the epoch and the rules; the contract and both tokens are the real ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.chain.contracts.evm import Reverted
from tests.chain.contracts.pools import ALL, NOBODY, TCT, Pools

from tercet.errors import UsageError
from tercet.market.stakes import MAX_DEPTH, Pool, audit_share

CREDIT = 10**6
OWN = 1_000 * TCT


def open_two(bench: Pools, take_bps: int = 0) -> tuple[str, str, int]:
    """A pool with 1,000 TCT of its owner and 3,000 of a delegator, all active: (owner, delegator, pool)."""
    owner, delegator = bench.account("owner", OWN), bench.account("delegator", 10 * OWN)
    pool = bench.open(owner, OWN, take_bps)
    bench.stakes.send(delegator, "stake", pool, 3 * OWN)
    bench.next_epoch()
    return owner, delegator, pool


# --- Who may ---


def test_only_the_market_opens_and_closes_pools() -> None:
    bench = Pools()
    owner = bench.account("owner", OWN)
    for name, arguments in (("open_pool", (1, owner, OWN, 0)), ("close_pool", (1,))):
        with pytest.raises(Reverted, match="stakes: caller is not the market"):
            bench.stakes.send(owner, name, *arguments)
    pool = bench.open(owner, OWN)
    with pytest.raises(Reverted, match="stakes: pool already open"):
        bench.stakes.send(bench.market.address, "open_pool", pool, owner, OWN, 0)
    bench.close(pool)
    with pytest.raises(Reverted, match="stakes: pool is closed"):
        bench.close(pool)
    with pytest.raises(Reverted, match="stakes: no such pool"):
        bench.close(77)


def test_a_market_is_attached_once_by_the_creator() -> None:
    bench = Pools()
    for sender, reason in ((bench.bank, "caller is not the creator"), (bench.registry, "already attached")):
        with pytest.raises(Reverted, match=f"stakes: {reason}"):
            bench.stakes.send(sender, "attach", bench.bank, bench.bank)


def test_only_the_treasury_rewards_in_the_two_tokens() -> None:
    bench = Pools()
    stranger = bench.account("stranger")
    arguments = (0, bench.credit.address, [1], [1])
    with pytest.raises(Reverted, match="stakes: caller is not the treasury"):
        bench.stakes.send(stranger, "reward", *arguments)
    with pytest.raises(Reverted, match="stakes: unknown token"):
        bench.stakes.send(bench.market.address, "reward", 0, stranger, [1], [1])
    with pytest.raises(Reverted, match="stakes: lists differ in length"):
        bench.stakes.send(bench.market.address, "reward", 0, bench.credit.address, [1, 2], [1])


def test_only_the_audits_contract_judges() -> None:
    bench = Pools()
    for name, arguments in (("slash", (1, 1, NOBODY)), ("release", (1, 0)), ("forfeit", (1, 0))):
        with pytest.raises(Reverted, match="stakes: caller is not the audits contract"):
            bench.stakes.send(bench.market.address, name, *arguments)


def test_without_an_audits_contract_nobody_judges_and_nothing_is_held() -> None:
    """The zero address cannot send, so nothing may wait for it."""
    bench = Pools(audited=False, audit_share_bps=5_000)
    owner, _, pool = open_two(bench)
    bench.reward({pool: 1_000})
    assert bench.stakes.call("get_held", pool, bench.epoch) == (0, 0)
    assert bench.position(pool, owner)["reward"] == 250
    with pytest.raises(Reverted, match="stakes: caller is not the audits contract"):
        bench.stakes.send(bench.audits, "slash", pool, 1, NOBODY)


def test_a_pool_opens_with_the_owners_money_and_within_bounds() -> None:
    bench = Pools()
    owner = bench.account("owner", OWN)
    for amount, take, reason in (
        (100 * TCT - 1, 0, "own stake below the minimum"),
        (OWN, 2_001, "take above the maximum"),
        (OWN + 1, 0, "erc20"),
    ):
        with pytest.raises(Reverted, match=reason):
            bench.stakes.send(bench.market.address, "open_pool", 1, owner, amount, take)
    bench.open(owner, OWN, 2_000)
    assert bench.token.call("balanceOf", owner) == 0
    view = bench.pool(1)
    assert (view["owner"].lower(), view["bonded"], view["take_bps"]) == (owner.lower(), OWN, 2_000)
    assert bench.pool(2)["owner"] == NOBODY


# --- What weighs ---


def test_stake_counts_from_the_next_epoch() -> None:
    bench = Pools()
    owner, delegator = bench.account("owner", OWN), bench.account("delegator", OWN)
    pool = bench.open(owner, OWN)
    assert bench.effective(pool) == 0
    bench.next_epoch()
    assert bench.effective(pool) == OWN
    bench.stakes.send(delegator, "stake", pool, OWN)
    assert bench.effective(pool) == OWN
    assert bench.pool(pool)["pending"] == bench.position(pool, delegator)["pending"] == OWN
    bench.next_epoch(5)
    assert bench.effective(pool) == 2 * OWN


def test_the_weakest_pool_has_the_least_bonded_and_of_equals_is_the_youngest() -> None:
    """Who replaces a seat must beat all its stake, also what does not count yet."""
    bench = Pools()
    pools = [bench.open(bench.account("owner", amount), amount) for amount in (3 * OWN, 2 * OWN, 2 * OWN, 4 * OWN)]
    assert bench.stakes.call("weakest", pools) == (2, 2 * OWN)
    assert bench.stakes.call("weakest", pools[::-1]) == (1, 2 * OWN)
    bench.stakes.send(bench.account("delegator", 2 * OWN), "stake", pools[2], 2 * OWN)
    assert bench.stakes.call("weakest", pools) == (1, 2 * OWN)


def test_the_least_stake_held_over_the_epoch_weighs() -> None:
    """What came in this epoch can go again without harm; what goes and comes back is missing."""
    bench = Pools()
    _, delegator, pool = open_two(bench)
    bench.stakes.send(delegator, "stake", pool, OWN)
    bench.stakes.send(delegator, "unstake", pool, OWN)
    assert bench.effective(pool) == 4 * OWN
    bench.stakes.send(delegator, "unstake", pool, OWN)
    bench.stakes.send(delegator, "stake", pool, OWN)
    assert bench.effective(pool) == 3 * OWN
    assert bench.pool(pool)["bonded"] == 4 * OWN


def test_stake_that_comes_for_a_closing_earns_nothing_in_it() -> None:
    """Not even when it is a hundred times all the rest, and not later either for that epoch."""
    bench = Pools()
    owner, _, pool = open_two(bench)
    rich = bench.account("just_in_time", 400 * OWN)
    bench.stakes.send(rich, "stake", pool, 400 * OWN)
    bench.reward({pool: 4_000 * CREDIT})
    bench.next_epoch()
    assert bench.position(pool, rich)["reward"] == 0
    assert bench.position(pool, owner)["reward"] == 1_000 * CREDIT
    bench.stakes.send(rich, "unstake", pool, ALL)
    with pytest.raises(Reverted, match="stakes: nothing to claim"):
        bench.stakes.send(rich, "claim", pool)


def test_a_delegator_who_slept_gets_exactly_the_epochs_it_was_active() -> None:
    """The index at the end of the epoch it came in is found again, however late it looks."""
    bench = Pools()
    _, delegator, pool = open_two(bench)
    late = bench.account("late", 4 * OWN)
    bench.reward({pool: 4_000})
    bench.stakes.send(late, "stake", pool, 4 * OWN)
    bench.reward({pool: 4_000})
    bench.next_epoch()
    bench.reward({pool: 8_000})
    bench.next_epoch(3)
    bench.reward({pool: 800})
    assert bench.position(pool, late)["reward"] == 4_400
    assert bench.position(pool, delegator)["reward"] == 3_000 + 3_000 + 3_000 + 300
    bench.stakes.send(late, "claim", pool)
    assert bench.credit.call("balanceOf", late) == 4_400


def test_what_was_paid_before_it_came_is_not_its_own() -> None:
    """Also when nothing was paid after it in the epoch it came in."""
    bench = Pools()
    _, _, pool = open_two(bench)
    bench.reward({pool: 4_000})
    late = bench.account("late", 4 * OWN)
    bench.stakes.send(late, "stake", pool, 4 * OWN)
    bench.next_epoch()
    assert bench.position(pool, late)["reward"] == 0
    bench.reward({pool: 8_000})
    assert bench.position(pool, late)["reward"] == 4_000


def test_shares_taken_are_rounded_up() -> None:
    """After a slash one token is 1.5 shares: who takes tokens one by one leaves a bit more to the others."""
    bench = Pools(min_stake=1)
    owner, delegator = bench.account("owner", 3), bench.account("delegator", 6)
    pool = bench.open(owner, 3)
    bench.stakes.send(delegator, "stake", pool, 6)
    bench.stakes.send(bench.audits, "slash", pool, 3_334, NOBODY)
    assert bench.position(pool, delegator)["pending"] == 4
    assert bench.stakes.send(delegator, "unstake", pool, 1).value == 1
    assert bench.position(pool, delegator)["shares"] == 6 - 2
    assert bench.pool(pool)["bonded"] == 5


def test_a_pool_without_enough_own_stake_weighs_nothing() -> None:
    bench = Pools()
    _, _, pool = open_two(bench)
    assert bench.effective(pool, OWN) == 4 * OWN
    assert bench.effective(pool, OWN + 1) == 0
    assert bench.effective(99, 0) == 0


def test_own_stake_that_is_pending_does_not_carry_a_pool() -> None:
    bench = Pools()
    owner, _, pool = open_two(bench)
    bench.stakes.send(owner, "unstake", pool, 800 * TCT)
    bench.give(owner, OWN)
    bench.stakes.send(owner, "stake", pool, OWN)
    assert bench.effective(pool, 201 * TCT) == 0
    bench.next_epoch()
    assert bench.effective(pool, 201 * TCT) == 4_200 * TCT


def test_a_gift_of_tokens_moves_no_share() -> None:
    bench = Pools()
    owner, _, pool = open_two(bench)
    bench.token.send(bench.bank, "transfer", bench.stakes.address, 10**24)
    assert bench.effective(pool) == 4 * OWN
    assert bench.position(pool, owner)["active"] == OWN


def test_all_stake_together_is_bounded() -> None:
    """Units are lanes of 48 bits in the consensus; a token with another cap cannot break them."""
    bench = Pools()
    stakes = bench.ledger.deploy(
        "Stakes", bench.credit.address, bench.token.address, bench.audits, sender=bench.registry
    )
    stakes.send(bench.registry, "attach", bench.market.address, bench.market.address)
    owner = bench.ledger.account("owner")
    bench.credit.send(bench.bank, "mint", owner, 2**100)
    bench.credit.send(owner, "approve", stakes.address, ALL)
    with pytest.raises(Reverted, match="stakes: total stake too large"):
        stakes.send(bench.market.address, "open_pool", 1, owner, 2**48 * 10**12, 0)
    stakes.send(bench.market.address, "open_pool", 1, owner, 2**48 * 10**12 - 1, 0)
    assert stakes.call("total_bonded") == 2**48 * 10**12 - 1


# --- Out again ---


def test_unbonding_takes_its_epochs_and_a_newer_one_extends_it() -> None:
    bench = Pools()
    _, delegator, pool = open_two(bench)
    assert bench.stakes.send(delegator, "unstake", pool, OWN).value == OWN
    assert bench.position(pool, delegator)["release_epoch"] == 4
    bench.next_epoch(2)
    with pytest.raises(Reverted, match="stakes: still unbonding"):
        bench.stakes.send(delegator, "withdraw", pool)
    bench.stakes.send(delegator, "unstake", pool, OWN)
    bench.next_epoch(2)
    with pytest.raises(Reverted, match="stakes: still unbonding"):
        bench.stakes.send(delegator, "withdraw", pool)
    bench.next_epoch()
    assert bench.stakes.send(delegator, "withdraw", pool).value == 2 * OWN
    with pytest.raises(Reverted, match="stakes: nothing to withdraw"):
        bench.stakes.send(delegator, "withdraw", pool)


def test_nobody_takes_more_than_its_own() -> None:
    bench = Pools()
    owner, delegator, pool = open_two(bench)
    with pytest.raises(Reverted, match="stakes: more than the stake"):
        bench.stakes.send(delegator, "unstake", pool, 3 * OWN + 1)
    with pytest.raises(Reverted, match="stakes: more than the stake"):
        bench.stakes.send(bench.bank, "unstake", pool, 1)
    for who, amount in ((bench.bank, ALL), (owner, 0)):
        with pytest.raises(Reverted, match="stakes: amount is zero"):
            bench.stakes.send(who, "unstake", pool, amount)
    with pytest.raises(Reverted, match="stakes: amount is zero"):
        bench.stakes.send(owner, "stake", pool, 0)
    with pytest.raises(Reverted, match="stakes: no such pool"):
        bench.stakes.send(owner, "stake", 99, 1)
    with pytest.raises(Reverted, match="stakes: no such pool"):
        bench.stakes.send(owner, "unstake", 99, 1)


def test_an_owner_keeps_the_minimum_until_the_seat_is_gone() -> None:
    bench = Pools()
    owner, delegator, pool = open_two(bench)
    with pytest.raises(Reverted, match="stakes: own stake below the minimum"):
        bench.stakes.send(owner, "unstake", pool, 900 * TCT + 1)
    bench.stakes.send(owner, "unstake", pool, 900 * TCT)
    bench.close(pool)
    assert bench.effective(pool, 0) == 0
    bench.stakes.send(owner, "unstake", pool, 100 * TCT)
    for refused in (("stake", pool, 1), ("set_take", pool, 0)):
        with pytest.raises(Reverted, match="stakes: pool is closed"):
            bench.stakes.send(owner, *refused)
    bench.stakes.send(delegator, "unstake", pool, ALL)
    bench.next_epoch(3)
    assert bench.stakes.send(owner, "withdraw", pool).value == OWN
    assert bench.stakes.send(delegator, "withdraw", pool).value == 3 * OWN
    assert bench.stakes.call("books")["bonded"] == bench.stakes.call("books")["unbonding"] == 0


def test_winding_down_takes_no_stake_and_ends_unbonding_at_once() -> None:
    bench = Pools()
    _, delegator, pool = open_two(bench)
    bench.wind_down()
    with pytest.raises(Reverted, match="stakes: market is winding down"):
        bench.stakes.send(delegator, "stake", pool, 1)
    bench.stakes.send(delegator, "unstake", pool, ALL)
    with pytest.raises(Reverted, match="stakes: still unbonding"):
        bench.stakes.send(delegator, "withdraw", pool)
    bench.next_epoch()
    assert bench.stakes.send(delegator, "withdraw", pool).value == 3 * OWN


# --- Rewards ---


def test_the_owner_takes_its_part_and_the_rest_goes_by_stake() -> None:
    bench = Pools()
    owner, delegator, pool = open_two(bench, take_bps=1_000)
    bench.reward({pool: 4_000})
    bench.reward({pool: 400}, bench.token)
    assert bench.stakes.send(owner, "claim", pool).value == (400 + 900, 40 + 90)
    assert bench.stakes.send(delegator, "claim", pool).value == (2_700, 270)
    assert bench.credit.call("balanceOf", owner) == 1_300
    assert bench.token.call("balanceOf", owner) == 130
    assert bench.leftover() == (0, 0)


def test_with_one_token_everything_is_paid_in_the_first_number() -> None:
    bench = Pools(one_token=True, audit_share_bps=1_000)
    owner, _, pool = open_two(bench, take_bps=1_000)
    bench.reward(five_seats(pool, 800))
    assert bench.stakes.call("get_held", pool, 1) == (400, 0)
    assert bench.stakes.send(bench.audits, "release", pool, 1).value == (400, 0)
    assert bench.stakes.send(owner, "claim", pool).value == (1_300, 0)


def test_a_reward_before_anything_is_active_is_the_owners() -> None:
    bench = Pools()
    owner = bench.account("owner", OWN)
    pool = bench.open(owner, OWN)
    bench.reward({pool: 777})
    assert bench.position(pool, owner)["reward"] == 777


def test_dust_joins_the_next_reward_and_at_the_end_the_owner() -> None:
    """Three equal shares of 100 units leave one; nothing is lost by it."""
    bench = Pools(min_stake=1)
    owner, delegator, third = (bench.account(role, 1) for role in ("owner", "delegator", "third"))
    pool = bench.open(owner, 1)
    for who in (delegator, third):
        bench.stakes.send(who, "stake", pool, 1)
    bench.next_epoch()
    bench.reward({pool: 100})
    assert [bench.position(pool, who)["reward"] for who in (owner, delegator, third)] == [33, 33, 33]
    bench.close(pool)
    for who in (third, delegator, owner):
        bench.stakes.send(who, "unstake", pool, 1)
    assert bench.stakes.send(owner, "claim", pool).value == (34, 0)
    for who in (delegator, third):
        assert bench.stakes.send(who, "claim", pool).value == (33, 0)
    assert bench.stakes.call("books")["reward"] == 0


def test_a_reward_too_small_for_so_many_shares_waits_for_the_next() -> None:
    """A slash makes shares cheap: here 1.1 x 10**28 of them, and the index counts 10**-27 units of each."""
    bench = Pools()
    owner, delegator, pool = open_two(bench)
    bench.stakes.send(bench.audits, "slash", pool, 9_999, NOBODY)
    bench.give(delegator, 10**24)
    bench.stakes.send(delegator, "stake", pool, 10**24)
    bench.next_epoch()
    bench.reward({pool: 5})
    assert bench.position(pool, delegator)["reward"] == 0
    bench.reward({pool: 16})
    assert bench.position(pool, delegator)["reward"] == 20
    assert bench.position(pool, owner)["reward"] == 0


def test_a_lower_take_counts_at_once_and_a_raise_only_when_leavers_are_out() -> None:
    bench = Pools()
    owner, delegator, pool = open_two(bench, take_bps=1_000)
    with pytest.raises(Reverted, match="stakes: caller is not the pool's owner"):
        bench.stakes.send(delegator, "set_take", pool, 0)
    with pytest.raises(Reverted, match="stakes: take above the maximum"):
        bench.stakes.send(owner, "set_take", pool, 2_001)
    bench.stakes.send(owner, "set_take", pool, 500)
    assert bench.pool(pool)["take_bps"] == 500
    log = bench.stakes.send(owner, "set_take", pool, 2_000).logs[0].fields
    assert (log["take_bps"], log["from_epoch"]) == (2_000, bench.epoch + 3 + 1)
    bench.stakes.send(delegator, "unstake", pool, ALL)
    released = bench.position(pool, delegator)["release_epoch"]
    assert released < log["from_epoch"]
    while bench.epoch < log["from_epoch"]:
        view = bench.pool(pool)
        assert (view["take_bps"], view["next_take_bps"], view["next_take_epoch"]) == (500, 2_000, log["from_epoch"])
        bench.next_epoch()
    view = bench.pool(pool)
    assert (view["take_bps"], view["next_take_bps"], view["next_take_epoch"]) == (2_000, 2_000, 0)


def test_a_newer_take_replaces_an_announced_raise() -> None:
    """Waiting for one raise cannot be used up by another, larger one."""
    bench = Pools()
    owner, _, pool = open_two(bench)
    bench.stakes.send(owner, "set_take", pool, 100)
    bench.next_epoch(3)
    bench.stakes.send(owner, "set_take", pool, 2_000)
    bench.next_epoch(3)
    assert bench.pool(pool)["take_bps"] == 0
    bench.stakes.send(owner, "set_take", pool, 0)
    bench.next_epoch(9)
    assert bench.pool(pool)["take_bps"] == 0


def test_the_audit_share_waits_for_the_audit() -> None:
    bench = Pools(audit_share_bps=2_000)
    _, delegator, pool = open_two(bench, take_bps=1_000)
    bench.next_epoch()
    first = bench.epoch
    assert first % 2 == 0, "two epochs of one word"
    bench.reward(five_seats(pool, 1_000))
    bench.reward(five_seats(pool, 100), bench.token)
    bench.next_epoch()
    bench.reward(five_seats(pool, 1_000))
    assert bench.stakes.call("get_held", pool, first) == (1_000, 100)
    assert bench.stakes.call("get_held", pool, first + 1) == (1_000, 0)
    assert bench.stakes.send(bench.audits, "release", pool, first).value == (1_000, 100)
    assert bench.stakes.call("get_held", pool, first + 1) == (1_000, 0)
    assert bench.position(pool, delegator)["reward"] == (4_000 + 4_000 + 1_000) * 9 // 10 * 3 // 4
    with pytest.raises(Reverted, match="stakes: nothing is held"):
        bench.stakes.send(bench.audits, "release", pool, first)
    with pytest.raises(Reverted, match="stakes: nothing is held"):
        bench.stakes.send(bench.audits, "forfeit", pool, first)


def test_what_no_audit_decided_in_time_is_kept_for_a_late_one() -> None:
    """Its place is needed two epochs on; it moves, and each part can be decided in any order, once."""
    bench = Pools(audit_share_bps=2_000)
    _, _, pool = open_two(bench)
    first = bench.epoch
    for k in range(5):
        bench.reward(five_seats(pool, 1_000 * (k + 1)))
        bench.next_epoch()
    for k in range(5):
        assert bench.stakes.call("get_held", pool, first + k) == (1_000 * (k + 1), 0)
    assert bench.stakes.call("get_held", pool, first + 5) == (0, 0)
    for k in (3, 0, 4, 2, 1):
        assert bench.stakes.send(bench.audits, "release", pool, first + k).value == (1_000 * (k + 1), 0)
        assert bench.stakes.call("get_held", pool, first + k) == (0, 0)
        with pytest.raises(Reverted, match="stakes: nothing is held"):
            bench.stakes.send(bench.audits, "forfeit", pool, first + k)
    bench.reward(five_seats(pool, 50))
    assert bench.stakes.call("get_held", pool, bench.epoch) == (50, 0)
    assert bench.stakes.call("get_held", pool, bench.epoch - 2) == (0, 0)


def test_nothing_is_held_of_a_seat_that_earned_more_than_three_tenths() -> None:
    """Its others weigh too little: a stranger with a few small seats could withhold its pay."""
    bench = Pools(audit_share_bps=2_000)
    _, _, pool = open_two(bench)
    bench.reward([(pool, 3_000), (pool, 3_000), (pool, 4_000)])
    assert bench.stakes.call("get_held", pool, bench.epoch) == (1_200, 0)
    bench.reward([(pool, 3_001), (pool, 6_999)])
    assert bench.stakes.call("get_held", pool, bench.epoch) == (1_200, 0)


def five_seats(pool: int, each: int) -> list[tuple[int, int]]:
    """Five seats that earned alike, so that a part is held; all of them this pool's, for short."""
    return [(pool, each)] * 5


def test_what_is_forfeited_goes_back_to_the_treasury_or_is_burned() -> None:
    bench = Pools(audit_share_bps=2_000)
    _, _, pool = open_two(bench)
    bench.reward(five_seats(pool, 1_000))
    bench.reward(five_seats(pool, 100), bench.token)
    supply = bench.token.call("totalSupply")
    bench.market.send(bench.bank, "set_closing", True)
    with pytest.raises(Reverted, match="treasury is closing"):
        bench.stakes.send(bench.audits, "forfeit", pool, bench.epoch)
    bench.market.send(bench.bank, "set_closing", False)
    assert bench.stakes.send(bench.audits, "forfeit", pool, bench.epoch).value == (1_000, 100)
    assert bench.credit.call("balanceOf", bench.market.address) == 1_000
    assert bench.credit.call("allowance", bench.stakes.address, bench.market.address) == 0
    assert bench.token.call("totalSupply") == supply - 100
    assert bench.leftover() == (0, 0)


def test_a_reward_that_no_book_can_hold_is_left_lying_and_freezes_nothing() -> None:
    """A reward token of any supply can be sponsored; the closing that pays it must go through."""
    bench = Pools()
    owner, delegator, pool = open_two(bench)
    bench.reward({pool: 2**112 - 4})
    bench.reward({pool: 2**112})
    bench.reward({pool: 4})
    assert bench.stakes.call("books")["reward"] == 2**112 - 4
    bench.next_epoch(100)
    bench.stakes.send(delegator, "claim", pool)
    bench.reward({pool: 4})
    assert bench.stakes.send(owner, "claim", pool).value == (2**110, 0)
    bench.stakes.send(delegator, "unstake", pool, ALL)


@pytest.mark.parametrize("mood", [1, 2])
def test_a_hostile_reward_token_holds_back_rewards_only(mood: int) -> None:
    """One that refuses, or calls back for a second helping, gets no claim through; stake leaves as ever."""
    bench = Pools(reward_stub="stub_token")
    _, delegator, pool = open_two(bench)
    bench.reward({pool: 4_000})
    bench.credit.send(bench.bank, "set_mood", mood)
    with pytest.raises(Reverted):
        bench.stakes.send(delegator, "claim", pool)
    bench.stakes.send(delegator, "unstake", pool, ALL)
    bench.next_epoch(3)
    assert bench.stakes.send(delegator, "withdraw", pool).value == 3 * OWN
    bench.credit.send(bench.bank, "set_mood", 0)
    assert bench.stakes.send(delegator, "claim", pool).value == (3_000, 0)


# --- Slashing ---


def test_a_slash_cuts_bonded_and_unbonding_stake_alike() -> None:
    bench = Pools()
    owner, delegator, pool = open_two(bench, take_bps=0)
    bench.stakes.send(delegator, "unstake", pool, OWN)
    bench.reward({pool: 3_000})
    supply = bench.token.call("totalSupply")
    reporter = bench.account("reporter")
    receipt = bench.stakes.send(bench.audits, "slash", pool, 1_000, reporter)
    assert receipt.value == 400 * TCT
    assert bench.token.call("balanceOf", reporter) == 200 * TCT
    assert bench.token.call("totalSupply") == supply - 200 * TCT
    assert bench.position(pool, owner)["active"] == 900 * TCT
    assert bench.position(pool, delegator)["active"] == 1_800 * TCT
    assert bench.position(pool, delegator)["unbonding"] == 900 * TCT
    assert bench.effective(pool) == 2_700 * TCT
    assert bench.position(pool, delegator)["reward"] == 2_000
    assert bench.leftover() == (0, 0)


def test_without_a_receiver_all_is_burned() -> None:
    bench = Pools()
    _, _, pool = open_two(bench)
    supply = bench.token.call("totalSupply")
    assert bench.stakes.send(bench.audits, "slash", pool, 1, NOBODY).value == 4 * OWN // 10_000
    assert bench.token.call("totalSupply") == supply - 4 * OWN // 10_000
    for bps in (0, 10_001):
        with pytest.raises(Reverted, match="stakes: slash out of bounds"):
            bench.stakes.send(bench.audits, "slash", pool, bps, NOBODY)


def test_stake_that_comes_after_a_slash_shares_none_of_it() -> None:
    bench = Pools()
    _, delegator, pool = open_two(bench)
    bench.stakes.send(bench.audits, "slash", pool, 5_000, NOBODY)
    late = bench.account("late", OWN)
    bench.stakes.send(late, "stake", pool, OWN)
    assert bench.position(pool, late)["pending"] == OWN
    assert bench.position(pool, delegator)["active"] == 3 * OWN // 2
    bench.stakes.send(delegator, "unstake", pool, ALL)
    bench.stakes.send(late, "unstake", pool, OWN)
    assert bench.position(pool, late)["unbonding"] == OWN


def test_what_unbonds_after_a_slash_shares_none_of_it() -> None:
    bench = Pools()
    _, delegator, pool = open_two(bench)
    late = bench.account("late", OWN)
    bench.stakes.send(delegator, "unstake", pool, OWN)
    bench.stakes.send(bench.audits, "slash", pool, 5_000, NOBODY)
    bench.stakes.send(late, "stake", pool, OWN)
    bench.stakes.send(late, "unstake", pool, ALL)
    assert bench.position(pool, late)["unbonding"] == OWN
    assert bench.position(pool, delegator)["unbonding"] == OWN // 2


def test_a_pool_whose_unbonding_was_slashed_too_deep_takes_no_stake() -> None:
    """One bonded unit is too little to be cut, so the bonded tokens alone would not tell."""
    bench = Pools(min_stake=1)
    owner, delegator = bench.account("owner", 1), bench.account("delegator", 2**40)
    pool = bench.open(owner, 1)
    bench.stakes.send(delegator, "stake", pool, 2**39)
    bench.stakes.send(delegator, "unstake", pool, ALL)
    for _ in range(MAX_DEPTH):
        bench.stakes.send(bench.audits, "slash", pool, 5_000, NOBODY)
    bench.stakes.send(delegator, "stake", pool, 1)
    bench.stakes.send(delegator, "unstake", pool, 1)
    bench.stakes.send(bench.audits, "slash", pool, 5_000, NOBODY)
    with pytest.raises(Reverted, match="stakes: pool was slashed away"):
        bench.stakes.send(delegator, "stake", pool, 1)


def test_a_pool_slashed_to_nothing_is_over_but_keeps_its_rewards() -> None:
    bench = Pools()
    owner, delegator, pool = open_two(bench)
    bench.stakes.send(delegator, "unstake", pool, OWN)
    bench.reward({pool: 3_000})
    bench.stakes.send(bench.audits, "slash", pool, 10_000, NOBODY)
    assert bench.effective(pool, 0) == 0
    assert bench.stakes.call("books")["bonded"] == bench.stakes.call("books")["unbonding"] == 0
    with pytest.raises(Reverted, match="stakes: pool was slashed away"):
        bench.stakes.send(delegator, "stake", pool, OWN)
    assert bench.stakes.send(delegator, "claim", pool).value == (2_000, 0)
    assert bench.stakes.send(delegator, "unstake", pool, ALL).value == 0
    bench.close(pool)
    bench.reward({pool: 30})
    assert bench.stakes.send(owner, "unstake", pool, 0).value == 0
    assert bench.stakes.send(owner, "claim", pool).value == (1_030, 0)
    bench.next_epoch(3)
    assert bench.stakes.send(delegator, "withdraw", pool).value == 0
    assert bench.position(pool, delegator)["shares"] == bench.pool(pool)["unbonding_shares"] == 0
    assert bench.leftover() == (0, 0)


def test_a_pool_slashed_too_deep_takes_no_new_stake() -> None:
    """So shares cannot grow without bound, and nobody's unstaking can overflow."""
    bench = Pools()
    _, delegator, pool = open_two(bench)
    slashes = 0
    while bench.pool(pool)["shares"] <= bench.pool(pool)["bonded"] << MAX_DEPTH:
        bench.stakes.send(delegator, "stake", pool, TCT)
        bench.stakes.send(bench.audits, "slash", pool, 9_000, NOBODY)
        slashes += 1
    assert slashes == 8
    with pytest.raises(Reverted, match="stakes: pool was slashed away"):
        bench.stakes.send(delegator, "stake", pool, TCT)
    bench.stakes.send(delegator, "unstake", pool, ALL)


# --- Gas ---


@pytest.mark.slow
def test_paying_64_pools_stays_in_its_gas() -> None:
    """In the steady state, with a take, an audit share and audits in time: under 27,500 a pool and token."""
    bench = Pools(audit_share_bps=1_000)
    owner = bench.account("owner", 64 * OWN)
    pools = {bench.open(owner, OWN, 1_000): 10**6 + 7 * k for k in range(64)}
    spent = []
    for _ in range(6):
        bench.next_epoch()
        for pool in pools:
            if any(bench.stakes.call("get_held", pool, max(bench.epoch - 2, 0))):
                bench.stakes.send(bench.audits, "release", pool, bench.epoch - 2)
        spent.append(bench.reward(pools).gas)
        bench.reward(pools, bench.token)
    assert max(spent[-2:]) / 64 < 27_500
    computation = bench.ledger.run(
        owner, bytes.fromhex(bench.stakes.address[2:]), bench.stakes.encode("effective", list(pools), OWN), keep=False
    )
    assert computation[1] / 64 < 11_500


# --- The contract and its twin ---

WHO = st.integers(0, 3)
WHICH = st.integers(1, 2)
AMOUNT = st.one_of(st.integers(0, 40), st.integers(1, 10**6), st.integers(1, 100).map(lambda n: n * TCT + n * n))
EARNED = st.lists(st.tuples(WHICH, AMOUNT), max_size=7)
"""By seat. Two pools stand for many, so that steps are quick; of several that earned alike a part waits for an audit."""
BPS = st.sampled_from([1, 33, 500, 1_000, 3_333])


class StakesMachine(RuleBasedStateMachine):
    """Any order of everything in two pools: equal integers, equal refusals, and books that match the tokens."""

    @initialize(one_token=st.booleans(), audit_share=st.sampled_from([0, 1_000, 3_333]), own=st.integers(7, 1_000))
    def begin(self, one_token: bool, audit_share: int, own: int) -> None:
        self.bench = Pools(min_stake=7, audit_share_bps=audit_share, one_token=one_token)
        self.people = [self.bench.account("somebody", 10**24) for _ in range(4)]
        self.twins: dict[int, Pool] = {}
        self.shares: dict[tuple[int, str], int] = {}
        """By pool and account, as last seen."""
        self.least: dict[tuple[int, str], int] = {}
        """The fewest seen in this epoch: by looking after each step, and nothing else."""
        self.winding = False
        for owner in self.people[:2]:
            pool = self.bench.open(owner, own, 500)
            twin = self.twins[pool] = Pool(owner, 500)
            twin.stake(owner, own)
        self.least = {(pool, who): 0 for pool in self.twins for who in self.people}

    def same(self, contract: Callable[[], Any], twin: Callable[[], Any]) -> Any:
        """Do both; either both refuse for the same reason, or both give the same."""
        refused = ""
        expected = None
        try:
            expected = twin()
        except UsageError as error:
            refused = str(error)
        try:
            value = contract()
        except Reverted as error:
            reason = str(error)
        else:
            reason = ""
        assert reason == refused
        if reason:
            return None
        if value is not None:
            assert value == expected
        return value

    def send(self, who: str, name: str, *arguments: Any) -> Callable[[], Any]:
        return lambda: self.bench.stakes.send(who, name, *arguments).value

    @rule(k=WHO, pool=WHICH, amount=AMOUNT)
    def stake(self, k: int, pool: int, amount: int) -> None:
        if not self.winding:
            who = self.people[k]
            before = self.twins[pool].position(who).shares
            self.same(self.send(who, "stake", pool, amount), lambda: self.twins[pool].stake(who, amount))
            assert self.twins[pool].position(who).shares >= before

    @rule(k=WHO, pool=WHICH, percent=st.integers(0, 100), more=st.integers(-1, 1), everything=st.booleans())
    def unstake(self, k: int, pool: int, percent: int, more: int, everything: bool) -> None:
        who, twin = self.people[k], self.twins[pool]
        part = max(0, twin.worth(twin.position(who).shares) * percent // 100 + more)
        amount = None if everything and percent > 80 else part
        minimum, epochs, _ = self.bench.terms
        self.same(
            self.send(who, "unstake", pool, ALL if amount is None else amount),
            lambda: twin.unstake(who, amount, min_stake=minimum, unbonding_epochs=epochs),
        )

    @rule(k=WHO, pool=WHICH)
    def withdraw(self, k: int, pool: int) -> None:
        """What was withdrawn cannot be withdrawn again."""
        who, twin = self.people[k], self.twins[pool]
        before = self.bench.token.call("balanceOf", who)
        paid = self.same(self.send(who, "withdraw", pool), lambda: twin.withdraw(who, wound_down=self.ended))
        assert self.bench.token.call("balanceOf", who) == before + (paid or 0)
        if paid is not None:
            with pytest.raises(Reverted, match="stakes: nothing to withdraw"):
                self.bench.stakes.send(who, "withdraw", pool)

    @rule(k=WHO, pool=WHICH)
    def claim(self, k: int, pool: int) -> None:
        who = self.people[k]
        self.same(self.send(who, "claim", pool), lambda: self.twins[pool].claim(who))

    @rule(pool=WHICH, take_bps=st.integers(0, 2_000))
    def set_take(self, pool: int, take_bps: int) -> None:
        twin = self.twins[pool]
        epochs = self.bench.terms[1]
        self.same(
            self.send(twin.owner, "set_take", pool, take_bps),
            lambda: twin.set_take(take_bps, unbonding_epochs=epochs),
        )

    @rule(amounts=EARNED, emission=st.booleans())
    def reward(self, amounts: list[tuple[int, int]], emission: bool) -> None:
        """Only shares held since before the epoch earn; a newcomer's claim stays what it was."""
        token = self.bench.token if emission else self.bench.credit
        kind = int(emission and self.bench.credit is not self.bench.token)
        newcomers = [
            (pool, who, self.bench.position(pool, who))
            for pool, twin in self.twins.items()
            for who in self.people
            if self.least[pool, who] == 0 and who != twin.owner
        ]
        self.bench.reward(amounts, token)
        earned = sum(amount for _, amount in amounts)
        for pool, amount in amounts:
            if amount:
                self.twins[pool].reward(kind, amount, audit_share(amount, earned, self.bench.terms[2]))
        for pool, who, before in newcomers:
            assert self.bench.position(pool, who) == before

    @rule(pool=WHICH, bps=BPS, rewarded=st.booleans())
    def slash(self, pool: int, bps: int, rewarded: bool) -> None:
        """Everybody loses the same part, to two units; half of it goes to the one who is named."""
        receiver = self.bench.ledger.account("reporter") if rewarded else NOBODY
        supply = self.bench.token.call("totalSupply")
        before = {who: self.bench.position(pool, who) for who in self.people}
        cut = self.same(self.send(self.bench.audits, "slash", pool, bps, receiver), lambda: self.twins[pool].slash(bps))
        paid = self.bench.token.call("balanceOf", receiver)
        assert paid == (cut // 2 if rewarded else 0)
        assert self.bench.token.call("totalSupply") == supply - cut + paid
        for who, old in before.items():
            new = self.bench.position(pool, who)
            assert (new["reward"], new["stake_reward"]) == (old["reward"], old["stake_reward"])
            for part in ("active", "unbonding"):
                # A share's worth is floored before and after, and the cut is: up to two units stay, none is lost more.
                assert 0 <= new[part] - old[part] * (10_000 - bps) // 10_000 <= 2

    @precondition(lambda self: self.bench.epoch > 4)
    @rule(pool=WHICH, bps=st.sampled_from([5_000, 9_999, 10_000]))
    def ruin(self, pool: int, bps: int) -> None:
        self.slash(pool, bps, rewarded=False)

    @rule(pool=WHICH, back=st.integers(0, 3), paid=st.booleans())
    def judge(self, pool: int, back: int, paid: bool) -> None:
        epoch, twin = max(0, self.bench.epoch - back), self.twins[pool]
        verdict = "release" if paid else "forfeit"
        self.same(self.send(self.bench.audits, verdict, pool, epoch), lambda: getattr(twin, verdict)(epoch))

    @precondition(lambda self: not self.ended)
    @rule(amounts=EARNED, emission=st.booleans())
    def close_epoch(self, amounts: list[tuple[int, int]], emission: bool) -> None:
        self.reward(amounts, emission)
        self.bench.next_epoch()
        for twin in self.twins.values():
            twin.roll(self.bench.epoch)
        self.least = dict(self.shares)

    @rule(min_stake=st.integers(1, 50), epochs=st.integers(3, 5), audit_share=st.integers(0, 5_000))
    def change_rules(self, min_stake: int, epochs: int, audit_share: int) -> None:
        self.bench.set_terms(min_stake=min_stake, unbonding_epochs=epochs, audit_share_bps=audit_share)

    @precondition(lambda self: self.bench.epoch > 3)
    @rule(pool=WHICH)
    def close(self, pool: int) -> None:
        if not self.twins[pool].closed:
            self.bench.close(pool)
            self.twins[pool].closed = True

    @precondition(lambda self: self.bench.epoch > 5 and not self.winding)
    @rule()
    def wind_down(self) -> None:
        self.bench.wind_down()
        self.winding = True

    @property
    def ended(self) -> bool:
        return bool(self.bench.market.call("is_wound_down"))

    @invariant()
    def all_is_as_it_should_be(self) -> None:
        if not hasattr(self, "bench"):
            return
        for pool, twin in self.twins.items():
            view = self.bench.pool(pool)
            self.compare(pool, twin, view)
            for needed in (0, 7):
                least = self.least_weight(pool, view, needed)
                assert self.bench.effective(pool, needed) == least
                assert twin.effective(needed) == least
        assert self.bench.leftover() == (0, 0)
        books = self.bench.stakes.call("books")
        assert books["bonded"] == sum(twin.bonded for twin in self.twins.values())
        assert books["unbonding"] == sum(twin.unbonding for twin in self.twins.values())

    def compare(self, pool: int, twin: Pool, view: dict[str, Any]) -> None:
        """The twin's numbers against the contract's; notes what everybody holds."""
        assert (view["bonded"], view["unbonding"]) == (twin.bonded, twin.unbonding)
        assert (view["shares"], view["active_shares"]) == (twin.shares, twin.active)
        assert view["unbonding_shares"] == twin.unbonding_shares
        assert view["take_bps"] == twin.take_bps
        for who in self.people:
            mine, seen = twin.position(who), self.bench.position(pool, who)
            assert seen["shares"] == mine.shares
            assert seen["active"] == twin.worth(mine.active)
            assert seen["release_epoch"] == mine.release_epoch
            assert (seen["reward"], seen["stake_reward"]) == twin.claimable(who)
            self.shares[pool, who] = seen["shares"]
            self.least[pool, who] = min(seen["shares"], self.least[pool, who])

    def least_weight(self, pool: int, view: dict[str, Any], needed: int) -> int:
        """What a pool must weigh, by the list of holdings and not by the twin."""

        def worth(shares: int) -> int:
            return int(shares * view["bonded"] // view["shares"]) if view["shares"] else 0

        if view["closed"] or worth(self.least[pool, self.twins[pool].owner]) < needed:
            return 0
        return worth(sum(self.least[pool, who] for who in self.people))

    def teardown(self) -> None:
        """At the end everybody leaves with everything, and nothing is left."""
        if not hasattr(self, "bench"):
            return
        stakes = self.bench.stakes
        for pool, twin in self.twins.items():
            self.close(pool)
            for epoch in list(twin.held):
                stakes.send(self.bench.audits, "release", pool, epoch)
        if not self.winding:
            self.bench.wind_down()
        if not self.ended:
            self.bench.next_epoch()
        for pool in self.twins:
            for who in self.people:
                if self.bench.position(pool, who)["shares"]:
                    stakes.send(who, "unstake", pool, ALL)
            for who in self.people:
                view = self.bench.position(pool, who)
                if view["release_epoch"]:
                    stakes.send(who, "withdraw", pool)
                if view["reward"] or view["stake_reward"]:
                    stakes.send(who, "claim", pool)
        assert stakes.call("books") == {"bonded": 0, "unbonding": 0, "reward": 0, "stake_reward": 0}
        assert self.bench.token.call("balanceOf", stakes.address) == 0
        assert self.bench.credit.call("balanceOf", stakes.address) == 0


TestStakesMachine = StakesMachine.TestCase
TestStakesMachine.settings = settings(
    max_examples=5, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
