"""The market's doors: who may do what, when, and what it answers when not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.chain.contracts.arena import CREDIT, SALT, TCT, Arena, Params, make_row, pick
from tests.chain.contracts.evm import Reverted

from tercet.market.epoch import FULL, close_market_epoch, pack_row

ZERO = "0x" + "00" * 20


@pytest.fixture
def arena() -> Arena:
    """Three validators, three miners."""
    arena = Arena()
    for _ in range(3):
        arena.add_miner()
        arena.add_validator()
    return arena


ROW = make_row([10_000, 20_000, 30_000], 4)


# --- Registration ---


def test_miners_take_the_lowest_free_slot_and_a_new_generation(arena: Arena) -> None:
    assert sorted(arena.miners) == [1, 2, 3]
    arena.market.send(arena.miners[2].owner, "leave_miner", 2)
    assert arena.add_miner().slot == 2
    generations = arena.market.call("get_generations")
    assert generations[:4] == (0, 1, 7, 5)
    assert arena.market.call("generation") == 7


def test_the_view_of_miners_shows_slots_that_are_held(arena: Arena) -> None:
    arena.market.send(arena.miners[2].owner, "leave_miner", 2)
    first, third = arena.market.call("get_miners", 0, 64)
    assert (first["uid"], third["uid"]) == (1, 3)
    assert first["owner"] == arena.miners[1].owner.lower()
    assert first["endpoint"] == "http://127.0.0.1:8091"
    assert arena.market.call("uid_of", arena.miners[3].operator) == 3


def test_a_market_without_a_free_slot_refuses() -> None:
    arena = Arena(Params(max_miners=2, max_validators=1))
    arena.add_miner()
    arena.add_miner()
    with pytest.raises(Reverted, match="market: no free miner slot"):
        arena.add_miner()
    arena.add_validator()
    with pytest.raises(Reverted, match="market: no free validator slot"):
        arena.add_validator()


def test_an_operator_serves_one_miner_and_one_validator(arena: Arena) -> None:
    miner, validator = arena.miners[1], arena.validators[0]
    with pytest.raises(Reverted, match="market: operator already in use"):
        arena.market.send(arena.bank, "register_miner", miner.operator, "")
    with pytest.raises(Reverted, match="market: operator already in use"):
        arena.market.send(arena.bank, "register_validator", validator.operator, 1_000 * TCT)
    with pytest.raises(Reverted, match="market: operator is the zero address"):
        arena.market.send(arena.bank, "register_miner", ZERO, "")


def test_the_deposit_comes_back_to_the_owner_only(arena: Arena) -> None:
    miner = arena.miners[1]
    with pytest.raises(Reverted, match="market: caller is not the miner's owner"):
        arena.market.send(miner.operator, "leave_miner", 1)
    receipt = arena.market.send(miner.owner, "leave_miner", 1)
    assert pick(receipt.logs, "MinerLeft") == [{"uid": 1, "owner": miner.owner.lower(), "deposit": 10 * TCT}]
    assert arena.token.call("balanceOf", miner.owner) == 10 * TCT
    with pytest.raises(Reverted, match="market: caller is not the miner's owner"):
        arena.market.send(miner.owner, "leave_miner", 1)


def test_a_registration_without_tokens_fails_whole(arena: Arena) -> None:
    with pytest.raises(Reverted, match="erc20: allowance too small"):
        arena.market.send(arena.ledger.account("poor_miner"), "register_miner", arena.ledger.account(), "")
    assert arena.market.call("status")["columns"] == 4


def test_owners_replace_operators_and_both_set_the_endpoint(arena: Arena) -> None:
    miner, new = arena.miners[1], arena.ledger.account("new operator")
    arena.market.send(miner.owner, "set_miner_operator", 1, new)
    assert arena.market.call("uid_of", new) == 1
    assert arena.market.call("uid_of", miner.operator) == 0
    with pytest.raises(Reverted, match="market: caller is not the miner"):
        arena.market.send(miner.operator, "set_endpoint", 1, "http://thief")
    arena.market.send(new, "set_endpoint", 1, "x" * 128)
    assert arena.market.call("get_miners", 1, 1)[0]["endpoint"] == "x" * 128

    validator = arena.validators[0]
    with pytest.raises(Reverted, match="market: caller is not the validator's owner"):
        arena.market.send(validator.operator, "set_validator_operator", 0, new)
    arena.market.send(validator.owner, "set_validator_operator", 0, new)
    assert arena.market.call("vid_of", new) == 0
    with pytest.raises(Reverted, match="market: caller is not a validator's operator"):
        arena.market.call("vid_of", validator.operator)


def test_stake_moves_above_the_minimum(arena: Arena) -> None:
    owner = arena.validators[0].owner
    arena.give_stake_token(owner, 500 * TCT)
    arena.market.send(owner, "stake", 0, 500 * TCT)
    arena.market.send(owner, "unstake", 0, 1_400 * TCT)
    with pytest.raises(Reverted, match="market: stake below the minimum"):
        arena.market.send(owner, "unstake", 0, 1)
    with pytest.raises(Reverted, match="market: more than the stake"):
        arena.market.send(owner, "unstake", 0, 101 * TCT)
    arena.market.send(owner, "leave_validator", 0)
    assert arena.token.call("balanceOf", owner) == 1_500 * TCT
    with pytest.raises(Reverted, match="market: stake below the minimum"):
        arena.add_validator(99 * TCT)


def test_more_stake_than_lanes_can_carry_is_refused() -> None:
    """A market on another token than ours is bounded too: 2**48 units of 10**12."""
    rich = Arena(Params(min_stake=10**12))
    token = rich.ledger.deploy("Credit", rich.bank)  # mints without a cap
    blueprint = rich.ledger.deploy_blueprint("Market")
    registry = rich.ledger.deploy("Registry", token.address, blueprint, 0)
    market_address = registry.send(rich.opener, "open_market", token.address, "m", rich.params.tuple()).value
    market = rich.ledger.attach("Market", market_address)
    too_much = 2**48 * 10**12
    token.send(rich.bank, "mint", rich.opener, too_much)
    token.send(rich.opener, "approve", market.address, too_much)
    with pytest.raises(Reverted, match="market: total stake too large"):
        market.send(rich.opener, "register_validator", rich.opener, too_much)
    market.send(rich.opener, "register_validator", rich.opener, too_much - 1)


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
    """Other words, salt or as_of, or another validator's digest, open nothing."""
    copier = arena.validators[1]
    arena.commit(arena.validators[0], ROW)
    digest = arena.digest(arena.validators[0], 6, pack_row(ROW))
    arena.market.send(copier.operator, "commit", digest)
    arena.ledger.now += arena.params.commit_seconds
    words = pack_row(ROW)
    for member, arguments in (
        (copier, (6, SALT, words)),
        (arena.validators[0], (5, SALT, words)),
        (arena.validators[0], (6, b"\0" * 32, words)),
        (arena.validators[0], (6, SALT, [words[0] + 1])),
        (arena.validators[0], (6, SALT, [*words, 0])),
    ):
        with pytest.raises(Reverted, match="market: reveal does not match the commit"):
            arena.market.send(member.operator, "reveal", *arguments)


