"""What each node of a run may spend, has spent, and has set aside for calls in flight.

Nodes are paths: `run`, `run/<crew>`, `run/<crew>/<agent>`. What a node spends, all nodes above it spend too, so none
spends more than any of them has left. Pure book-keeping in whole units; `replay` builds it anew from the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tercet.errors import OutOfBudgetError, UsageError
from tercet.swarm.gateway.amounts import (
    RESOURCES,
    Allowance,
    Budget,
    Spent,
    body_of,
    budget_of,
    limits_of,
    read_body,
    shown,
    spent_of,
    told,
    units_of,
)
from tercet.swarm.journal import Event

__all__ = ["BUDGET_KINDS", "Budgets", "Reservation", "cost_of", "path_of"]

BUDGET_KINDS = ("budget.set", "budget.allowed", "budget.added", "call", "call.reconciled")
"""Events that change a budget."""
_FAR = 1 << 63


@dataclass(frozen=True, slots=True, eq=False)
class Reservation:
    """A part of a node's budget that a call in flight holds. Settle it once."""

    node: str
    amount: Spent


class _Node:
    __slots__ = ("allowance", "attention", "limit", "reserved", "spent")

    def __init__(self) -> None:
        self.allowance: Allowance | None = None
        self.attention: float | None = None
        self.limit: list[int | None] = [None] * len(RESOURCES)
        self.spent = [0] * len(RESOURCES)
        self.reserved = [0] * len(RESOURCES)

    def bound(self, resource: int) -> int | None:
        """The smaller of its limit and its allowance, where there is one."""
        limit, allowance = self.limit[resource], self.allowance
        if allowance is None or RESOURCES[resource] != "credit":
            return limit
        return allowance.credit if limit is None else min(limit, allowance.credit)

    def free(self, resource: int) -> int | None:
        bound = self.bound(resource)
        return None if bound is None else bound - self.spent[resource] - self.reserved[resource]


