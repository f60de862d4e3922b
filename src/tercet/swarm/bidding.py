"""What an agent offers to do a task for, and whose offer is taken. Rules and values only: no model has a say in either.

An offer is computed from what is known: the price of the agent's model, what tasks of this kind cost its kind of agent in
this run, how long they took and how many came to a good end, and what it has to do first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from tercet.market import Price, Usage
from tercet.swarm.events import Event
from tercet.swarm.plan import Slot

__all__ = ["PAST_KINDS", "Kind", "Past", "PastWork", "Proposal", "first_call", "quote", "rank"]

PAST_KINDS = ("run.planned", "agent.started", "task.started", "task.done", "task.failed", "call")
"""Of the events that tell how tasks went."""
_SURE = 10_000
"""Basis points: it always succeeds."""
_CALLS = 8
"""Calls of a model that a task is quoted at by who never did one like it."""
_ANSWER = 512
"""Tokens that one of them is answered with."""
_FRAME = 256
"""Tokens around the question."""
_MOST_READ = 8192
"""Tokens of the question; more goes into no prompt."""
_CAUTION = 2
"""How often the dearest task so far is quoted: the next one may be harder."""


class Kind(NamedTuple):
    """Tasks of one planned role as agents of one slot do them."""

    task_role: str
    slot: Slot


class Proposal(BaseModel):
    """What an agent offers in answer to a call."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)

    price: int = Field(ge=0, lt=2**53)
    """Credit units for all of the work: who has spent them gets no further attempt where somebody else can be asked."""
    seconds: float = Field(gt=0, le=10**7)
    """Until it is done, what it has to do before included."""
    success_bps: int = Field(default=_SURE, ge=1, le=_SURE)
    """How many of 10,000 such tasks it would bring to a good end."""
    note: str = Field(default="", max_length=2000)


@dataclass(frozen=True, slots=True)
class Past:
    """How tasks of a kind went."""

    done: int = 0
    failed: int = 0
    dearest: int = 0
    """Credit units that one of them cost at the most."""
    seconds: float = 0.0
    """That they took together."""


def rank(offers: Mapping[str, Proposal], *, budget: int, seconds: float) -> list[str]:
    """The agents whose offers can be taken, the best first.

    What counts is the price of a success, that is price by chance of success; then the time to one, which is all that
    tells free offers apart; then the order of `offers`.

    Args:
        offers: by agent, in the order in which they were asked: who planned the work named whom they thought of first.
        budget: credit units that the task may cost.
        seconds: that it may take.

    """

    def cost(agent: str) -> tuple[Fraction, Fraction]:
        offer = offers[agent]
        chance = Fraction(offer.success_bps, _SURE)
        return offer.price / chance, Fraction(offer.seconds) / chance

    return sorted(
        (name for name, offer in offers.items() if offer.price <= budget and offer.seconds <= seconds), key=cost
    )


def first_call(asked: int) -> Usage:
    """Tokens of one call on a task whose words and files have so many bytes."""
    return Usage(min(_MOST_READ, _FRAME + asked // 4), _ANSWER)


def quote(past: Past, *, price: Price | None, call: Usage, budget: int, seconds: float, queue: float) -> Proposal:
    """What to offer.

    Args:
        past: how such tasks went.
        price: of the agent's model; None where nobody knows it.
        call: tokens of one call.
        budget: credit units that the task may cost: the price of who cannot know a lower one.
        seconds: that the task may take: the time of who never did one.
        queue: seconds until the agent is free.

    """
    ended = past.done + past.failed
    one = 0 if price is None else price.charge(call)
    unknown = budget if price is None else one * _CALLS
    most = max(_CAUTION * past.dearest, one) if ended else unknown
    took = past.seconds / ended if ended else seconds
    chance = (past.done + 1) * _SURE // (ended + 2)  # Laplace's rule: half of those of whom nothing is known
    return Proposal(price=most, seconds=max(0.001, round(queue + took, 3)), success_bps=max(1, chance))


@dataclass(slots=True)
class _Work:
    """A task in the hands of one slot."""

    slot: Slot
    agents: set[str]
    since: int
    """Unix milliseconds."""


@dataclass(slots=True)
class PastWork:
    """How tasks went so far, by kind; it goes on as events come."""

    seen: int = 0
    """Number of the last event."""
    _slots: dict[str, Slot] = field(default_factory=dict)
    _roles: dict[str, str] = field(default_factory=dict)
    """Task to its planned role."""
    _working: dict[str, _Work] = field(default_factory=dict)
    _costs: dict[tuple[str, str], int] = field(default_factory=dict)
    """Task and agent to credit units."""
    _past: dict[Kind, Past] = field(default_factory=dict)

    def of(self, kind: Kind) -> Past:
        """How such tasks went."""
        return self._past.get(kind, Past())

    def take(self, events: Iterable[Event]) -> None:
        """What happened since; other kinds of events are passed over."""
        for event in events:
            self.seen, body = event.seq, event.body
            if event.kind == "run.planned":
                self._roles |= {str(task["id"]): str(task["role"]) for task in body["plan"]["tasks"]}
            elif event.kind == "agent.started":
                self._slots[str(body["agent"])] = Slot(str(body["role"]), str(body.get("own_model", "")))
            elif event.kind == "call" and event.task:
                key = event.task, str(body["agent"]).rpartition("/")[2]
                self._costs[key] = self._costs.get(key, 0) + int(body.get("charged", 0))
            elif event.kind == "task.started":
                self._begin(event, str(body["agent"]))
            elif event.kind == "task.done" or (event.kind == "task.failed" and _is_over(event)):
                self._end(event, done=event.kind == "task.done")

    def _begin(self, event: Event, agent: str) -> None:
        slot, going = self._slots.get(agent), self._working.get(event.task)
        if slot is None:
            return
        if going is not None and going.slot == slot:
            going.agents.add(agent)
        else:
            self._working[event.task] = _Work(slot, {agent}, event.time_ms)

    def _end(self, event: Event, *, done: bool) -> None:
        work = self._working.pop(event.task, None)
        if work is None:
            return
        kind = Kind(self._roles.get(event.task, work.slot.role), work.slot)
        cost = sum(self._costs.get((event.task, agent), 0) for agent in work.agents)
        was = self.of(kind)
        self._past[kind] = replace(
            was,
            done=was.done + done,
            failed=was.failed + (not done),
            dearest=max(was.dearest, cost),
            seconds=was.seconds + max(0, event.time_ms - work.since) / 1000,
        )


def _is_over(failed: Event) -> bool:
    """Whether it was the agent's last attempt."""
    return bool(failed.body.get("final") or failed.body.get("contract"))
