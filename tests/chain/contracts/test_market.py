"""The market's doors: who may do what, when, and what it answers when not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_abi.abi import encode
from eth_utils import keccak
from tests.chain.contracts.arena import (
    CREDIT,
    FOREVER,
    NOTHING,
    SALT,
    TCT,
    TIMELOCK,
    ZERO,
    Arena,
    Params,
    make_row,
    pick,
)
from tests.chain.contracts.evm import Reverted

from tercet.market.epoch import FULL, close_market_epoch, pack_row
from tercet.market.treasury import POKE_BPS


def settle(params: Params | None = None, miners: int = 3, validators: int = 3) -> Arena:
    """A market whose members are here for an epoch, so that their stake counts."""
    arena = Arena(params)
    for _ in range(miners):
        arena.add_miner()
    for _ in range(validators):
        arena.add_validator()
    arena.skip_epoch()
    return arena


@pytest.fixture
def arena() -> Arena:
    """Three validators, three miners, epoch 1."""
    return settle()


ROW = make_row([10_000, 20_000, 30_000], 4)


# --- Registration ---


def test_miners_take_the_lowest_free_slot_and_a_new_generation(arena: Arena) -> None:
    assert sorted(arena.miners) == [1, 2, 3]
    arena.market.send(arena.miners[2].owner, "leave_miner", 2)
    assert arena.add_miner().slot == 2
    generations = arena.market.call("get_generations")
    assert generations[:4] == (0, 1, 7, 3)
    assert arena.market.call("generation") == 7


def test_the_view_of_miners_shows_slots_that_are_held(arena: Arena) -> None:
    arena.market.send(arena.miners[2].owner, "leave_miner", 2)
    first, third = arena.market.call("get_miners", 0, 64)
    assert (first["uid"], third["uid"]) == (1, 3)
    assert first["owner"] == arena.miners[1].owner.lower()
    assert first["endpoint"] == "http://127.0.0.1:8091"
    assert arena.market.call("uid_of", arena.miners[3].operator) == 3


def test_a_market_without_a_free_slot_refuses() -> None:
    arena = Arena(Params(max_miners=2))
    arena.add_miner()
    arena.add_miner()
    with pytest.raises(Reverted, match="market: no free miner slot"):
        arena.add_miner()


def test_an_operator_serves_one_miner_and_one_validator(arena: Arena) -> None:
    miner, validator = arena.miners[1], arena.validators[0]
    with pytest.raises(Reverted, match="market: operator already in use"):
        arena.market.send(arena.bank, "register_miner", miner.operator, "", FOREVER)
    with pytest.raises(Reverted, match="market: operator already in use"):
        arena.market.send(arena.bank, "register_validator", validator.operator, 1_000 * TCT, 0)
    with pytest.raises(Reverted, match="market: operator is the zero address"):
        arena.market.send(arena.bank, "register_miner", ZERO, "", FOREVER)


def test_a_part_of_the_price_is_burned_and_the_deposit_comes_back_to_the_owner_only(arena: Arena) -> None:
    supply = arena.token.call("totalSupply")
    miner = arena.add_miner()
    assert arena.token.call("totalSupply") == supply - 5 * TCT
    with pytest.raises(Reverted, match="market: caller is not the slot's owner"):
        arena.market.send(miner.operator, "leave_miner", miner.slot)
    receipt = arena.market.send(miner.owner, "leave_miner", miner.slot)
    assert pick(receipt.logs, "MinerLeft") == [{"uid": 4, "owner": miner.owner.lower(), "deposit": 5 * TCT}]
    assert arena.token.call("balanceOf", miner.owner) == 5 * TCT
    with pytest.raises(Reverted, match="market: caller is not the slot's owner"):
        arena.market.send(miner.owner, "leave_miner", miner.slot)


def test_a_registration_without_tokens_fails_whole(arena: Arena) -> None:
    with pytest.raises(Reverted, match="erc20: allowance too small"):
        arena.market.send(arena.ledger.account("poor_miner"), "register_miner", arena.ledger.account(), "", FOREVER)
    assert arena.market.call("status")["columns"] == 4


def test_owners_replace_operators_and_both_set_the_endpoint(arena: Arena) -> None:
    miner, new = arena.miners[1], arena.ledger.account("new operator")
    arena.market.send(miner.owner, "set_miner_operator", 1, new)
    assert arena.market.call("uid_of", new) == 1
    assert arena.market.call("uid_of", miner.operator) == 0
    with pytest.raises(Reverted, match="market: caller is not the slot's owner"):
        arena.market.send(miner.operator, "set_endpoint", 1, "http://thief")
    arena.market.send(new, "set_endpoint", 1, "x" * 128)
    assert arena.market.call("get_miners", 1, 1)[0]["endpoint"] == "x" * 128

    validator = arena.validators[0]
    with pytest.raises(Reverted, match="market: caller is not the slot's owner"):
        arena.market.send(validator.operator, "set_validator_operator", 0, new)
    arena.market.send(validator.owner, "set_validator_operator", 0, new)
    assert arena.market.call("vid_of", new) == 0
    with pytest.raises(Reverted, match="market: caller is not a validator's operator"):
        arena.market.call("vid_of", validator.operator)


def test_an_owner_revokes_an_operator_whose_key_is_lost(arena: Arena) -> None:
    """The zero address speaks for nobody, and any number of owners may be without an operator."""
    for uid in (1, 2):
        arena.market.send(arena.miners[uid].owner, "set_miner_operator", uid, ZERO)
    for vid in (0, 1):
        arena.market.send(arena.validators[vid].owner, "set_validator_operator", vid, ZERO)
    assert arena.market.call("uid_of", ZERO) == arena.market.call("uid_of", arena.miners[1].operator) == 0
    with pytest.raises(Reverted, match="market: caller is not the slot's owner"):
        arena.market.send(arena.miners[1].operator, "set_endpoint", 1, "http://thief")
    with pytest.raises(Reverted, match="market: caller is not a validator's operator"):
        arena.commit(arena.validators[0], ROW)
    arena.market.send(arena.miners[1].owner, "leave_miner", 1)
    arena.market.send(arena.validators[0].owner, "leave_validator", 0)
    arena.market.send(arena.miners[2].owner, "set_miner_operator", 2, arena.miners[1].operator)
    assert arena.market.call("uid_of", arena.miners[1].operator) == 2


# --- The price of a slot ---


def test_the_price_rises_by_registrations_and_halves_in_its_half_life() -> None:
    arena = Arena(Params(min_price=8 * TCT, max_price=10 * TCT, price_half_life=1_000))
    assert arena.market.call("price") == 8 * TCT
    arena.add_miner()
    assert arena.market.call("price") == 9 * TCT
    arena.ledger.now += 100
    assert arena.market.call("price") == 9 * TCT - 9 * TCT * 100 // 2_000
    arena.ledger.now -= 100
    arena.add_miner()
    assert arena.market.call("price") == arena.market.call("status")["price"] == 10 * TCT, "at most max_price"
    arena.ledger.now += 1_000
    assert arena.market.call("price") == 8 * TCT, "at least min_price"


def test_nobody_pays_more_than_it_said() -> None:
    arena = Arena(Params(min_price=8 * TCT, max_price=100 * TCT))
    late_miner = arena.ledger.account("late_miner")
    arena.give_stake_token(late_miner, 100 * TCT)
    arena.add_miner()
    with pytest.raises(Reverted, match="market: price above the limit"):
        arena.market.send(late_miner, "register_miner", late_miner, "", 9 * TCT - 1)
    arena.market.send(late_miner, "register_miner", late_miner, "", 9 * TCT)
    assert arena.token.call("balanceOf", late_miner) == 91 * TCT


# --- Waiting for a slot, and giving way ---

SMALL = Params(max_miners=3, min_price=8 * TCT, max_price=100 * TCT, price_half_life=10**6)


def weigh(arena: Arena, weights: list[int]) -> None:
    """An epoch in which all validators give the miners these weights."""
    arena.vote(dict.fromkeys(arena.validators, make_row(weights, arena.market.call("status")["columns"])))
    arena.close()


def owners(arena: Arena) -> list[str]:
    """By uid, who holds the slots."""
    return [view["owner"] for view in arena.market.call("get_miners", 0, 64)]


def test_the_weakest_miner_gives_way_to_an_applicant_at_the_epochs_end() -> None:
    arena = settle(SMALL)
    weigh(arena, [10_000, 20_000, 15_000])
    applicant = arena.add_applicant()
    assert arena.market.call("get_applicants") == (applicant.operator.lower(),)
    supply, generation = arena.token.call("totalSupply"), arena.as_of()
    paid = arena.market.call("get_application", applicant.operator)["paid"]
    loser = arena.miners[3]
    arena.vote(dict.fromkeys(range(3), make_row([20_000, 10_000, 5_000], 4)))
    _, receipts = arena.close()
    (evicted,) = pick(receipts[-1].logs, "MinerEvicted")
    assert (evicted["uid"], evicted["owner"]) == (3, loser.owner.lower())
    (seated,) = pick(receipts[-1].logs, "MinerRegistered")
    assert (seated["uid"], seated["owner"], seated["generation"]) == (3, applicant.owner.lower(), generation + 1)
    assert seated["deposit"] == paid // 2
    assert arena.token.call("totalSupply") == supply - (paid - paid // 2)
    assert arena.market.call("uid_of", applicant.operator) == 3
    assert arena.market.call("uid_of", loser.operator) == 0
    assert arena.market.call("get_applicants") == ()
    assert arena.market.send(loser.owner, "claim_deposit").value == evicted["deposit"]
    with pytest.raises(Reverted, match="market: nothing to claim"):
        arena.market.send(loser.owner, "claim_deposit")
    # It came after all bonds and weights of the epoch, so it inherits none.
    assert arena.market.call("closed_generation") == generation


def test_of_equals_the_oldest_gives_way() -> None:
    arena = settle(SMALL)
    weigh(arena, [20_000, 20_000, 20_000])
    first, second = arena.add_applicant(), arena.add_applicant()
    weigh(arena, [20_000, 10_000, 10_000])
    assert owners(arena)[1:] == [first.owner.lower(), second.owner.lower()]
    assert owners(arena)[0] == arena.miners[1].owner.lower()


def test_a_newcomer_is_measured_for_a_whole_epoch_before_it_can_be_evicted() -> None:
    """It came in epoch 2: weights of epoch 3 are the first to judge it, those of epoch 4 can cost its slot."""
    arena = settle(replace(SMALL, max_miners=2), miners=1)
    arena.skip_epoch()
    newcomer = arena.add_miner()
    applicant = arena.add_applicant()
    weigh(arena, [60_000, 0])
    assert owners(arena) == [applicant.owner.lower(), newcomer.owner.lower()], "the other one goes, best as it is"
    second = arena.add_applicant()
    weigh(arena, [60_000, 0])
    assert newcomer.owner.lower() in owners(arena)
    weigh(arena, [60_000, 0])
    assert owners(arena) == [applicant.owner.lower(), second.owner.lower()]


def test_eviction_stops_at_the_floor() -> None:
    arena = settle(replace(SMALL, floor_miners=2))
    weigh(arena, [10_000, 20_000, 30_000])
    applicants = [arena.add_applicant() for _ in range(2)]
    weigh(arena, [10_000, 20_000, 30_000])
    assert owners(arena) == [applicants[0].owner.lower(), arena.miners[2].owner.lower(), arena.miners[3].owner.lower()]
    assert arena.market.call("get_applicants") == (applicants[1].operator.lower(),)


def test_an_epoch_without_consensus_evicts_nobody() -> None:
    arena = settle(SMALL)
    weigh(arena, [10_000, 20_000, 30_000])
    arena.add_applicant()
    before = owners(arena)
    arena.skip_epoch()
    assert owners(arena) == before
    arena.vote({vid: [FULL] for vid in range(3)})
    arena.close()
    assert owners(arena) != before, "all votes for unspent are a judgement"


def test_a_free_slot_goes_to_an_applicant_without_an_eviction() -> None:
    arena = settle(SMALL)
    applicant = arena.add_applicant()
    arena.market.send(arena.miners[2].owner, "leave_miner", 2)
    arena.skip_epoch()
    assert owners(arena)[1] == applicant.owner.lower()
    assert len(owners(arena)) == 3


def test_an_application_waits_for_the_epochs_end_and_then_its_price_comes_back() -> None:
    """Who could leave the queue just before the closing would fill it, and raise the price, for nothing."""
    arena = settle(SMALL)
    applicant, other = arena.add_applicant(), arena.add_applicant()
    paid = arena.market.call("get_application", applicant.operator)["paid"]
    with pytest.raises(Reverted, match="market: application is too young"):
        arena.market.send(applicant.owner, "withdraw_application", applicant.operator)
    arena.skip_epoch()
    with pytest.raises(Reverted, match="market: caller is not the slot's owner"):
        arena.market.send(other.owner, "withdraw_application", applicant.operator)
    arena.market.send(applicant.owner, "withdraw_application", applicant.operator)
    assert arena.token.call("balanceOf", applicant.owner) == paid
    assert arena.market.call("get_applicants") == (other.operator.lower(),)
    with pytest.raises(Reverted, match="market: caller is not the slot's owner"):
        arena.market.send(applicant.owner, "withdraw_application", applicant.operator)


def test_sixteen_may_wait_each_with_its_own_key() -> None:
    arena = settle(SMALL)
    for _ in range(16):
        applicant = arena.add_applicant()
    with pytest.raises(Reverted, match="market: too many applicants"):
        arena.add_applicant()
    for taken in (applicant.operator, arena.miners[1].operator):
        with pytest.raises(Reverted, match="market: operator already in use"):
            arena.market.send(arena.bank, "apply_miner", taken, "", FOREVER)
    with pytest.raises(Reverted, match="market: operator already in use"):
        arena.market.send(arena.miners[1].owner, "set_miner_operator", 1, applicant.operator)
    arena.market.send(arena.miners[1].owner, "leave_miner", 1)
    with pytest.raises(Reverted, match="market: a miner slot is free"):
        arena.add_applicant()


# --- Seats, effective stake, permits and the cap ---


def test_stake_counts_from_the_epoch_after_it_came() -> None:
    """So the first epoch of a market agrees on nothing, and its reward goes back."""
    arena = Arena()
    arena.add_miner()
    arena.add_validator()
    arena.add_sponsor(100 * CREDIT, 10)
    arena.vote({0: [0, FULL]})
    outcome, _ = arena.close()
    assert (outcome.total_weight, outcome.consensus) == (0, (0, 0))
    arena.vote({0: [0, FULL]})
    outcome, _ = arena.close()
    assert (outcome.total_weight, outcome.consensus) == (1_000 * 10**6, (0, FULL))


def test_what_is_unstaked_before_the_closing_does_not_vote(arena: Arena) -> None:
    validator = arena.validators[0]
    arena.vote(dict.fromkeys(range(3), ROW))
    arena.stakes.send(validator.owner, "unstake", validator.pool, 400 * TCT)
    outcome, _ = arena.close()
    assert outcome.weights == (600 * 10**6, 1_000 * 10**6, 1_000 * 10**6)
    assert [arena.market.call("weight_of", vid) for vid in range(3)] == list(outcome.weights)
    assert arena.market.call("closing_weight") == outcome.total_weight


def test_delegated_stake_votes_with_its_validator(arena: Arena) -> None:
    arena.add_delegation(1, 500 * TCT)
    arena.vote(dict.fromkeys(range(3), ROW))
    assert arena.close()[0].weights == (1_000 * 10**6,) * 3, "pending"
    arena.vote(dict.fromkeys(range(3), ROW))
    assert arena.close()[0].weights == (1_000 * 10**6, 1_500 * 10**6, 1_000 * 10**6)


def test_nobody_weighs_more_than_the_cap() -> None:
    """20 % of all stake before the cap: one whale among four."""
    arena = Arena(Params(weight_cap_bps=2_000))
    arena.add_miner()
    for stake in (7_000, 1_000, 1_000, 1_000):
        arena.add_validator(stake * TCT)
    arena.skip_epoch()
    arena.vote({0: [0, FULL], 1: [FULL], 2: [FULL], 3: [FULL]})
    outcome, _ = arena.close()
    assert outcome.weights == (2_000 * 10**6, 1_000 * 10**6, 1_000 * 10**6, 1_000 * 10**6)
    assert outcome.consensus == (FULL, 0)


def test_only_the_strongest_hold_a_permit_and_of_equals_the_oldest() -> None:
    arena = Arena(Params(max_validators=2))
    arena.add_miner()
    for stake in (900, 1_000, 1_100, 1_000):
        arena.add_validator(stake * TCT)
    arena.add_sponsor(100 * CREDIT, 10)
    arena.skip_epoch()
    arena.vote({vid: [0, FULL] for vid in range(4)})
    outcome, _ = arena.close()
    assert outcome.weights == (0, 1_000 * 10**6, 1_100 * 10**6, 0)
    assert outcome.validator_pay[0] == outcome.validator_pay[3] == 0 < outcome.validator_pay[1]
    # A permit goes to those who take part: a silent one leaves its own to the next.
    for _ in range(3):
        arena.vote({vid: [0, FULL] for vid in (0, 1, 3)})
        outcome, _ = arena.close()
    assert outcome.weights == (0, 1_000 * 10**6, 0, 1_000 * 10**6)


@pytest.mark.slow
def test_a_larger_stake_takes_the_weakest_of_64_seats() -> None:
    arena = Arena()
    for vid in range(64):
        arena.add_validator((200 - vid if vid != 5 else 150) * TCT)
    arena.commit(arena.validators[63], ROW)
    for stake in (137, 136):
        with pytest.raises(Reverted, match="market: no free validator slot"):
            arena.add_validator(stake * TCT)
    old = arena.validators[63]
    new = arena.add_validator(138 * TCT)
    assert (new.slot, arena.stakes.call("get_pool", old.pool)["closed"]) == (63, True)
    with pytest.raises(Reverted, match="market: caller is not a validator's operator"):
        arena.reveal(old, ROW)
    assert arena.stakes.send(old.owner, "unstake", old.pool, FOREVER).value == 137 * TCT
    arena.ledger.now += arena.params.commit_seconds
    with pytest.raises(Reverted, match="market: no free validator slot"):
        arena.add_validator(1_000 * TCT)


def test_a_seat_needs_its_own_stake_and_a_modest_take(arena: Arena) -> None:
    with pytest.raises(Reverted, match="stakes: own stake below the minimum"):
        arena.add_validator(100 * TCT - 1)
    with pytest.raises(Reverted, match="stakes: take above the maximum"):
        arena.add_validator(take_bps=2_001)
    assert arena.market.call("get_validator", 3)["pool"] == 0


def test_who_leaves_the_seat_takes_the_stake_out_at_stakes(arena: Arena) -> None:
    validator = arena.validators[0]
    with pytest.raises(Reverted, match="market: caller is not the slot's owner"):
        arena.market.send(validator.operator, "leave_validator", 0)
    receipt = arena.market.send(validator.owner, "leave_validator", 0)
    assert pick(receipt.logs, "ValidatorLeft")[0]["pool"] == validator.pool
    arena.stakes.send(validator.owner, "unstake", validator.pool, FOREVER)
    for _ in range(3):
        with pytest.raises(Reverted, match="stakes: still unbonding"):
            arena.stakes.send(validator.owner, "withdraw", validator.pool)
        arena.skip_epoch()
    arena.stakes.send(validator.owner, "withdraw", validator.pool)
    assert arena.token.call("balanceOf", validator.owner) == 1_000 * TCT


def test_nobody_leaves_while_its_newest_row_can_be_audited(arena: Arena) -> None:
    """In the epoch of the reveal and the one after it; a liar's evidence must outlive the liar's wish to go."""
    validator = arena.validators[0]
    arena.commit(validator, ROW)
    arena.ledger.now += arena.params.commit_seconds
    arena.reveal(validator, ROW)
    with pytest.raises(Reverted, match="market: row can still be audited"):
        arena.market.send(validator.owner, "leave_validator", 0)
    arena.ledger.now += arena.params.reveal_seconds
    arena.close()
    with pytest.raises(Reverted, match="market: row can still be audited"):
        arena.market.send(validator.owner, "leave_validator", 0)
    arena.skip_epoch()
    arena.market.send(validator.owner, "leave_validator", 0)


def test_more_stake_than_lanes_can_carry_is_refused() -> None:
    """A market on another token than ours is bounded too: 2**48 units of 10**12."""
    rich = Arena(Params(min_stake=10**12))
    token = rich.ledger.deploy("Credit", rich.bank)  # mints without a cap
    blueprints = tuple(rich.registry.call("blueprints").values())
    registry = rich.ledger.deploy("Registry", token.address, blueprints, 0, 0, ZERO, ZERO)
    opening = registry.send(rich.opener, "open_market", token.address, "m", rich.params.tuple())
    market = rich.ledger.attach("Market", opening.value)
    too_much = 2**48 * 10**12
    token.send(rich.bank, "mint", rich.opener, too_much)
    token.send(rich.opener, "approve", market.call("stakes"), too_much)
    with pytest.raises(Reverted, match="stakes: total stake too large"):
        market.send(rich.opener, "register_validator", rich.opener, too_much, 0)
    market.send(rich.opener, "register_validator", rich.opener, too_much - 1, 0)


# --- Commit and reveal ---


def test_a_row_is_committed_once_then_revealed_once(arena: Arena) -> None:
    validator = arena.validators[0]
    receipt = arena.commit(validator, ROW)
    assert pick(receipt.logs, "WeightsCommitted")[0]["generation"] == 6
    with pytest.raises(Reverted, match="market: already committed"):
        arena.commit(validator, ROW)
    with pytest.raises(Reverted, match="market: not in the reveal phase"):
        arena.reveal(validator, ROW)
    arena.ledger.now += arena.params.commit_seconds
    with pytest.raises(Reverted, match="market: not in the commit phase"):
        arena.commit(arena.validators[1], ROW)
    receipt = arena.reveal(validator, ROW)
    assert pick(receipt.logs, "WeightsRevealed")[0]["words"] == tuple(pack_row(ROW))
    assert arena.market.call("get_row", 0) == tuple(pack_row(ROW))
    with pytest.raises(Reverted, match="market: already revealed"):
        arena.reveal(validator, ROW)
    with pytest.raises(Reverted, match="market: nothing committed"):
        arena.reveal(arena.validators[1], ROW)
    with pytest.raises(Reverted, match="market: caller is not a validator's operator"):
        arena.market.send(validator.owner, "commit", b"\0" * 32)


def test_a_reveal_must_match_its_commit(arena: Arena) -> None:
    """Other words, salt, evidence or as_of, or another validator's digest, open nothing."""
    copier = arena.validators[1]
    arena.commit(arena.validators[0], ROW)
    digest = arena.digest(arena.validators[0], 6, pack_row(ROW))
    arena.market.send(copier.operator, "commit", digest)
    arena.ledger.now += arena.params.commit_seconds
    words = pack_row(ROW)
    for member, arguments in (
        (copier, (6, 1, SALT, NOTHING, words)),
        (arena.validators[0], (5, 1, SALT, NOTHING, words)),
        (arena.validators[0], (6, 1, NOTHING, NOTHING, words)),
        (arena.validators[0], (6, 1, SALT, SALT, words)),
        (arena.validators[0], (6, 1, SALT, NOTHING, [words[0] + 1])),
        (arena.validators[0], (6, 1, SALT, NOTHING, [*words, 0])),
    ):
        with pytest.raises(Reverted, match="market: reveal does not match the commit"):
            arena.market.send(member.operator, "reveal", *arguments)