def test_a_measurement_cannot_be_later_than_its_commit(arena: Arena) -> None:
    arena.commit(arena.validators[0], ROW, as_of=7)
    arena.add_miner()
    arena.ledger.now += arena.params.commit_seconds
    with pytest.raises(Reverted, match="market: as_of is later than the commit"):
        arena.reveal(arena.validators[0], ROW, as_of=7)


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
        (arena.bank, "register_miner", arena.bank, ""),
        (arena.bank, "register_validator", arena.bank, 1_000 * TCT),
        (arena.miners[1].owner, "leave_miner", 1),
        (owner, "leave_validator", 0),
        (owner, "stake", 0, 1),
        (owner, "unstake", 0, 1),
        (sponsor, "sponsor", CREDIT, 1),
        (sponsor, "cancel", number),
        (arena.opener, "wind_down"),
    ):
        with pytest.raises(Reverted, match="market: epoch is closing"):
            arena.market.send(sender, *call)


def test_pages_go_in_order_and_once() -> None:
    """Two pokers at once: the slower one's transactions revert and change nothing."""
    arena = Arena()
    for _ in range(17):
        arena.add_miner()
    arena.add_validator()
    arena.vote({0: make_row([3_000] * 17, 18)})
    hints = close_market_epoch(arena.state()).hints
    arena.market.send(arena.opener, "begin_close")
    with pytest.raises(Reverted, match="market: page is not the next one"):
        arena.market.send(arena.opener, "settle_pages", 1, hints[1:])
    arena.market.send(arena.opener, "settle_pages", 0, hints[:1])
    with pytest.raises(Reverted, match="market: page already settled"):
        arena.market.send(arena.bank, "settle_pages", 0, hints[:1])
    with pytest.raises(Reverted, match="market: pages are not all settled"):
        arena.market.send(arena.opener, "finish_close")
    with pytest.raises(Reverted, match="market: no such page"):
        arena.market.send(arena.opener, "settle_pages", 1, [*hints[1:], 0])
    arena.market.send(arena.bank, "settle_pages", 1, hints[1:])
    arena.market.send(arena.opener, "finish_close")
    assert arena.epoch == 1


