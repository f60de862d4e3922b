"""Books what the lost calls of a run cost that nobody works on, and may never again: their seller is asked once more.

It is what a resume does first, without the agents. Each correction is one event of the journal, which one process at a time
may write: killed anywhere and begun again, it asks for what is still unknown and books nothing twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tercet.errors import ThinkingError
from tercet.swarm.gateway.answers import LOST_KINDS, lost_calls
from tercet.swarm.gateway.budgets import BUDGET_KINDS, Budgets
from tercet.swarm.gateway.call import Upstream
from tercet.swarm.gateway.http import HttpUpstream
from tercet.swarm.gateway.receipts import at_most, closing
from tercet.swarm.gateway.unsettled import Unsettled
from tercet.swarm.journal import Event, Journal

__all__ = ["Doubt", "Reconciled", "Settled", "reconcile"]


@dataclass(frozen=True, slots=True)
class Settled:
    """A call whose cost is known now."""

    id: str
    agent: str
    """Node path."""
    booked: int
    """Credit units that were booked until now: the most that it can have cost."""
    charged: int
    """Credit units that it did cost."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A call whose cost nobody could say."""

    id: str
    agent: str
    booked: int
    why: str
    again: bool
    """Asking later may help."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What asking came to."""

    settled: Sequence[Settled]
    unknown: Sequence[Doubt]


async def reconcile(journal: Journal, upstream: Upstream) -> Reconciled:
    """Ask for every call that is booked as `unknown`, and for those that were in flight when the run was killed.

    Args:
        journal: the run's, open for writing: so no kernel works on it.
        upstream: what the run thinks with, not opened yet; closed again.

    """
    past = list(journal.events(kinds=(*BUDGET_KINDS, *LOST_KINDS)))
    past += [await _book_at_most(journal, event) for event in lost_calls(past)]
    budgets = Budgets()
    budgets.replay(past)
    unsettled = Unsettled(journal, budgets, upstream, past)
    asked, head = list(unsettled.waiting), journal.head
    if not asked:
        return Reconciled((), ())
    errors = await _ask(unsettled, upstream, asked)
    await journal.flush()
    settled = [
        Settled(body["id"], body["agent"], body["booked"], body["charged"])
        for body in (event.body for event in journal.events(after=head, kinds=("call.reconciled",)))
    ]
    return Reconciled(settled, [_doubt(event, errors[event.body["id"]]) for event in unsettled.waiting])


async def _ask(unsettled: Unsettled, upstream: Upstream, asked: Sequence[Event]) -> Mapping[str, ThinkingError]:
    if not isinstance(upstream, HttpUpstream):  # what thinks on this machine has to load no model to be asked
        return await unsettled.sweep()
    try:
        await upstream.open()
    except ThinkingError as error:
        return {event.body["id"]: error for event in asked}
    try:
        return await unsettled.sweep()
    finally:
        await upstream.close()


async def _book_at_most(journal: Journal, opened: Event) -> Event:
    """A call that was in flight when its process was killed: all that was set aside, until its seller is heard."""
    body = {**opened.body, **closing("unknown", at_most(opened.body))}
    return await journal.append("call", body, actor=opened.actor, task=opened.task)


def _doubt(event: Event, error: ThinkingError) -> Doubt:
    return Doubt(event.body["id"], event.body["agent"], event.body["charged"], str(error), error.again)