def test_a_measurement_cannot_be_later_than_its_commit(arena: Arena) -> None:
    arena.commit(arena.validators[0], ROW, as_of=7)
    arena.add_miner()
    arena.ledger.now += arena.params.commit_seconds
    with pytest.raises(Reverted, match="market: as_of is later than the commit"):
        arena.reveal(arena.validators[0], ROW, as_of=7)


def test_a_reveal_names_the_mechanisms_version(arena: Arena) -> None:
    """Who measured by older rules than the market's does not vote."""
    arena.commit(arena.validators[0], ROW)
    arena.ledger.now += arena.params.commit_seconds
    with pytest.raises(Reverted, match="market: wrong mechanism version"):
        arena.market.send(arena.validators[0].operator, "reveal", 6, 2, SALT, NOTHING, pack_row(ROW))


def test_a_reveal_leaves_evidence_and_feeds_the_beacon(arena: Arena) -> None:
    validator, evidence = arena.validators[0], keccak(text="log")
    arena.market.send(validator.operator, "commit", arena.digest(validator, 6, pack_row(ROW), evidence=evidence))
    arena.ledger.now += arena.params.commit_seconds
    arena.market.send(validator.operator, "reveal", 6, 1, SALT, evidence, pack_row(ROW))
    assert arena.market.call("get_validator", 0)["evidence"] == evidence
    assert arena.market.call("get_validators")[0] == arena.market.call("get_validator", 0)
    arena.ledger.now += arena.params.reveal_seconds
    assert arena.market.call("beacon", 1) == NOTHING, "not before the epoch is closed"
    arena.close()
    entropy = keccak(NOTHING + SALT)
    expected = keccak(encode(["bytes32", "uint256", "address"], [entropy, 1, arena.market.address]))
    assert arena.market.call("beacon", 1) == expected
    arena.skip_epoch()
    assert arena.market.call("beacon", 1) == NOTHING, "only the newest one is known"