def test_a_small_market_closes_in_one_transaction(arena: Arena) -> None:
    arena.add_sponsor(100 * CREDIT, 10)
    arena.vote({0: ROW, 1: ROW})
    outcome = close_market_epoch(arena.state())
    receipt = arena.market.send(arena.opener, "close_epoch", outcome.hints)
    assert pick(receipt.logs, "EpochClosed")[0]["refunded"] == outcome.refund
    assert arena.epoch == 1


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
    """All down: nobody committed, the epoch closes all the same."""
    sponsor, number = arena.add_sponsor(100 * CREDIT, 10)
    arena.vote({})
    outcome, receipts = arena.close()
    assert outcome.refund == pick(receipts[-1].logs, "EpochClosed")[0]["refunded"] == 10 * CREDIT
    assert arena.market.send(sponsor, "claim_refund", number).value == 10 * CREDIT


def test_a_vote_for_unspent_returns_that_share(arena: Arena) -> None:
    arena.add_sponsor(100 * CREDIT, 10)
    half = make_row([20_000, 12_767, 0], 4)
    arena.vote(dict.fromkeys(range(3), half))
    outcome, receipts = arena.close()
    closed = pick(receipts[-1].logs, "EpochClosed")[0]
    assert closed["refunded"] == outcome.refund
    assert abs(closed["refunded"] - 5 * CREDIT) < 100
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
    for row in (make_row([65_000, 7], 3), make_row([1, 65_000], 3)):
        for _ in range(epochs):
            arena.vote({0: row})
            hints = [pack_row(row)[0]]  # one validator agrees with itself
            arena.market.send(arena.opener, "close_epoch", hints)
        assert arena.bonds(0, 3) == (0, row[1] << 16, row[2] << 16)


# --- Winding down ---


def test_a_market_that_winds_down_lets_everybody_out() -> None:
    arena = Arena(replace(Params(), activity_epochs=0))
    miner, validator = arena.add_miner(), arena.add_validator()
    sponsor, number = arena.add_sponsor(100 * CREDIT, 10)
    arena.market.send(arena.opener, "wind_down")
    for sender, *call in (
        (arena.bank, "register_miner", arena.bank, ""),
        (arena.bank, "register_validator", arena.bank, 1_000 * TCT),
        (validator.owner, "stake", 0, 1),
        (sponsor, "sponsor", CREDIT, 1),
        (sponsor, "cancel", number),
    ):
        with pytest.raises(Reverted, match="market: winding down"):
            arena.market.send(sender, *call)
    arena.vote({0: make_row([FULL], 2)})
    outcome, _ = arena.close()
    assert arena.market.call("status")["phase"] == 4
    with pytest.raises(Reverted, match="market: not in the commit phase"):
        arena.commit(validator, ROW)
    with pytest.raises(Reverted, match="market: epoch is not over"):
        arena.market.send(arena.opener, "begin_close")
    assert outcome.miner_pay[1] == outcome.validator_pay[0] == 5 * CREDIT
    arena.market.send(miner.owner, "withdraw")
    arena.market.send(validator.owner, "withdraw")
    with pytest.raises(Reverted, match="market: nothing to withdraw"):
        arena.market.send(miner.owner, "withdraw")
    assert arena.market.send(sponsor, "claim_refund", number).value == 90 * CREDIT
    arena.market.send(miner.owner, "leave_miner", 1)
    arena.market.send(validator.owner, "leave_validator", 0)
    assert arena.credit.call("balanceOf", arena.market.address) == 0
    assert arena.token.call("balanceOf", arena.market.address) == 0


def test_sponsors_are_refused_by_reason(arena: Arena) -> None:
    sponsor, number = arena.add_sponsor(103, 10)
    record, claimable = arena.market.call("get_sponsorship", number)
    assert (record["rate"], claimable) == (10, 0)
    assert arena.credit.call("balanceOf", sponsor) == 3
    for arguments, reason in (((5, 0), "epochs out of bounds"), ((5, 6), "budget too small")):
        with pytest.raises(Reverted, match=f"market: {reason}"):
            arena.market.send(sponsor, "sponsor", *arguments)
    with pytest.raises(Reverted, match="market: budget too large"):
        arena.market.send(sponsor, "sponsor", 2**97, 1)
    with pytest.raises(Reverted, match="market: nothing to claim"):
        arena.market.send(sponsor, "claim_refund", number)
    for call in ("cancel", "claim_refund"):
        with pytest.raises(Reverted, match="market: caller is not the sponsor"):
            arena.market.send(arena.bank, call, number)
    arena.market.send(sponsor, "cancel", number)
    with pytest.raises(Reverted, match="market: sponsorship ends with this epoch"):
        arena.market.send(sponsor, "cancel", number)
    assert arena.market.send(sponsor, "claim_refund", number).value == 90
    arena.vote({})
    arena.close()
    assert arena.market.send(sponsor, "claim_refund", number).value == 10
    with pytest.raises(Reverted, match="market: sponsorship is settled"):
        arena.market.send(sponsor, "claim_refund", number)
