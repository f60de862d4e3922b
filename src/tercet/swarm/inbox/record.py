"""What an inbox writes into the journal, and what it reads there that others wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tercet.swarm.inbox.cards import APPROVAL_SECONDS, Card
from tercet.swarm.inbox.clock import Clock
from tercet.swarm.inbox.replies import Reply
from tercet.swarm.inbox.stamps import is_high_risk
from tercet.swarm.inbox.state import PERSON, QUOTA_KINDS, InboxState
from tercet.swarm.journal import Event, Journal, read_events

__all__ = ["Record"]


class Record:
    """The one writer; the state knows at once what was written."""

    def __init__(self, journal: Journal, state: InboxState, clock: Clock, high_loss: int) -> None:
        self._journal, self._state, self._clock, self._high_loss = journal, state, clock, high_loss
        self._head, self._heard = 0, state.seq
        """Where the journal ended when quotas were last looked for, and up to where they are known."""

    def note(self, kind: str, body: Mapping[str, Any], actor: str = "kernel", task: str = "") -> Event:
        """One event."""
        alone = self._journal.head == self._head
        event = self._journal.note(kind, body, actor=actor, task=task)
        self._head = event.seq if alone else self._head
        self._state.apply(event)
        return event

    def raised(self, card: Card, to: str) -> None:
        """A card comes before somebody: `person`, `policy:ID` or `lead:CREW`."""
        self.hear_of_quotas()
        now, weighty = self._clock.now(), is_high_risk(card, self._high_loss)
        fits = self._state.quotas.may_show(self._state.showings, card.agent, now, weighty=weighty)
        again = card.id in self._state.open
        body = {"card": card.to_json(), "to": to, "over_quota": to == PERSON and not fits, "again": again, "at": now}
        self.note("ask.raised", body)

    def settle(self, kind: str, card: Card, choice: Reply, by: str, body: Mapping[str, Any]) -> None:
        """An answer, or a default."""
        now = self._clock.now()
        said = {
            "card": card.id, "answer": choice, "by": by, "digest": card.digest, "expires": now + APPROVAL_SECONDS,
            "at": now,
        }  # fmt: skip
        self.note(kind, {**said, **body}, by if by == PERSON else "kernel", card.task)

    def mark(self, card: Card, state: str, why: str = "") -> None:
        """Let everybody see that the asking agent waits, or works again."""
        agent = card.agent.rpartition("/")[2]
        self.note("agent.state", {"agent": agent, "state": state, "why": why}, agent, card.task)

    def hear_of_quotas(self) -> None:
        """Take in crews and limits that others have written down since; nothing is read where nobody wrote."""
        if self._journal.head == self._head:
            return
        self._head = self._journal.head
        for event in read_events(self._journal.path, self._heard, QUOTA_KINDS):
            self._state.apply(event)
            self._heard = event.seq