@pytest.mark.parametrize("row", [[0], [FULL - 1], [FULL, 1], [FULL] * 256, [1] * 256])
def test_a_row_must_sum_to_the_whole(arena: Arena, row: list[int]) -> None:
    arena.commit(arena.validators[0], row)
    arena.ledger.now += arena.params.commit_seconds
    with pytest.raises(Reverted, match="market: row sum is not 65535"):
        arena.reveal(arena.validators[0], row)


def test_rows_of_any_length_count(arena: Arena) -> None:
    """Short rows end in zeros; long ones spend on slots that nobody holds."""
    arena.vote({0: [FULL], 1: [0, FULL], 2: [*[257 for _ in range(255)]]})
    outcome, _ = arena.close()
    assert outcome.consensus == (257, 257, 0, 0)


# --- Closing ---


def test_the_phases_follow_the_clock(arena: Arena) -> None:
    assert arena.market.call("status")["phase"] == 0
    with pytest.raises(Reverted, match="market: epoch is not over"):
        arena.market.send(arena.opener, "begin_close")
    arena.vote({0: ROW})
    assert arena.market.call("status")["phase"] == 2
    with pytest.raises(Reverted, match="market: epoch is not closing"):
        arena.market.send(arena.opener, "settle_pages", 0, [0])
    with pytest.raises(Reverted, match="market: epoch is not closing"):
        arena.market.send(arena.opener, "finish_close")
    arena.market.send(arena.opener, "begin_close")
    assert arena.market.call("status")["phase"] == 3
    with pytest.raises(Reverted, match="market: epoch is closing"):
        arena.market.send(arena.opener, "begin_close")


