"""Follows a run's journal for the inbox: what waits, and what happened meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tercet.swarm.inbox import InboxState, Queue, Since, build_queue
from tercet.swarm.inbox.absence import KINDS as SINCE_KINDS
from tercet.swarm.inbox.state import KINDS as WAITING_KINDS
from tercet.swarm.journal import Event, read_events

__all__ = ["KINDS", "Reader"]

KINDS = (*WAITING_KINDS, *SINCE_KINDS, "run.started", "run.ended")
"""The events that say anything here."""


@dataclass(slots=True)
class Reader:
    """What the journal says; `poll` reads on."""

    run: str
    path: Path | None = None
    """The journal; None when events are handed in."""
    state: InboxState = field(default_factory=InboxState)
    since: Since = field(default_factory=Since)
    ended: str = ""
    """How the run ended; empty while it goes on."""
    seq: int = 0

    def poll(self) -> bool:
        """Read what was written since; whether there was anything."""
        if self.path is None:
            return False
        before = self.seq
        for event in read_events(self.path, self.seq, KINDS):
            self.apply(event)
        return self.seq > before

    def apply(self, event: Event) -> None:
        """One event more."""
        self.seq = event.seq
        if event.kind == "ask.decided":
            self.since.mark()  # the person was here
        self.state.apply(event)
        self.since.apply(event)
        if event.kind == "run.ended":
            self.ended = str(event.body.get("status", "ended"))
        elif event.kind == "run.started":
            self.ended = ""

    def queue(self, now: float) -> Queue:
        """What is before the person."""
        return build_queue(self.state, now)
