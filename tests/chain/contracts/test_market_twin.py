"""The contract and its Python twin give equal integers, and money is neither made nor lost."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.chain.contracts.arena import CREDIT, FOREVER, SUPPLY, TCT, Arena, Params, pick
from tests.chain.contracts.evm import Contract, Receipt, Reverted

from tercet.market.epoch import FULL, MarketOutcome
from tercet.market.registration import (
    MinerStanding,
    place_applicants,
    place_floor,
    price_after,
    raise_price,
    split_price,
)
from tercet.market.treasury import pay_poke


def compare(arena: Arena, outcome: MarketOutcome, receipts: Sequence[Receipt]) -> None:
    """Every number of the twin against the chain."""
    columns = len(outcome.consensus)
    paid = pick(receipts[-1].logs, "EpochPaid")[0]
    # What is kept for those who close the epoch is a bit more than they get.
    kept = pay_poke(paid["reward"], 1, 1) - paid["pokes"]
    assert paid["refunded"] + paid["carried"] == outcome.refund + kept
    assert paid["to_miners"] == sum(outcome.miner_pay)
    assert paid["to_validators"] == sum(outcome.validator_pay)
    token = arena.credit.address.lower()
    logs = [log for receipt in receipts for log in receipt.logs if log.fields.get("token") == token]
    rewards = {fields["uid"]: fields["amount"] for fields in pick(logs, "MinerRewarded")}
    assert [rewards.get(uid, 0) for uid in range(columns)] == list(outcome.miner_pay)
    rewards = {fields["pool"]: fields["amount"] for fields in pick(logs, "Rewarded")}
    seats = {view["vid"]: view for view in arena.market.call("get_validators")}
    for vid, pay in enumerate(outcome.validator_pay):
        assert rewards.get(seats[vid]["pool"] if vid in seats else 0, 0) == pay
        assert (seats[vid]["weight"] if vid in seats else 0) == outcome.weights[vid]
    assert pick(receipts[0].logs, "ClosingBegan")[0]["total_weight"] == outcome.total_weight
    views = [view for first in range(0, columns, 64) for view in arena.market.call("get_miners", first, 64)]
    views = [view for view in views if view["uid"] < columns]
    assert [view["rank"] for view in views] == [outcome.ranks[view["uid"]] for view in views]
    assert [view["consensus"] for view in views] == [outcome.consensus[view["uid"]] for view in views]


def compare_bonds(arena: Arena, outcome: MarketOutcome) -> None:
    """What the chain stores for the next epoch, seat by seat."""
    for vid in arena.validators:
        assert arena.bonds(vid, len(outcome.consensus)) == outcome.bonds[vid]


def draw_row(chance: random.Random, columns: int, base: Sequence[int]) -> list[int]:
    """A row near a common one, or a wild one, that sums to the whole; some entries 0."""
    style = chance.random()
    if style < 0.5:
        parts = [max(0, value + chance.randrange(-3, 4)) for value in base]
    elif style < 0.8:
        parts = [chance.choice([0, 0, 1, chance.randrange(1_000)]) for _ in range(columns)]
    else:
        parts = [0] * columns
        parts[chance.randrange(columns)] = 1
    total = sum(parts) or 1
    row = [part * FULL // total for part in parts]
    row[chance.randrange(columns)] += FULL - sum(row)
    return row


def play(seed: int, validators: int, miners: int, epochs: int = 3, pages_at_once: int = 16) -> None:
    """Random people, rows, silences and moves; the twin is compared after each epoch."""
    chance = random.Random(seed)
    arena = Arena(
        Params(
            kappa=chance.choice([5 * 10**17 + 1, 6 * 10**17, 10**18]),
            bond_alpha=chance.choice([10**15, 10**17, 333_333_333_333_333_333, 10**18]),
            validator_share_bps=chance.choice([0, 3_333, 5_000, 10_000]),
            activity_epochs=chance.randrange(3),
            max_validators=chance.choice([1, 2, 64]),
            weight_cap_bps=chance.choice([100, 2_000, 3_333, 10_000]),
        )
    )
    for _ in range(miners):
        arena.add_miner()
    for _ in range(validators):
        arena.add_validator(chance.choice([1_000 * TCT, chance.randrange(100 * TCT, 5_000 * TCT)]))
    arena.add_sponsor(chance.randrange(1, 10**12), chance.randrange(1, 5))
    arena.skip_epoch()
    for _ in range(epochs):
        if chance.random() < 0.3:
            move_stake(arena, chance)
        if miners > 1 and chance.random() < 0.5:
            leave_and_come(arena, chance)
        columns = arena.market.call("status")["columns"]
        base = [chance.randrange(1_000) for _ in range(columns)]
        voters = [vid for vid in arena.validators if chance.random() < 0.85]
        rows = {vid: draw_row(chance, columns, base) for vid in voters}
        arena.vote(rows, silent=[vid for vid in voters if chance.random() < 0.15])
        if miners > 1 and chance.random() < 0.3:
            leave_and_come(arena, chance)
        outcome, receipts = arena.close(pages_at_once, pay_apart=chance.random() < 0.5)
        compare(arena, outcome, receipts)
    compare_bonds(arena, outcome)


def move_stake(arena: Arena, chance: random.Random) -> None:
    """Somebody delegates, or a validator unstakes what it may; either changes weights sooner or later."""
    vid = chance.choice(sorted(arena.validators))
    member = arena.validators[vid]
    if chance.random() < 0.5:
        arena.add_delegation(vid, chance.randrange(1, 5_000 * TCT))
    else:
        own = arena.stakes.call("get_position", member.pool, member.owner)
        spare = own["active"] + own["pending"] - arena.params.min_stake
        if spare > 0:
            arena.stakes.send(member.owner, "unstake", member.pool, chance.randrange(1, spare + 1))


def leave_and_come(arena: Arena, chance: random.Random) -> None:
    """Somebody leaves; somebody may come into the slot."""
    if chance.random() < 0.7 and len(arena.miners) > 1:
        uid = chance.choice(sorted(arena.miners))
        arena.market.send(arena.miners.pop(uid).owner, "leave_miner", uid)
        if chance.random() < 0.7:
            arena.add_miner()
    elif len(arena.validators) > 1:
        vid = chance.choice(sorted(arena.validators))
        if arena.market.call("get_validator", vid)["revealed_epoch"] >= max(arena.epoch, 1):
            return
        arena.market.send(arena.validators.pop(vid).owner, "leave_validator", vid)
        if chance.random() < 0.7:
            arena.add_validator(chance.randrange(100 * TCT, 5_000 * TCT))


@given(seed=st.integers(0, 2**32), validators=st.integers(1, 6), miners=st.integers(1, 18))
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_twins_agree_on_small_markets(seed: int, validators: int, miners: int) -> None:
    play(seed, validators, miners)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_twins_agree_over_several_pages(seed: int) -> None:
    play(seed, validators=8, miners=40, epochs=3, pages_at_once=1 + seed)


@pytest.mark.slow
def test_twins_agree_at_the_largest_stakes() -> None:
    """64 validators whose stakes add up to the most that lanes carry; in the first epoch, the dearest."""
    arena = Arena(Params(bond_alpha=10**18), supply=2 * SUPPLY)
    chance = random.Random(7)
    for _ in range(17):
        arena.add_miner("")
    for _ in range(64):
        arena.add_validator(1_400_000 * TCT)
    arena.add_sponsor(10**12, 10)
    arena.skip_epoch()
    base = [chance.randrange(1_000) for _ in range(18)]
    rows = {vid: draw_row(chance, 18, base) for vid in range(64)}
    arena.vote(rows)
    outcome, receipts = arena.close()
    compare(arena, outcome, receipts)
    assert max(receipt.gas for receipt in receipts) < 2**24


# --- Price and eviction ---


@given(
    least=st.integers(0, 2**112 - 1),
    spread=st.integers(0, 2**112 - 1),
    half_life=st.integers(60, 365 * 86_400),
    refund_bps=st.integers(0, 10_000),
    waits=st.lists(st.integers(0, 3 * 86_400) | st.integers(0, 2**33), max_size=4),
)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_twins_agree_on_prices(least: int, spread: int, half_life: int, refund_bps: int, waits: list[int]) -> None:
    """From the smallest to the largest price; the token behind it has no cap, so that every price can be paid."""
    arena = Arena(
        Params(
            min_price=least,
            max_price=min(least + spread, 2**112 - 1),
            price_half_life=half_life,
            refund_bps=refund_bps,
        )
    )
    rules = arena.params.price_rules()
    last, since = 0, 0
    for wait in waits:
        arena.ledger.now += wait
        price = price_after(last, arena.ledger.now - since, rules)
        assert arena.market.call("price") == price
        if price > 10**24:
            break  # more than the bank can give away
        receipt = arena.market.send(*buy_slot(arena, price))
        (event,) = pick(receipt.logs, "MinerRegistered")
        assert (event["deposit"], event["burned"]) == split_price(price, rules)
        last, since = raise_price(price, rules), arena.ledger.now


@given(
    reward=st.integers(1, 10**24),
    emission=st.integers(1, 10**24),
    share=st.integers(0, 10_000),
    places=st.integers(1, 255),
    one_token=st.booleans(),
)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_twins_agree_on_what_a_place_costs_at_least(
    reward: int, emission: int, share: int, places: int, one_token: bool
) -> None:
    """Half of its part of what the epoch pays in stake token; a reward in another token has no price here."""
    params = Params(min_price=7, max_price=10**23, validator_share_bps=share, max_miners=places)
    arena = Arena(params, one_token=one_token)
    if not one_token:
        arena.credit.send(arena.bank, "mint", arena.bank, 10**24)
    for name, token, amount in (("fund", arena.credit, reward), ("fund_emission", arena.token, emission)):
        token.send(arena.bank, "approve", arena.treasury.address, amount)
        arena.treasury.send(arena.bank, name, amount)
    assert arena.market.call("price") == 7, "it is for the next epoch"
    arena.skip_epoch()
    pot = emission + reward * one_token
    expected = price_after(0, 0, params.price_rules(), place_floor(pot, share, places))
    assert arena.market.call("price") == expected
    assert arena.market.call("status")["price"] == expected


def buy_slot(arena: Arena, price: int) -> tuple[Any, ...]:
    """A transaction that registers somebody who has and offers exactly the price."""
    owner = arena.ledger.account("miner")
    arena.give_stake_token(owner, price)
    return owner, "register_miner", arena.ledger.account("operator"), "", price


@given(seed=st.integers(0, 2**32), floor=st.integers(0, 6), immunity=st.integers(2, 3))
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
def test_twins_agree_on_evictions(seed: int, floor: int, immunity: int) -> None:
    """Any ranks, ties among them; any number of applicants; slots that fell free; epochs that judged nobody."""
    chance = random.Random(seed)
    size = chance.randrange(1, 7)
    arena = Arena(Params(max_miners=size, floor_miners=floor, immunity_epochs=immunity))
    for _ in range(size):
        arena.add_miner("")
    arena.add_validator()
    arena.skip_epoch()
    for _ in range(6):
        for _ in range(min(chance.choice([0, 0, 1, 3, 16]), room_to_apply(arena))):
            arena.add_applicant()
        before = {view["uid"]: view for view in arena.market.call("get_miners", 0, 64)}
        if before and chance.random() < 0.3:
            uid = chance.choice(sorted(before))
            arena.market.send(before.pop(uid)["owner"], "leave_miner", uid)
        columns = arena.market.call("status")["columns"]
        row = draw_row(chance, columns, [chance.choice([5, 5, 9]) for _ in range(columns)])
        waiting = arena.market.call("get_applicants")
        arena.vote({0: row} if chance.random() < 0.8 else {})
        outcome, receipts = arena.close()
        placed = place_applicants(
            len(waiting),
            [uid for uid in range(1, size + 1) if uid not in before],
            [MinerStanding(uid, view["generation"], view["since"], outcome.ranks[uid]) for uid, view in before.items()],
            arena.epoch - 1,
            any(outcome.ranks),
            arena.params.eviction_rules(),
        )
        seated = pick(receipts[-1].logs, "MinerRegistered")
        assert [(row["uid"], row["operator"]) for row in seated] == list(zip(placed, waiting, strict=False))
        evicted = [row["uid"] for row in pick(receipts[-1].logs, "MinerEvicted")]
        assert evicted == [uid for uid in placed if uid in before]
        assert arena.market.call("get_applicants") == waiting[len(placed) :]
        after = {view["uid"]: view["since"] for view in arena.market.call("get_miners", 0, 64)}
        assert all(after[uid] == arena.epoch for uid in placed)


def room_to_apply(arena: Arena) -> int:
    """How many may apply now: none while a slot is free."""
    full = len(arena.market.call("get_miners", 0, 64)) == arena.params.max_miners
    return 16 - len(arena.market.call("get_applicants")) if full else 0


# --- Money ---


class MoneyMachine(RuleBasedStateMachine):
    """Anybody does anything at any time; books match balances, supply is conserved, and in the end all comes out."""

    @initialize(share=st.sampled_from([0, 4_000, 10_000]), sink=st.booleans(), cap=st.sampled_from([3_000, 10_000]))
    def open_market(self, share: int, sink: bool, cap: int) -> None:
        self.arena = Arena(
            Params(
                validator_share_bps=share,
                weight_cap_bps=cap,
                activity_epochs=1,
                max_miners=4,
                max_price=40 * TCT,
            ),
            sink="0x" + "51" * 20 if sink else "0x" + "00" * 20,
        )
        self.sponsors: list[tuple[str, int]] = []
        self.positions: list[tuple[str, int]] = []
        """Who may have something in which pool, also in pools of seats that are gone."""
        self.winding = False

    who = st.integers(0, 7)

    def attempt(self, contract: Contract, sender: str, *call: Any) -> None:
        """Do it if the contracts let us; a refusal must say why."""
        try:
            contract.send(sender, *call)
        except Reverted as refusal:
            if not str(refusal).startswith(("market: ", "stakes: ", "treasury: ")):
                raise

    @precondition(lambda self: not self.winding and len(self.arena.market.call("get_miners", 0, 64)) < 4)
    @rule()
    def add_miner(self) -> None:
        self.arena.add_miner("")

    @precondition(lambda self: not self.winding and len(self.arena.market.call("get_miners", 0, 64)) == 4)
    @precondition(lambda self: len(self.arena.market.call("get_applicants")) < 16)
    @rule()
    def apply(self) -> None:
        self.arena.add_applicant()

    @precondition(lambda self: not self.winding and len(self.arena.validators) < 5)
    @rule(stake=st.integers(100 * TCT, 3_000 * TCT), take=st.integers(0, 2_000))
    def add_validator(self, stake: int, take: int) -> None:
        member = self.arena.add_validator(stake, take)
        self.positions.append((member.owner, member.pool))

    @precondition(lambda self: not self.winding)
    @rule(budget=st.integers(1_000, 50 * CREDIT), epochs=st.integers(1, 5))
    def add_sponsor(self, budget: int, epochs: int) -> None:
        self.sponsors.append(self.arena.add_sponsor(budget, epochs))

    @rule(amount=st.integers(1, 20 * CREDIT), emission=st.integers(0, 5 * TCT))
    def fund(self, amount: int, emission: int) -> None:
        arena = self.arena
        arena.give_credit(arena.bank, amount)
        arena.treasury.send(arena.bank, "fund", amount)
        arena.token.send(arena.bank, "approve", arena.treasury.address, emission)
        self.attempt(arena.treasury, arena.bank, "fund_emission", emission)

    @rule(k=who)
    def leave_miner(self, k: int) -> None:
        views = {view["uid"]: view for view in self.arena.market.call("get_miners", 0, 64)}
        if k in views:
            self.arena.market.send(views[k]["owner"], "leave_miner", k)

    @rule(k=who)
    def leave_validator(self, k: int) -> None:
        if k in self.arena.validators:
            owner = self.arena.validators[k].owner
            self.attempt(self.arena.market, owner, "leave_validator", k)
            if self.arena.market.call("get_validator", k)["pool"] == 0:
                del self.arena.validators[k]

    @rule(k=who)
    def withdraw_application(self, k: int) -> None:
        waiting = self.arena.market.call("get_applicants")
        if k < len(waiting):
            owner = self.arena.market.call("get_application", waiting[k])["owner"]
            self.attempt(self.arena.market, owner, "withdraw_application", waiting[k])

    @precondition(lambda self: not self.winding)
    @rule(k=who, amount=st.integers(1, 2_000 * TCT))
    def delegate(self, k: int, amount: int) -> None:
        if k in self.arena.validators:
            self.positions.append((self.arena.add_delegation(k, amount), self.arena.validators[k].pool))

    @precondition(lambda self: self.positions)
    @rule(k=st.integers(0, 30), percent=st.integers(1, 130))
    def unstake(self, k: int, percent: int) -> None:
        owner, pool = self.positions[k % len(self.positions)]
        held = self.arena.stakes.call("get_position", pool, owner)
        self.attempt(self.arena.stakes, owner, "unstake", pool, (held["active"] + held["pending"]) * percent // 100)

    @precondition(lambda self: self.positions)
    @rule(k=st.integers(0, 30))
    def collect_stake(self, k: int) -> None:
        owner, pool = self.positions[k % len(self.positions)]
        self.attempt(self.arena.stakes, owner, "withdraw", pool)
        self.attempt(self.arena.stakes, owner, "claim", pool)

    @rule(k=who)
    def cancel_or_claim(self, k: int) -> None:
        if k < len(self.sponsors):
            self.attempt(self.arena.treasury, self.sponsors[k][0], "claim_refund", self.sponsors[k][1])
            self.attempt(self.arena.treasury, self.sponsors[k][0], "cancel", self.sponsors[k][1])

    @rule(k=st.integers(0, 30))
    def collect_reward(self, k: int) -> None:
        if k < len(self.arena.everybody):
            owner = self.arena.everybody[k].owner
            self.attempt(self.arena.treasury, owner, "withdraw")
            self.attempt(self.arena.market, owner, "claim_deposit")

    @precondition(lambda self: not self.ended)
    @rule(seed=st.integers(0, 2**32), pay_apart=st.booleans())
    def play_epoch(self, seed: int, pay_apart: bool) -> None:
        chance = random.Random(seed)
        columns = self.arena.market.call("status")["columns"]
        base = [chance.randrange(1_000) for _ in range(columns)]
        rows = {vid: draw_row(chance, columns, base) for vid in self.arena.validators if chance.random() < 0.8}
        self.arena.vote(rows, silent=[vid for vid in rows if chance.random() < 0.1])
        compare(self.arena, *self.arena.close(pay_apart=pay_apart))

    @precondition(lambda self: self.arena.epoch > 2 and not self.winding)
    @rule()
    def wind_down(self) -> None:
        self.arena.market.send(self.arena.opener, "wind_down")
        self.winding = True

    @property
    def ended(self) -> bool:
        return bool(self.arena.market.call("is_wound_down"))

    @invariant()
    def books_match_the_tokens(self) -> None:
        if not hasattr(self, "arena"):
            return
        token, credit = self.arena.token, self.arena.credit
        market, stakes, treasury = (c.address for c in (self.arena.market, self.arena.stakes, self.arena.treasury))
        assert token.call("balanceOf", market) == self.arena.market.call("deposits")
        assert credit.call("balanceOf", market) == 0
        books = self.arena.treasury.call("books")
        assert token.call("balanceOf", treasury) == books["emission"] + books["owed_stake"]
        assert credit.call("balanceOf", treasury) == sum(
            books[part] for part in ("owed", "budget", "refundable", "carry")
        )
        books = self.arena.stakes.call("books")
        assert token.call("balanceOf", stakes) == books["bonded"] + books["unbonding"] + books["stake_reward"]
        assert credit.call("balanceOf", stakes) == books["reward"]
        assert token.call("totalSupply") <= SUPPLY

    def teardown(self) -> None:
        """At the end everybody leaves with everything, and nothing is left."""
        if not hasattr(self, "arena"):
            return
        arena = self.arena
        if not self.winding:
            arena.market.send(arena.opener, "wind_down")
        if not self.ended:
            arena.vote({})
            arena.close()
        for sponsor, number in self.sponsors:
            self.attempt(arena.treasury, sponsor, "claim_refund", number)
        self.attempt(arena.treasury, arena.bank, "sweep")
        for view in arena.market.call("get_miners", 0, 64):
            arena.market.send(view["owner"], "leave_miner", view["uid"])
        for operator in arena.market.call("get_applicants"):
            owner = arena.market.call("get_application", operator)["owner"]
            arena.market.send(owner, "withdraw_application", operator)
        for vid, validator in arena.validators.items():
            arena.market.send(validator.owner, "leave_validator", vid)
        for member in arena.everybody:
            self.attempt(arena.treasury, member.owner, "withdraw")
            self.attempt(arena.market, member.owner, "claim_deposit")
        for poker in arena.pokers:
            self.attempt(arena.treasury, poker, "withdraw")
        for owner, pool in self.positions:
            self.attempt(arena.stakes, owner, "unstake", pool, FOREVER)
            self.attempt(arena.stakes, owner, "withdraw", pool)
            self.attempt(arena.stakes, owner, "claim", pool)
        # A pool's owner is paid the last dust, whoever leaves last.
        for owner, pool in self.positions:
            self.attempt(arena.stakes, owner, "claim", pool)
        for contract in (arena.market, arena.stakes, arena.treasury):
            assert arena.token.call("balanceOf", contract.address) == 0
            assert arena.credit.call("balanceOf", contract.address) == 0


def test_members_who_left_are_still_paid() -> None:
    """The rewards of somebody who left stay withdrawable."""
    arena = Arena()
    miner = arena.add_miner()
    validator = arena.add_validator()
    arena.add_sponsor(20 * CREDIT, 2)
    arena.skip_epoch()
    arena.vote({0: [0, FULL]})
    outcome, _ = arena.close()
    arena.market.send(miner.owner, "leave_miner", 1)
    arena.skip_epoch()
    arena.market.send(validator.owner, "leave_validator", 0)
    assert arena.treasury.send(miner.owner, "withdraw").value == (outcome.miner_pay[1], 0)
    assert arena.stakes.send(validator.owner, "claim", validator.pool).value == (outcome.validator_pay[0], 0)


TestMoneyMachine = MoneyMachine.TestCase
TestMoneyMachine.settings = settings(
    max_examples=6, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