def test_while_closing_nobody_comes_or_goes(arena: Arena) -> None:
    arena.vote({0: ROW})
    sponsor, number = arena.add_sponsor(100 * CREDIT, 10)
    arena.market.send(arena.opener, "begin_close")
    owner = arena.validators[0].owner
    for sender, *call in (
        (arena.bank, "register_miner", arena.bank, "", FOREVER),
        (arena.bank, "apply_miner", arena.bank, "", FOREVER),
        (arena.bank, "withdraw_application", arena.bank),
        (arena.bank, "register_validator", arena.bank, 1_000 * TCT, 0),
        (arena.miners[1].owner, "leave_miner", 1),
        (owner, "leave_validator", 0),
        (arena.opener, "wind_down"),
    ):
        with pytest.raises(Reverted, match="market: epoch is closing"):
            arena.market.send(sender, *call)
    for name, *arguments in (("sponsor", CREDIT, 1), ("cancel", number), ("fund", 1)):
        with pytest.raises(Reverted, match="treasury: epoch is closing"):
            arena.treasury.send(sponsor, str(name), *arguments)


def test_miners_can_be_paid_in_a_transaction_of_their_own(arena: Arena) -> None:
    """In a large market both payouts together are too much for one; it changes nothing of what is paid."""
    arena.add_sponsor(100 * CREDIT, 10)
    arena.vote(dict.fromkeys(range(3), ROW))
    outcome = close_market_epoch(arena.state())
    arena.market.send(arena.opener, "begin_close")
    with pytest.raises(Reverted, match="market: pages are not settled"):
        arena.market.send(arena.bank, "pay_miners")
    arena.market.send(arena.opener, "settle_pages", 0, outcome.hints)
    receipt = arena.market.send(arena.bank, "pay_miners")
    assert [row["amount"] for row in pick(receipt.logs, "MinerRewarded")] == list(outcome.miner_pay[1:])
    with pytest.raises(Reverted, match="treasury: miners are paid"):
        arena.market.send(arena.bank, "pay_miners")
    with pytest.raises(Reverted, match="market: no such page"):
        arena.market.send(arena.bank, "settle_pages", 2, [])
    receipt = arena.market.send(arena.opener, "finish_close")
    assert pick(receipt.logs, "MinerRewarded") == []
    (paid,) = pick(receipt.logs, "EpochPaid")
    assert (paid["to_miners"], paid["to_validators"]) == (sum(outcome.miner_pay), sum(outcome.validator_pay))
    assert arena.epoch == 2


