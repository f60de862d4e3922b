"""Budgets of a run: nothing is created or lost, and no node passes a limit of its own or of a node above."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from tercet.errors import OutOfBudgetError, UsageError
from tercet.swarm.gateway import Allowance, Budget, Budgets, Reservation, Spent
from tercet.swarm.journal import Journal

NODES = ["run", "run/a", "run/b", "run/a/x", "run/a/y", "run/b/z"]
nodes = st.sampled_from(NODES)
amounts = st.builds(
    Spent,
    credit=st.integers(0, 50),
    tokens=st.integers(0, 50),
    seconds=st.integers(0, 50_000).map(lambda millis: millis / 1000),
)


def parts(amount: Spent | Budget) -> list[float | None]:
    """Seconds as milliseconds, so that all are whole."""
    seconds = None if amount.seconds is None else round(amount.seconds * 1000)
    return [amount.credit, amount.tokens, seconds]


class Ledger(RuleBasedStateMachine):
    """Any order of limits, reservations and settlements, beside a plain list of what was spent."""

    reservations = Bundle("reservations")

    def __init__(self) -> None:
        super().__init__()
        self.budgets = Budgets()
        self.spent: list[tuple[str, Spent]] = []
        self.held: list[Reservation] = []
        self.unknown: dict[str, tuple[str, Spent]] = {}

    @rule(node=nodes, limit=amounts)
    def set(self, node: str, limit: Spent) -> None:
        used = zip(parts(self.budgets.spent(node)), parts(self.budgets.reserved(node)), parts(limit), strict=True)
        fits = all((spent or 0) + (held or 0) <= (new or 0) for spent, held, new in used)
        wanted = Budget(limit.credit, limit.tokens, limit.seconds)
        if fits:
            self.budgets.set(node, wanted)
        else:
            with pytest.raises(UsageError, match="already"):
                self.budgets.set(node, wanted)

    @rule(node=nodes, more=st.integers(0, 50))
    def allow(self, node: str, more: int) -> None:
        before = self.budgets.limit(node)
        used = self.budgets.spent(node).credit + self.budgets.reserved(node).credit
        self.budgets.allow(node, Allowance(used + more, "task"))
        left = self.budgets.left(node).credit
        assert left is not None
        assert left <= more
        assert self.budgets.limit(node) == before

    @rule(node=nodes, more=amounts)
    def add(self, node: str, more: Spent) -> None:
        before, allowed = self.budgets.limit(node), self.budgets.allowance(node)
        self.budgets.add(node, credit=more.credit, tokens=more.tokens, seconds=more.seconds)
        assert self.budgets.allowance(node) == (allowed and Allowance(allowed.credit + more.credit, "task"))
        for old, grown, new in zip(parts(before), parts(more), parts(self.budgets.limit(node)), strict=True):
            assert new == (None if old is None else old + (grown or 0))

    @rule(target=reservations, node=nodes, amount=amounts)
    def reserve(self, node: str, amount: Spent) -> Reservation | None:
        left = self.budgets.left(node)
        fits = all(free is None or (units or 0) <= free for units, free in zip(parts(amount), parts(left), strict=True))
        if not fits:
            with pytest.raises(OutOfBudgetError):
                self.budgets.reserve(node, amount)
            return None
        reservation = self.budgets.reserve(node, amount)
        self.held.append(reservation)
        return reservation

    @rule(reservation=consumes(reservations), share=st.integers(0, 100))
    def settle(self, reservation: Reservation | None, share: int) -> None:
        if reservation is None:
            return
        amount = reservation.amount
        cost = Spent(
            amount.credit * share // 100,
            amount.tokens * share // 100,
            round(amount.seconds * 1000) * share // 100 / 1000,
        )
        self.budgets.settle(reservation, cost)
        self.held.remove(reservation)
        self.spent.append((reservation.node, cost))
        with pytest.raises(UsageError, match="settled before"):
            self.budgets.settle(reservation, cost)

    @rule(reservation=consumes(reservations))
    def lose(self, reservation: Reservation | None) -> None:
        """Nobody knows what it cost: the most that it can have."""
        if reservation is None:
            return
        name = f"call-{len(self.spent)}"
        self.budgets.settle(reservation, reservation.amount, unknown=name)
        self.held.remove(reservation)
        self.spent.append((reservation.node, reservation.amount))
        self.unknown[name] = self.spent[-1]

    @rule(share=st.integers(0, 100), data=st.data())
    def correct(self, share: int, data: st.DataObject) -> None:
        """Its seller says it after all, and says it twice."""
        if not self.unknown:
            return
        name = data.draw(st.sampled_from(sorted(self.unknown)))
        node, booked = self.unknown.pop(name)
        cost = replace(booked, credit=booked.credit * share // 100, tokens=booked.tokens * share // 100)
        self.budgets.correct(name, cost)
        self.budgets.correct(name, cost)
        self.spent[self.spent.index((node, booked))] = (node, cost)

    @invariant()
    def what_is_unknown_is_a_part_of_what_is_spent(self) -> None:
        for node in NODES:
            booked = [
                parts(cost) for path, cost in self.unknown.values() if path == node or path.startswith(f"{node}/")
            ]
            assert parts(self.budgets.unknown(node)) == [sum(column) for column in zip([0] * 3, *booked, strict=True)]

    @invariant()
    def nothing_is_created_or_lost(self) -> None:
        for node in NODES:
            spent = [parts(cost) for path, cost in self.spent if path == node or path.startswith(f"{node}/")]
            held = [parts(each.amount) for each in self.held if each.node == node or each.node.startswith(f"{node}/")]
            assert parts(self.budgets.spent(node)) == [sum(column) for column in zip([0] * 3, *spent, strict=True)]
            assert parts(self.budgets.reserved(node)) == [sum(column) for column in zip([0] * 3, *held, strict=True)]

    @invariant()
    def no_limit_is_passed(self) -> None:
        for node in NODES:
            for limit, spent, held in zip(
                parts(self.budgets.limit(node)),
                parts(self.budgets.spent(node)),
                parts(self.budgets.reserved(node)),
                strict=True,
            ):
                assert limit is None or (spent or 0) + (held or 0) <= limit
            allowed, used = self.budgets.allowance(node), self.budgets.spent(node).credit
            assert allowed is None or used + self.budgets.reserved(node).credit <= allowed.credit


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_a_child_never_spends_more_than_its_parents_have_left() -> None:
    """An agent with a limit of its own is bound by its crew's and the run's."""
    budgets = Budgets()
    budgets.open("run", Budget(credit=10))
    budgets.open("run/crew/rich", Budget(credit=100))
    words = "budget of 'run' is out: the call may need 0.000011 credit, and 0.00001 credit is left"
    with pytest.raises(OutOfBudgetError, match=words):
        budgets.reserve("run/crew/rich", Spent(credit=11))
    assert budgets.left("run/crew/rich").credit == 10


def test_a_seller_that_charges_more_than_it_quoted_is_booked_in_full() -> None:
    """The money is gone, whatever was reserved: the node has nothing left."""
    budgets = Budgets()
    budgets.open("run", Budget(credit=10))
    budgets.settle(budgets.reserve("run", Spent(credit=5)), Spent(credit=12))
    assert budgets.spent("run").credit == 12
    assert budgets.left("run").credit == 0


async def test_limits_and_spending_come_back_from_the_journal(tmp_path: Path) -> None:
    """Limits, allowances, additions and receipts build the same budgets; an open reservation cost nothing; first limits stay."""
    with Journal(tmp_path / "journal.db") as journal:
        budgets = Budgets(journal.note)
        budgets.open("run", Budget(credit=10, seconds=2.5, attention=6))
        budgets.add("run", credit=5, attention=1)
        budgets.allow("run/a/x", Allowance(9, "fix"))
        budgets.add("run/a/x", credit=1)
        budgets.reserve("run/a/x", Spent(credit=9))
        await journal.append("call", {"agent": "run/a/x", "charged": 3, "prompt": 4, "completion": 5, "seconds": 0.25})
        again = Budgets()
        again.replay(journal.events())
    assert again.spent("run") == again.spent("run/a/x") == Spent(3, 9, 0.25)
    assert again.left("run/b/y") == Budget(credit=12, seconds=2.25, attention=7)
    assert (again.limit("run/a/x"), again.allowance("run/a/x")) == (Budget(), Allowance(10, "fix"))
    assert again.left("run/a/x").credit == 7
    again.open("run", Budget(credit=10))
    assert again.limit("run") == Budget(credit=15, seconds=2.5, attention=7)


def test_a_path_with_an_empty_part_is_no_node() -> None:
    """`run//x` would be charged to nobody."""
    with pytest.raises(UsageError, match="no node of a run"):
        Budgets().reserve("run//x", replace(Spent(), credit=1))
