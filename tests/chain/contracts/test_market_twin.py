"""The contract and its Python twin give equal integers, and money is neither made nor lost."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.chain.contracts.arena import CREDIT, TCT, Arena, Params, pick
from tests.chain.contracts.evm import Receipt, Reverted

from tercet.market.epoch import FULL, MarketOutcome


def compare(arena: Arena, outcome: MarketOutcome, receipts: Sequence[Receipt]) -> None:
    """Every number of the twin against the chain."""
    columns = len(outcome.consensus)
    closed = pick(receipts[-1].logs, "EpochClosed")[0]
    assert closed["refunded"] == outcome.refund
    assert closed["to_miners"] == sum(outcome.miner_pay)
    assert closed["to_validators"] == sum(outcome.validator_pay)
    paid = {fields["uid"]: fields["amount"] for fields in pick(receipts[-1].logs, "MinerRewarded")}
    assert [paid.get(uid, 0) for uid in range(columns)] == list(outcome.miner_pay)
    paid = {fields["vid"]: fields["amount"] for fields in pick(receipts[-1].logs, "ValidatorRewarded")}
    assert [paid.get(vid, 0) for vid in range(len(outcome.bonds))] == list(outcome.validator_pay)
    assert pick(receipts[0].logs, "ClosingBegan")[0]["total_weight"] == outcome.total_weight
    views = [view for first in range(0, columns, 64) for view in arena.market.call("get_miners", first, 64)]
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
        )
    )
    for _ in range(miners):
        arena.add_miner()
    for _ in range(validators):
        arena.add_validator(chance.randrange(100 * TCT, 5_000 * TCT))
    arena.add_sponsor(chance.randrange(1, 10**12), chance.randrange(1, 5))
    for _ in range(epochs):
        if miners > 1 and chance.random() < 0.5:
            leave_and_come(arena, chance)
        columns = arena.market.call("status")["columns"]
        base = [chance.randrange(1_000) for _ in range(columns)]
        voters = [vid for vid in arena.validators if chance.random() < 0.85]
        rows = {vid: draw_row(chance, columns, base) for vid in voters}
        arena.vote(rows, silent=[vid for vid in voters if chance.random() < 0.15])
        if miners > 1 and chance.random() < 0.3:
            leave_and_come(arena, chance)
        outcome, receipts = arena.close(pages_at_once)
        compare(arena, outcome, receipts)
    compare_bonds(arena, outcome)


def leave_and_come(arena: Arena, chance: random.Random) -> None:
    """Somebody leaves; somebody may come into the slot."""
    if chance.random() < 0.7 and len(arena.miners) > 1:
        uid = chance.choice(sorted(arena.miners))
        arena.market.send(arena.miners.pop(uid).owner, "leave_miner", uid)
        if chance.random() < 0.7:
            arena.add_miner()
    elif len(arena.validators) > 1:
        vid = chance.choice(sorted(arena.validators))
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
    arena = Arena(Params(bond_alpha=10**18))
    chance = random.Random(7)
    for _ in range(17):
        arena.add_miner("")
    for _ in range(64):
        arena.add_validator(1_400_000 * TCT)
    arena.add_sponsor(10**12, 10)
    base = [chance.randrange(1_000) for _ in range(18)]
    rows = {vid: draw_row(chance, 18, base) for vid in range(64)}
    arena.vote(rows)
    outcome, receipts = arena.close()
    compare(arena, outcome, receipts)
    assert max(receipt.gas for receipt in receipts) < 2**24


class MoneyMachine(RuleBasedStateMachine):
    """Anybody does anything at any time; the market's books always match the tokens it holds."""

    @initialize(share=st.sampled_from([0, 4_000, 10_000]))
    def open_market(self, share: int) -> None:
        self.arena = Arena(Params(validator_share_bps=share, activity_epochs=1, max_miners=20))
        self.sponsors: list[tuple[str, int]] = []
        self.winding = False

    who = st.integers(0, 7)

    def attempt(self, sender: str, *call: Any) -> None:
        """Do it if the market lets us; a refusal must say why."""
        try:
            self.arena.market.send(sender, *call)
        except Reverted as refusal:
            if not str(refusal).startswith("market: "):
                raise

    @precondition(lambda self: not self.winding and len(self.arena.miners) < 20)
    @rule()
    def add_miner(self) -> None:
        self.arena.add_miner("")

    @precondition(lambda self: not self.winding and len(self.arena.validators) < 5)
    @rule(stake=st.integers(100 * TCT, 3_000 * TCT))
    def add_validator(self, stake: int) -> None:
        self.arena.add_validator(stake)

    @precondition(lambda self: not self.winding)
    @rule(budget=st.integers(1_000, 50 * CREDIT), epochs=st.integers(1, 5))
    def add_sponsor(self, budget: int, epochs: int) -> None:
        self.sponsors.append(self.arena.add_sponsor(budget, epochs))

    @rule(k=who)
    def leave(self, k: int) -> None:
        for members, name in ((self.arena.miners, "leave_miner"), (self.arena.validators, "leave_validator")):
            if k in members:
                self.arena.market.send(members.pop(k).owner, name, k)

    @rule(k=who, amount=st.integers(0, 500 * TCT))
    def move_stake(self, k: int, amount: int) -> None:
        if k in self.arena.validators:
            owner = self.arena.validators[k].owner
            self.arena.give_stake_token(owner, amount)
            self.attempt(owner, "stake", k, amount)
            self.attempt(owner, "unstake", k, amount // 2)

    @rule(k=who)
    def cancel_or_claim(self, k: int) -> None:
        if k < len(self.sponsors):
            self.attempt(self.sponsors[k][0], "claim_refund", self.sponsors[k][1])
            self.attempt(self.sponsors[k][0], "cancel", self.sponsors[k][1])

    @rule(k=who)
    def withdraw(self, k: int) -> None:
        for members in (self.arena.miners, self.arena.validators):
            if k in members:
                self.attempt(members[k].owner, "withdraw")

    @precondition(lambda self: not self.ended)
    @rule(seed=st.integers(0, 2**32))
    def play_epoch(self, seed: int) -> None:
        chance = random.Random(seed)
        columns = self.arena.market.call("status")["columns"]
        base = [chance.randrange(1_000) for _ in range(columns)]
        rows = {vid: draw_row(chance, columns, base) for vid in self.arena.validators if chance.random() < 0.9}
        self.arena.vote(rows, silent=[vid for vid in rows if chance.random() < 0.1])
        compare(self.arena, *self.arena.close())

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
        books = self.arena.market.call("books")
        here = self.arena.market.address
        assert self.arena.token.call("balanceOf", here) == books["staked"] + books["deposits"]
        assert self.arena.credit.call("balanceOf", here) == books["owed"] + books["budget"] + books["refundable"]

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
            self.attempt(sponsor, "claim_refund", number)
        for member in arena.everybody:
            self.attempt(member.owner, "withdraw")
        for uid, miner in arena.miners.items():
            arena.market.send(miner.owner, "leave_miner", uid)
        for vid, validator in arena.validators.items():
            arena.market.send(validator.owner, "leave_validator", vid)
        assert arena.token.call("balanceOf", arena.market.address) == 0
        assert arena.credit.call("balanceOf", arena.market.address) == 0


def test_members_who_left_are_still_paid() -> None:
    """The rewards of somebody who left stay withdrawable."""
    arena = Arena()
    miner = arena.add_miner()
    arena.add_validator()
    arena.add_sponsor(10 * CREDIT, 1)
    arena.vote({0: [0, FULL]})
    arena.close()
    arena.market.send(miner.owner, "leave_miner", 1)
    assert arena.market.send(miner.owner, "withdraw").value == 5 * CREDIT


TestMoneyMachine = MoneyMachine.TestCase
TestMoneyMachine.settings = settings(
    max_examples=6, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