def test_stake_that_moves_while_closing_changes_nothing(arena: Arena) -> None:
    """The weights are fixed when it begins; who unstakes then has voted, and forgoes the pay of what it took."""
    arena.add_sponsor(100 * CREDIT, 10)
    arena.vote(dict.fromkeys(range(3), ROW))
    hints = close_market_epoch(arena.state()).hints
    arena.market.send(arena.opener, "begin_close")
    validator = arena.validators[0]
    arena.stakes.send(validator.owner, "unstake", validator.pool, 900 * TCT)
    arena.add_delegation(1, 5_000 * TCT)
    arena.market.send(arena.opener, "settle_pages", 0, hints)
    receipt = arena.market.send(arena.opener, "finish_close")
    pay = {row["pool"]: row["amount"] for row in pick(receipt.logs, "Rewarded")}
    assert pay[validator.pool] == pay[arena.validators[1].pool] == pay[arena.validators[2].pool]


def test_who_closes_an_epoch_is_paid_for_each_step(arena: Arena) -> None:
    """Half a per cent of the reward, in equal parts for the beginning, each page and the end."""
    arena.add_sponsor(120 * CREDIT, 10)
    arena.vote(dict.fromkeys(range(3), ROW))
    hints = close_market_epoch(arena.state()).hints
    first, second, third = (arena.ledger.account("poker") for _ in range(3))
    arena.market.send(first, "begin_close")
    arena.market.send(second, "settle_pages", 0, [])
    arena.market.send(second, "settle_pages", 0, hints)
    arena.market.send(third, "finish_close")
    step = 12 * CREDIT * POKE_BPS // 10_000 // 3
    assert [arena.treasury.call("owed", arena.credit.address, poker) for poker in (first, second, third)] == [step] * 3
    arena.vote(dict.fromkeys(range(3), ROW))
    reward = arena.treasury.call("reward")
    arena.market.send(first, "close_epoch", close_market_epoch(arena.state()).hints)
    assert arena.treasury.send(first, "withdraw").value[0] == step + reward * POKE_BPS // 10_000 // 3 * 3


