"""Fees and emission in a real market: its treasury takes them, its epochs pay them, and trading with oneself loses."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings, target
from hypothesis import strategies as st
from tests.chain.contracts.arena import CREDIT, SUPPLY, TCT, Arena, Member, make_row, pick
from tests.chain.contracts.evm import Reverted

DAY = 86_400
HOUR = 3_600
RATE = 10**12
"""TCT base units that one base unit of credit is worth: a credit is worth a TCT."""


class Circle(Arena):
    """Everybody in this market is one group, its buyers too; strangers only bid for fees."""

    def __init__(self) -> None:
        super().__init__()
        ledger, bank = self.ledger, self.bank
        self.source = ledger.deploy_code(b"\0")
        place = self.token.address, self.registry.address
        self.fees = ledger.deploy("Fees", *place, 5_000, HOUR, TCT, DAY, sender=bank)
        self.fees.send(bank, "set_sources", self.source, self.source)
        allocator = ledger.deploy("Allocator", self.fees.address, 5_000)
        terms = bank, SUPPLY, 10**16, 5_000, 4
        self.emission = ledger.deploy("Emission", self.fees.address, allocator.address, *terms)
        self.token.send(bank, "set_minter", self.emission.address)
        self.workers = [self.add_miner() for _ in range(2)]
        self.judges = [self.add_validator() for _ in range(2)]
        self.purse, self.stranger, self.poker = (ledger.account(role) for role in ("purse", "stranger", "poker"))
        for who in (self.purse, self.stranger):
            self.give_stake_token(who, 1_000_000 * TCT)
            self.token.send(who, "approve", self.fees.address, 2**256 - 1)
        self.give_credit(self.purse, 1_000_000 * CREDIT)
        self.skip_epoch()
        self.before = self.wealth()

    def wealth(self) -> int:
        """Of the group, in TCT base units; stakes and deposits stay where they are."""
        everybody = [self.purse, self.poker, *(member.owner for member in self.everybody)]
        return sum(self.token.call("balanceOf", who) + RATE * self.credit.call("balanceOf", who) for who in everybody)

    def pay(self, amount: int) -> None:
        """A fee of the group's own trade."""
        self.credit.send(self.purse, "transfer", self.fees.address, amount)
        self.fees.send(self.source, "take", self.credit.address, self.market.address, amount)

    def buy(self, bidder: str) -> None:
        self.fees.send(bidder, "buy", self.credit.address, self.market.address, 0, 2**256 - 1)

    def play(self, row: list[int] | None = None) -> None:
        """An epoch in which the group agrees on its own miners; one that ran out meanwhile is closed first."""
        status = self.market.call("status")
        if self.ledger.now >= status["reveal_ends"]:
            self.close(poker=self.poker)
        full = make_row(row or [40_000, 25_535], 3)
        self.vote({judge.slot: full for judge in self.judges})
        self.close(poker=self.poker)

    def bring(self) -> int:
        """Forward and collect whatever there is; returns what was minted."""
        if self.fees.call("pending", self.market.address):
            self.fees.send(self.purse, "forward", self.market.address)
        now, minted = self.fees.call("period"), 0
        for period in range(max(0, now - 4), now):
            if self.emission.call("award", self.market.address, period)[2]:
                minted += self.emission.send(self.purse, "collect", self.market.address, period).value
        return minted

    def withdraw(self) -> None:
        """Everybody takes home what there is."""
        for member in [*self.workers, Member(0, self.poker, self.poker)]:
            if any(self.treasury.call("owed", token.address, member.owner) for token in (self.token, self.credit)):
                self.treasury.send(member.owner, "withdraw")
        for judge in self.judges:
            mine = self.stakes.call("get_position", judge.pool, judge.owner)
            if mine["reward"] or mine["stake_reward"]:
                self.stakes.send(judge.owner, "claim", judge.pool)

    def settle(self) -> tuple[int, int]:
        """At the end: what the group lost, and what it must have lost by the bound."""
        for _ in range(2):
            self.ledger.now += DAY
            self.bring()
            self.play()
        self.play()
        self.withdraw()
        burned = sum(self.fees.call("burned", self.market.address, n) for n in range(self.fees.call("period") + 1))
        unsold = self.fees.call("ask", self.credit.address, self.market.address)[0]
        return self.before - self.wealth(), burned // 2 + RATE * unsold


