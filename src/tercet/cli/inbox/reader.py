"""Follows a run's journal for the inbox: what waits, what happened meanwhile, how many crews share the person."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tercet.swarm.inbox import InboxState, Queue, Since, build_queue
from tercet.swarm.inbox.rules import DECISIONS_AN_HOUR
from tercet.swarm.journal import Event, read_events

__all__ = ["Reader"]


@dataclass(slots=True)
class Reader:
    """What the journal says; `poll` reads on."""

    run: str
    path: Path | None = None
    """The journal; None when events are handed in."""
    state: InboxState = field(default_factory=InboxState)
    since: Since = field(default_factory=Since)
    crews: int = 1
    decisions: int = DECISIONS_AN_HOUR
    ended: str = ""
    """How the run ended; empty while it goes on."""
    seq: int = 0

    def poll(self) -> bool:
        """Read what was written since; whether there was anything."""
        if self.path is None:
            return False
        before = self.seq
        for event in read_events(self.path, self.seq):
            self.apply(event)
        return self.seq > before

    def apply(self, event: Event) -> None:
        """One event more."""
        self.seq = event.seq
        if event.kind == "ask.decided":
            self.since.mark()  # the person was here
        self.state.apply(event)
        self.since.apply(event)
        self._frame(event)

    def _frame(self, event: Event) -> None:
        body = event.body
        if event.kind == "crew.formed":
            self.crews = max(1, len({*body.get("crews", ()), str(body.get("crew", ""))}), self.crews)
        elif event.kind == "budget.set" and body.get("node") == "run" and body.get("attention"):
            self.decisions = max(1, int(body["attention"]))
        elif event.kind == "run.ended":
            self.ended = str(body.get("status", "ended"))
        elif event.kind == "run.started":
            self.ended = ""

    def queue(self, now: float) -> Queue:
        """What is before the person."""
        return build_queue(self.state, now, crews=self.crews, decisions=self.decisions)