def test_pages_go_in_order_and_once() -> None:
    """Two pokers at once: the slower one's transactions revert and change nothing."""
    arena = Arena()
    for _ in range(17):
        arena.add_miner()
    arena.add_validator()
    arena.skip_epoch()
    arena.vote({0: make_row([3_000] * 17, 18)})
    hints = close_market_epoch(arena.state()).hints
    arena.market.send(arena.opener, "begin_close")
    with pytest.raises(Reverted, match="market: page is not the next one"):
        arena.market.send(arena.opener, "settle_pages", 1, hints[1:])
    arena.market.send(arena.opener, "settle_pages", 0, hints[:1])
    with pytest.raises(Reverted, match="market: page is not the next one"):
        arena.market.send(arena.bank, "settle_pages", 0, hints[:1])
    with pytest.raises(Reverted, match="market: pages are not settled"):
        arena.market.send(arena.opener, "finish_close")
    with pytest.raises(Reverted, match="market: no such page"):
        arena.market.send(arena.opener, "settle_pages", 1, [*hints[1:], 0])
    arena.market.send(arena.bank, "settle_pages", 1, hints[1:])
    arena.market.send(arena.opener, "finish_close")
    assert arena.epoch == 2


def test_a_small_market_closes_in_one_transaction(arena: Arena) -> None:
    arena.add_sponsor(100 * CREDIT, 10)
    arena.vote({0: ROW, 1: ROW})
    outcome = close_market_epoch(arena.state())
    receipt = arena.market.send(arena.opener, "close_epoch", outcome.hints)
    assert pick(receipt.logs, "EpochPaid")[0]["to_miners"] == sum(outcome.miner_pay)
    paid = {row["pool"]: row["amount"] for row in pick(receipt.logs, "Rewarded")}
    assert [paid.get(arena.validators[vid].pool, 0) for vid in range(3)] == list(outcome.validator_pay)
    assert arena.epoch == 2


