"""A run at one look: who needs the person first, and one row for each crew, however many agents there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tercet.cli.inbox.reader import KINDS as INBOX_KINDS
from tercet.cli.inbox.reader import Reader
from tercet.cli.inbox.words import tell_item
from tercet.swarm.inbox import Item, Queue
from tercet.swarm.journal import Event, read_events
from tercet.swarm.state import KINDS as STATE_KINDS
from tercet.swarm.state import Folding
from tercet.swarm.views import RunState

__all__ = ["Glance"]

RATE_SECONDS = 60.0
"""Calls are counted over this long."""
_STATES = ("working", "waiting", "idle", "paused", "stuck", "killed", "done")


class Glance:
    """What `top` and `run` show, followed through a run's journal."""

    def __init__(self, folder: Path, kinds: Iterable[str] = ()) -> None:
        """Follow the run in `folder`; `kinds` are those that the caller wants to hear of besides."""
        self.name = folder.name
        self._kinds = (*STATE_KINDS, *INBOX_KINDS, *kinds)
        self._path = folder / "journal.db"
        self.folding = Folding()
        self._inbox = Reader(folder.name)
        self._calls: list[tuple[float, str]] = []

    @property
    def ended(self) -> bool:
        """Whether the run has ended."""
        return bool(self.folding.told.ended_ms)

    def read(self) -> list[Event]:
        """Take in what was written since, as far as it is shown; what that was.

        Raises:
            JournalError: there is none, or it cannot be read.

        """
        events = list(read_events(self._path, self.folding.seq, self._kinds))
        for event in events:
            self.folding.take(event)
            self._inbox.apply(event)
            if event.kind == "call":
                self._calls.append((event.time_ms / 1000, str(event.body.get("agent", "run"))))
        return events

    def view(self, now: float) -> dict[str, Any]:
        """The numbers, as `--json` prints them; O(crews), whatever the number of agents."""
        state = self.folding.state()
        self._calls = [(at, node) for at, node in self._calls if at > now - RATE_SECONDS]
        limit = state.budgets.get("run")
        queue = self._inbox.queue(now)
        first = queue.items[0] if queue.items else None
        ended = state.run.ended_ms / 1000 or now
        return {
            "run": self.name,
            "state": state.run.state,
            "why": state.run.why,
            "goal": state.run.goal,
            "seconds": round(max(0.0, ended - state.run.started_ms / 1000), 1) if state.run.started_ms else 0.0,
            "spent": str(state.spent().charged),
            "limit": None if limit is None or limit.credit is None else str(limit.credit),
            "tokens": state.spent().prompt + state.spent().completion,
            "calls_a_minute": len(self._calls),
            "asks": len(queue.items),
            "held": len(queue.held),
            "first": None if first is None else {"id": first.id, "node": first.node, "action": tell_item(first)},
            "crews": [self._crew(state, queue, crew) for crew in sorted(_crews(state))],
        }

    def _crew(self, state: RunState, queue: Queue, crew: str) -> dict[str, Any]:
        node = f"run/{crew}"
        agents = [agent for agent in state.agents.values() if agent.crew == crew]
        tasks = [task for task in state.tasks.values() if task.crew == crew]
        states = {name: sum(agent.state == name for agent in agents) for name in _STATES}
        return {
            "crew": crew,
            "agents": len(agents),
            "asks": sum(_is_of(item, node) for item in (*queue.items, *queue.held)),
            "states": {name: count for name, count in states.items() if count},
            "tasks": len(tasks),
            "done": sum(task.state == "done" for task in tasks),
            "failed": sum(task.state == "failed" for task in tasks),
            "spent": str(state.spent(node).charged),
            "tokens": state.spent(node).prompt + state.spent(node).completion,
            "calls_a_minute": sum(each.startswith(f"{node}/") or each == node for _, each in self._calls),
        }


def _is_of(item: Item, crew: str) -> bool:
    """Whether a crew waits for this decision; one for many is noted where its dearest card is, a container with all in it."""
    return any(card.crew == crew for card in (item.cards if item.is_container else item.cards[:1]))


def _crews(state: RunState) -> Iterator[str]:
    yield from {*state.crews, *(agent.crew for agent in state.agents.values() if agent.crew)}
