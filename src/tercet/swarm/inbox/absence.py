"""What a person who comes back has to know, in seven lines. A fold over a run's events; no clock, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tercet.errors import CardError
from tercet.market import CREDIT, Amount
from tercet.swarm.inbox.cards import parse_card
from tercet.swarm.journal import Event

__all__ = ["FACTS", "KINDS", "Since", "build_digest"]

FACTS = (
    "goal at risk", "spent", "done for good", "decided by default", "blocked", "next deadline", "claims overturned",
)  # fmt: skip
"""The seven facts, in the order of the lines."""


class Since:
    """Facts about a run; `mark` begins a new absence."""

    def __init__(self) -> None:
        self.goal = ""
        self.budget = 0
        self.spent = 0
        self.failed: dict[str, str] = {}
        """Task to why it failed for good."""
        self.final: dict[str, str] = {}
        """Card to what was done for good on its approval."""
        self.defaulted = {"yes": 0, "no": 0}
        self.blocked: dict[str, str] = {}
        """Agent to why it does not go on."""
        self.overturned = 0
        self._cards: dict[str, tuple[str, bool, float]] = {}
        self._open: set[str] = set()

    def mark(self) -> None:
        """From here on it counts anew; what still holds (spent, blocked, deadlines, risks) stays."""
        self.final.clear()
        self.defaulted = {"yes": 0, "no": 0}
        self.overturned = 0

    def apply(self, event: Event) -> None:
        """One event more; what cannot be read is passed over."""
        if (change := _CHANGES.get(event.kind)) is not None:
            try:
                change(self, event)
            except (CardError, KeyError, TypeError, ValueError):
                return

    def lines(self, now: float) -> Sequence[str]:
        """The seven facts, one line each."""
        waits = sorted((self._cards[name][2], self._cards[name][0]) for name in self._open if name in self._cards)
        values = (
            f"{len(self.failed)} tasks failed: {_few(self.failed)}" if self.failed else "no",
            f"{Amount(self.spent, CREDIT)} of {Amount(self.budget, CREDIT)}"
            + (f" ({100 * self.spent // self.budget} %)" if self.budget else ""),
            f"{len(self.final)}: {_few(self.final.values())}" if self.final else "nothing",
            f"{self.defaulted['yes']} went on, {self.defaulted['no']} were not done",
            f"{len(self.blocked)}: {_few(self.blocked)}" if self.blocked else "nobody",
            f"in {_span(waits[0][0] - now)}: {waits[0][1][:60]}" if waits else "none",
            str(self.overturned) if self.overturned else "none",
        )
        return [f"{name}: {value}" for name, value in zip(FACTS, values, strict=True)]


def build_digest(since: Since, now: float) -> Sequence[str]:
    """At most seven lines: what happened while nobody looked."""
    return since.lines(now)


def _few(names: Any) -> str:
    found = [str(name)[:40] for name in names]
    return ", ".join(found[:2]) + (f" and {len(found) - 2} more" if len(found) > 2 else "")


def _span(seconds: float) -> str:
    if seconds <= 0:
        return "0 min"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.0f} h"


def _started(it: Since, event: Event) -> None:
    it.goal, it.budget = str(event.body.get("goal", "")), int(event.body.get("budget", 0))


def _added(it: Since, event: Event) -> None:
    if event.body.get("node") == "run":
        it.budget += int(event.body.get("credit") or 0)


def _limited(it: Since, event: Event) -> None:
    if event.body.get("node") == "run" and event.body.get("credit") is not None:
        it.budget = int(event.body["credit"])


def _called(it: Since, event: Event) -> None:
    it.spent += int(event.body.get("charged", 0))


def _reconciled(it: Since, event: Event) -> None:
    it.spent += int(event.body.get("charged", 0)) - int(event.body.get("booked", 0))


def _failed(it: Since, event: Event) -> None:
    if event.body.get("final"):
        it.failed[event.task] = str(event.body.get("why", ""))


def _task_over(it: Since, event: Event) -> None:
    it.failed.pop(event.task, None)


def _agent(it: Since, event: Event) -> None:
    name = str(event.body["agent"])
    if event.body.get("state") in {"waiting", "stuck", "paused"}:
        it.blocked[name] = str(event.body.get("why", ""))
    else:
        it.blocked.pop(name, None)


def _raised(it: Since, event: Event) -> None:
    card = parse_card(event.body["card"])
    it._cards[card.id] = (card.action, card.reversible, card.deadline)  # noqa: SLF001 - the fold's own
    if event.body.get("to") == "person":
        it._open.add(card.id)  # noqa: SLF001


def _answered(it: Since, event: Event) -> None:
    it._open.discard(str(event.body["card"]))  # noqa: SLF001


def _defaulted(it: Since, event: Event) -> None:
    _answered(it, event)
    it.defaulted[str(event.body["answer"])] += 1


def _used(it: Since, event: Event) -> None:
    name = str(event.body["card"])
    action, reversible, _ = it._cards[name]  # noqa: SLF001
    if not reversible:
        it.final[name] = action


def _claim(it: Since, event: Event) -> None:
    claim: Any = event.body.get("claim", event.body)
    state = claim.get("state", "") if isinstance(claim, Mapping) else ""
    it.overturned += event.body.get("ok") is False or state in {"refuted", "overturned"}


_CHANGES: Mapping[str, Callable[[Since, Event], None]] = {
    "run.started": _started,
    "budget.added": _added,
    "budget.set": _limited,
    "call": _called,
    "call.reconciled": _reconciled,
    "task.failed": _failed,
    "task.done": _task_over,
    "task.started": _task_over,
    "agent.state": _agent,
    "ask.raised": _raised,
    "ask.answered": _answered,
    "ask.defaulted": _defaulted,
    "ask.used": _used,
    "claim.checked": _claim,
}

KINDS = tuple(_CHANGES)
"""The events that it is folded from."""