@pytest.mark.parametrize("uid", range(4))
def test_a_wrong_hint_is_refused_on_either_side(arena: Arena, uid: int) -> None:
    arena.vote({0: ROW, 1: make_row([9_000, 21_000, 30_000], 4)})
    hint = close_market_epoch(arena.state()).hints[0]
    arena.market.send(arena.opener, "begin_close")
    with pytest.raises(Reverted, match="market: consensus hint too high"):
        arena.market.send(arena.opener, "settle_pages", 0, [hint + (1 << 16 * uid)])
    with pytest.raises(Reverted, match="market: consensus hint too low"):
        arena.market.send(arena.opener, "settle_pages", 0, [hint - (1 << 16 * uid)])
    with pytest.raises(Reverted, match="market: consensus hint too high"):
        arena.market.send(arena.opener, "settle_pages", 0, [hint | (1 << 16 * 9)])


# --- What an epoch means ---


def test_without_validators_the_reward_goes_back(arena: Arena) -> None:
    """All down: nobody committed, the epoch closes all the same; only who closes it is paid."""
    sponsor, number = arena.add_sponsor(100 * CREDIT, 10)
    arena.vote({})
    outcome, receipts = arena.close()
    refunded = pick(receipts[-1].logs, "EpochPaid")[0]["refunded"]
    assert 10 * CREDIT - refunded == 10 * CREDIT * POKE_BPS // 10_000 // 3 * 3
    assert outcome.refund == 10 * CREDIT * (10_000 - POKE_BPS) // 10_000 <= refunded
    assert arena.treasury.send(sponsor, "claim_refund", number).value == refunded