def test_emission_pays_those_who_earn_in_the_next_epoch_and_the_rest_is_burned() -> None:
    """Half the row says unspent, so half of the emission is burned again, as no money of a sponsor would be."""
    circle = Circle()
    circle.fees.send(circle.purse, "burn_for", circle.market.address, 1_000 * TCT)
    circle.ledger.now += 2 * DAY
    assert circle.bring() == circle.treasury.call("next_emission") == 500 * TCT
    assert circle.market.call("epoch") == 1  # which ran out unvoted
    circle.close()
    supply = circle.token.call("totalSupply")
    circle.play([20_000, 12_767])
    paid = supply - circle.token.call("totalSupply")
    assert 249 * TCT < paid < 251 * TCT
    miner = circle.treasury.call("owed", circle.token.address, circle.workers[0].owner)
    assert 0 < miner < 100 * TCT


def test_a_closing_epoch_lets_neither_in_and_loses_nothing() -> None:
    circle = Circle()
    circle.pay(2 * CREDIT)
    circle.fees.send(circle.purse, "burn_for", circle.market.address, 10 * TCT)
    circle.ledger.now += 2 * DAY
    circle.market.send(circle.poker, "begin_close")
    for contract, call, arguments in (
        (circle.fees, "forward", [circle.market.address]),
        (circle.emission, "collect", [circle.market.address, 0]),
    ):
        with pytest.raises(Reverted, match="treasury: epoch is closing"):
            contract.send(circle.purse, call, *arguments)
    circle.pay(2 * CREDIT)
    circle.market.send(circle.poker, "settle_pages", 0, [0])
    circle.market.send(circle.poker, "finish_close")
    assert circle.bring() == 5 * TCT
    assert circle.treasury.call("next_carry") == 2 * CREDIT


def test_a_market_that_ended_gets_no_emission_and_its_fees_are_sold() -> None:
    circle = Circle()
    circle.fees.send(circle.purse, "burn_for", circle.market.address, 10 * TCT)
    circle.market.send(circle.opener, "wind_down")
    circle.ledger.now += 2 * DAY
    with pytest.raises(Reverted, match="treasury: winding down"):
        circle.emission.send(circle.purse, "collect", circle.market.address, 0)
    circle.close()
    circle.pay(2 * CREDIT)
    told = circle.fees.send(circle.purse, "forward", circle.market.address)
    assert pick(told.logs, "FeeForwarded")[0]["sold"]
    assert circle.fees.call("ask", circle.credit.address, circle.market.address)[0] == 2 * CREDIT


MOVE = st.one_of(
    st.tuples(st.just("fee"), st.integers(1, 20_000 * CREDIT)),
    st.tuples(st.just("burn"), st.integers(1, 20_000 * TCT)),
    st.tuples(st.sampled_from(["group_buys", "stranger_buys", "bring", "epoch", "withdraw"]), st.just(0)),
    st.tuples(st.just("wait"), st.sampled_from([HOUR, 10 * HOUR, DAY])),
)


@pytest.mark.slow
@settings(max_examples=10, suppress_health_check=list(HealthCheck))
@given(st.lists(MOVE, min_size=3, max_size=10))
def test_a_group_that_owns_a_real_market_loses_what_the_bound_says(moves: list[tuple[str, int]]) -> None:
    """All rewards, all pokes and all forwarded fees come back to it, and it still loses half of every burn."""
    circle = Circle()
    for move, amount in moves:
        lot, price = circle.fees.call("ask", circle.credit.address, circle.market.address)
        if move == "fee":
            circle.pay(amount)
        elif move == "burn":
            circle.fees.send(circle.purse, "burn_for", circle.market.address, amount)
        elif move == "group_buys" and 0 < price <= 500_000 * TCT:
            circle.buy(circle.purse)
        elif move == "stranger_buys" and lot:
            circle.ledger.now += (price // (lot * RATE)).bit_length() * HOUR  # until it is worth it
            circle.buy(circle.stranger)
        elif move == "bring":
            circle.bring()
        elif move == "epoch":
            circle.play()
        elif move == "withdraw":
            circle.withdraw()
        elif move == "wait":
            circle.ledger.now += amount
    lost, bound = circle.settle()
    target(-float(lost))
    assert lost >= bound >= 0