class Budgets:
    """The budgets of a run."""

    def __init__(
        self,
        record: Callable[[str, Mapping[str, Any]], object] = lambda _kind, _body: None,
        changed: Callable[[], object] = lambda: None,
    ) -> None:
        """`record` is told every new limit, `changed` that somebody may have more now."""
        self._nodes: dict[str, _Node] = {}
        self._lines: dict[str, list[_Node]] = {}
        """Of a node: those above it and itself. Nodes stay for good."""
        self._open: set[Reservation] = set()
        self._unknown: dict[str, tuple[str, Spent]] = {}
        """By call: the node, and what was booked because nobody knew the cost."""
        self._record = record
        self._changed = changed
        self.version = 0
        """Grows whenever somebody may have more: limits, and reservations that are given back."""

    # limits

    def open(self, node: str, budget: Budget) -> None:
        """Give `node` its first limits; a node that has some keeps them, so that a resumed run keeps what was added."""
        if self.limit(node) == Budget() != budget:
            self.set(node, budget)

    def set(self, node: str, budget: Budget) -> None:
        """Give `node` new limits.

        Raises:
            UsageError: one is no amount, or below what is spent and reserved already.

        """
        _validate_amounts(body_of(budget))
        found, limits = self._node(node), limits_of(budget)
        for resource, limit in enumerate(limits):
            used = found.spent[resource] + found.reserved[resource]
            if limit is not None and limit < used:
                raise UsageError(
                    f"{node!r} has used {shown(resource, used):g} {RESOURCES[resource]} already, so its limit cannot be"
                    f" {shown(resource, limit):g}. Set at least that, or end it: tercet kill."
                )
        self._record("budget.set", {"node": node, **body_of(budget)})
        found.limit, found.attention = limits, budget.attention
        self._more()

    def allow(self, node: str, allowance: Allowance) -> None:
        """Give `node` what it may spend for a task, in place of what it had for another. Its limit stays."""
        self._record("budget.allowed", {"node": node, "credit": allowance.credit, "task": allowance.task})
        self._node(node).allowance = allowance
        self._more()

    def add(self, node: str, *, credit: int = 0, tokens: int = 0, seconds: float = 0.0, attention: float = 0) -> None:
        """Raise `node`'s limits, and its allowance; what has none keeps none. The nodes above still bind.

        Raises:
            UsageError: something is no amount, or negative.

        """
        more = Spent(credit, tokens, seconds)
        _validate_amounts({**body_of(more), "attention": attention})
        if min(*units_of(more), attention) < 0:
            raise UsageError("A budget is only added to; to lower one use tercet budget set.")
        self._node(node)
        self._record("budget.added", {"node": node, **body_of(more), "attention": attention})
        self._add(node, more, attention)
        self._more()

    # reading

    def nodes(self) -> Iterator[str]:
        """All paths, parents before children."""
        return iter(sorted(self._nodes))

    def limit(self, node: str) -> Budget:
        """What `node` itself may spend in all."""
        found = self._node(node)
        return budget_of(found.limit, found.attention)

    def allowance(self, node: str) -> Allowance | None:
        """What `node` may spend in all for the task it works at, or worked at last."""
        return self._node(node).allowance

    def left(self, node: str) -> Budget:
        """What `node` may still reserve, its parents' limits counted; None where nothing limits it."""
        above = [each.attention for each in self._above(node) if each.attention is not None]
        free = [self._free(node, resource) for resource in range(len(RESOURCES))]
        return budget_of(free, min(above, default=None))

    def unspent(self, node: str) -> int | None:
        """Credit units that `node` and those above it have not spent, reserved or not; None where nothing limits it."""
        bounded = [(each.bound(0), each.spent[0]) for each in self._above(node)]
        unspent = [bound - spent for bound, spent in bounded if bound is not None]
        return max(0, min(unspent)) if unspent else None

    def spent(self, node: str) -> Spent:
        """What `node` and all below it have spent."""
        return spent_of(self._node(node).spent)

    def reserved(self, node: str) -> Spent:
        """What calls in flight hold of it."""
        return spent_of(self._node(node).reserved)

    def unknown(self, node: str) -> Spent:
        """The part of `spent` that calls are booked at whose cost nobody knows; each may have cost less."""
        below = [units_of(cost) for path, cost in self._unknown.values() if path == node or path.startswith(f"{node}/")]
        return spent_of([sum(column) for column in zip([0] * len(RESOURCES), *below, strict=True)])

    # spending

    def reserve(self, node: str, wanted: Spent) -> Reservation:
        """Set something aside in `node` and all nodes above it.

        Raises:
            OutOfBudgetError: one of them has less left; its `pending` says what calls in flight may give back there.

        """
        self.validate_fits(node, wanted)
        reservation = Reservation(node, wanted)
        for each in self._above(node):
            _increase(each.reserved, units_of(wanted))
        self._open.add(reservation)
        return reservation

    def validate_fits(self, node: str, wanted: Spent) -> None:
        """Raise OutOfBudgetError where `reserve` would."""
        line = self._above(node)
        for resource, units in enumerate(units_of(wanted)):
            for depth, each in enumerate(line):
                free = each.free(resource)
                if free is not None and units > free:
                    lacking = _paths(node)[depth]
                    raise OutOfBudgetError(
                        f"The budget of {lacking!r} is out: the call may need {told(resource, units)}, and"
                        f" {told(resource, max(0, free))} is left. Ask for shorter answers, or add to it: tercet budget add.",
                        node=lacking,
                        resource=RESOURCES[resource],
                        needed=shown(resource, units),
                        left=max(0, shown(resource, free)),
                        pending=shown(resource, each.reserved[resource]),
                    )

    def settle(self, reservation: Reservation, cost: Spent, *, unknown: str = "") -> None:
        """Spend this of a reservation, and give the rest back.

        A seller that charges more than it quoted is booked in full: the money is gone, and the node has nothing left.
        `unknown` is the id of a call whose cost nobody knows: `cost` is then the most that it can have been.
        """
        if reservation not in self._open:
            raise UsageError(f"This reservation of {reservation.node!r} was settled before.")
        self._open.remove(reservation)
        spent = units_of(cost)
        assert min(spent) >= 0, spent
        for each in self._above(reservation.node):
            _increase(each.reserved, [-units for units in units_of(reservation.amount)])
            _increase(each.spent, spent)
        if unknown:
            self._unknown[unknown] = (reservation.node, cost)
        self._more()

    def correct(self, call: str, cost: Spent) -> None:
        """Book what a call of unknown cost did cost, in place of what was booked. Once: a second time changes nothing."""
        node, booked = self._unknown.pop(call, ("", cost))
        if node:
            change = [new - old for new, old in zip(units_of(cost), units_of(booked), strict=True)]
            for each in self._above(node):
                _increase(each.spent, change)
            self._more()

    # building it anew

    def replay(self, events: Iterable[Event]) -> None:
        """Book what a journal tells. A reservation that no `call` closed was lost with its process; the desk settles it."""
        for event in events:
            if event.kind == "budget.set":
                found, budget = self._node(event.body["node"]), Budget(**read_body(event.body, "attention"))
                found.limit, found.attention = limits_of(budget), budget.attention
            elif event.kind == "budget.allowed":
                self._node(event.body["node"]).allowance = Allowance(event.body["credit"], event.body["task"])
            elif event.kind == "budget.added":
                self._add(event.body["node"], Spent(**read_body(event.body)), event.body.get("attention") or 0)
            elif event.kind == "call":
                for each in self._above(path_of(event)):
                    _increase(each.spent, units_of(cost_of(event)))
                if event.body.get("status") == "unknown":
                    self._unknown[str(event.body["id"])] = (path_of(event), cost_of(event))
            elif event.kind == "call.reconciled":
                self.correct(str(event.body["id"]), cost_of(event))
        self._more()

    def _add(self, node: str, more: Spent, attention: float) -> None:
        found = self._node(node)
        found.attention = None if found.attention is None else found.attention + attention
        found.limit = [
            None if limit is None else limit + units for limit, units in zip(found.limit, units_of(more), strict=True)
        ]
        if found.allowance is not None:
            found.allowance = replace(found.allowance, credit=found.allowance.credit + more.credit)

    def _node(self, path: str) -> _Node:
        if path not in self._nodes:
            for each in _paths(path):
                self._nodes.setdefault(each, _Node())
        return self._nodes[path]

    def _above(self, path: str) -> list[_Node]:
        if path not in self._lines:
            self._node(path)
            self._lines[path] = [self._nodes[each] for each in _paths(path)]
        return self._lines[path]

    def _free(self, path: str, resource: int) -> int | None:
        free = [left for each in self._above(path) if (left := each.free(resource)) is not None]
        return max(0, min(free)) if free else None

    def _more(self) -> None:
        self.version += 1
        self._changed()


def path_of(event: Event) -> str:
    """The node that a `call` event charges."""
    return str(event.body.get("agent") or "run")


def cost_of(event: Event) -> Spent:
    """What a `call` event spent."""
    body = event.body
    return Spent(
        int(body.get("charged", 0)),
        int(body.get("prompt", 0)) + int(body.get("completion", 0)),
        float(body.get("seconds", 0.0)),
    )


def _validate_amounts(amounts: Mapping[str, Any]) -> None:
    """Money and tokens are counted in whole units; and what is no number would bind nobody, since nothing exceeds it."""
    for name, amount in amounts.items():
        kinds = (int,) if name in {"credit", "tokens"} else (int, float)
        if amount is not None and (type(amount) not in kinds or not -_FAR < amount < _FAR):
            whole = "a whole number" if len(kinds) == 1 else "a number"
            raise UsageError(f"{name} is {whole} below 2^63, not {amount!r}.")


def _paths(node: str) -> list[str]:
    parts = node.split("/")
    if not all(parts):
        raise UsageError(f"{node!r} is no node of a run. Write it as run, run/<crew> or run/<crew>/<agent>.")
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]


def _increase(units: list[int], by: list[int]) -> None:
    for resource, more in enumerate(by):
        units[resource] += more