def test_a_vote_for_unspent_returns_that_share(arena: Arena) -> None:
    arena.add_sponsor(100 * CREDIT, 10)
    half = make_row([20_000, 12_767, 0], 4)
    arena.vote(dict.fromkeys(range(3), half))
    outcome, receipts = arena.close()
    paid = pick(receipts[-1].logs, "EpochPaid")[0]
    assert outcome.refund <= paid["refunded"] <= outcome.refund + 3, "what three steps of closing leave of their part"
    assert abs(outcome.refund - 5 * CREDIT * (10_000 - POKE_BPS) // 10_000) < 100
    assert outcome.miner_pay[3] == 0


def test_who_does_not_reveal_counts_but_earns_nothing(arena: Arena) -> None:
    """Two of three reveal: 2/3 of the stake is above kappa, so there is a consensus; the silent one gets nothing."""
    arena.add_sponsor(100 * CREDIT, 10)
    arena.vote(dict.fromkeys(range(3), ROW), silent=[2])
    outcome, _ = arena.close()
    assert outcome.total_weight == 3_000 * 10**6
    assert outcome.consensus == tuple(ROW)
    assert outcome.validator_pay[2] == 0 < outcome.validator_pay[0]


def test_one_revealer_of_three_has_no_majority(arena: Arena) -> None:
    arena.vote(dict.fromkeys(range(3), ROW), silent=[1, 2])
    outcome, _ = arena.close()
    assert outcome.consensus == (0, 0, 0, 0)


def test_a_silent_validator_drops_out_after_the_activity_epochs(arena: Arena) -> None:
    arena.vote(dict.fromkeys(range(3), ROW))
    totals = [arena.close()[0].total_weight]
    for _ in range(3):
        arena.vote({0: ROW})
        totals.append(arena.close()[0].total_weight)
    assert totals == [3_000 * 10**6, 3_000 * 10**6, 3_000 * 10**6, 1_000 * 10**6]


def test_weights_do_not_pass_to_a_slots_next_holder(arena: Arena) -> None:
    """A miner that takes a slot after the measurement inherits neither weights nor bonds."""
    arena.add_sponsor(100 * CREDIT, 10)
    arena.vote(dict.fromkeys(range(3), ROW))
    arena.close()
    generation = arena.as_of()
    for validator in arena.validators.values():
        arena.commit(validator, ROW, generation)
    arena.market.send(arena.miners[3].owner, "leave_miner", 3)
    late_miner = arena.add_miner()
    assert late_miner.slot == 3
    arena.ledger.now += arena.params.commit_seconds
    for validator in arena.validators.values():
        arena.reveal(validator, ROW, generation)
    arena.ledger.now += arena.params.reveal_seconds
    outcome, _ = arena.close()
    assert outcome.consensus[3] == outcome.miner_pay[3] == 0
    assert arena.bonds(0, 4)[3] == 0
    assert arena.bonds(0, 4)[2] > 0


def test_bonds_do_not_pass_to_a_seats_next_holder(arena: Arena) -> None:
    arena.vote(dict.fromkeys(range(3), ROW))
    arena.close()
    before = arena.bonds(2, 4)
    arena.skip_epoch()
    arena.market.send(arena.validators[2].owner, "leave_validator", 2)
    assert arena.add_validator().slot == 2
    arena.vote({0: ROW, 1: ROW})
    arena.close()
    assert any(before)
    assert arena.bonds(2, 4) == (0, 0, 0, 0)


@pytest.mark.parametrize(("alpha", "epochs"), [(10**18, 1), (5 * 10**17, 40)])
def test_a_constant_weight_is_reached_exactly(alpha: int, epochs: int) -> None:
    """On the contract itself, up and then down; the twin covers the slow rates."""
    arena = Arena(Params(bond_alpha=alpha, commit_seconds=1, reveal_seconds=1))
    arena.add_miner()
    arena.add_miner()
    arena.add_validator()
    arena.skip_epoch()
    for row in (make_row([65_000, 7], 3), make_row([1, 65_000], 3)):
        for _ in range(epochs):
            arena.vote({0: row})
            hints = [pack_row(row)[0]]  # one validator agrees with itself
            arena.market.send(arena.opener, "close_epoch", hints)
        assert arena.bonds(0, 3) == (0, row[1] << 16, row[2] << 16)


# --- Rules, the owner, and winding down ---


def test_new_rules_wait_for_the_timelock_and_never_touch_a_running_epoch(arena: Arena) -> None:
    changed = replace(arena.params, commit_seconds=1_000, min_price=20 * TCT, max_price=20 * TCT, mechanism_version=2)
    arena.rules.send(arena.opener, "propose", changed.tuple())
    arena.skip_epoch()
    assert arena.market.call("status")["commit_ends"] == arena.ledger.now + 60, "too early"
    arena.ledger.now += TIMELOCK
    assert arena.market.call("price") == 10 * TCT, "due, but the epoch runs"
    arena.market.send(arena.opener, "close_epoch", [0])
    assert arena.market.call("status")["commit_ends"] == arena.ledger.now + 1_000
    assert arena.market.call("price") == 20 * TCT
    assert tuple(arena.rules.call("params").values()) == changed.tuple()


def test_the_owner_of_the_rules_winds_the_market_down(arena: Arena) -> None:
    heir = arena.ledger.account("heir")
    arena.rules.send(arena.opener, "transfer_ownership", heir)
    arena.rules.send(heir, "accept_ownership")
    assert arena.market.call("owner") == heir.lower()
    with pytest.raises(Reverted, match="market: caller is not the owner"):
        arena.market.send(arena.opener, "wind_down")
    arena.market.send(heir, "wind_down")


def test_a_market_that_winds_down_lets_everybody_out() -> None:
    arena = Arena(Params(activity_epochs=0, max_miners=1))
    miner, validator = arena.add_miner(), arena.add_validator()
    sponsor, number = arena.add_sponsor(100 * CREDIT, 10)
    arena.skip_epoch()
    applicant = arena.add_applicant()
    delegator = arena.add_delegation(0, 500 * TCT)
    arena.market.send(arena.opener, "wind_down")
    for sender, *call in (
        (arena.bank, "register_miner", arena.bank, "", FOREVER),
        (arena.bank, "apply_miner", arena.bank, "", FOREVER),
        (arena.bank, "register_validator", arena.bank, 1_000 * TCT, 0),
        (arena.opener, "wind_down"),
    ):
        with pytest.raises(Reverted, match="market: winding down"):
            arena.market.send(sender, *call)
    with pytest.raises(Reverted, match="stakes: market is winding down"):
        arena.stakes.send(validator.owner, "stake", validator.pool, 1)
    arena.vote({0: make_row([FULL], 2)})
    outcome, _ = arena.close(poker=arena.opener)
    assert arena.market.call("status")["phase"] == 4
    assert owners(arena) == [miner.owner.lower()], "nobody new comes in with the last epoch"
    with pytest.raises(Reverted, match="market: not in the commit phase"):
        arena.commit(validator, ROW)
    with pytest.raises(Reverted, match="market: epoch is not over"):
        arena.market.send(arena.opener, "begin_close")
    assert outcome.miner_pay[1] == outcome.validator_pay[0] > 0

    for poker in (arena.opener, arena.first_poker):
        arena.treasury.send(poker, "withdraw")
    arena.treasury.send(miner.owner, "withdraw")
    with pytest.raises(Reverted, match="treasury: nothing to withdraw"):
        arena.treasury.send(miner.owner, "withdraw")
    arena.treasury.send(sponsor, "claim_refund", number)
    arena.market.send(miner.owner, "leave_miner", 1)
    arena.market.send(applicant.owner, "withdraw_application", applicant.operator)
    arena.market.send(validator.owner, "leave_validator", 0)
    arena.stakes.send(validator.owner, "claim", validator.pool)
    for who, stake in ((validator.owner, 1_000 * TCT), (delegator, 500 * TCT)):
        arena.stakes.send(who, "unstake", validator.pool, FOREVER)
        arena.stakes.send(who, "withdraw", validator.pool)
        assert arena.token.call("balanceOf", who) == stake
    for contract in (arena.market, arena.stakes, arena.treasury):
        assert arena.credit.call("balanceOf", contract.address) == 0
        assert arena.token.call("balanceOf", contract.address) == 0
