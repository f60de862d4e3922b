"""An inbox over a real journal, on a clock that is wound by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tercet.swarm.inbox import Answer, Card, Inbox, VirtualClock, build_card
from tercet.swarm.journal import Event, Journal, read_events

MINUTE, HOUR = 60.0, 3600.0
CREDIT = 1_000_000


@dataclass
class Office:
    """A run's inbox and who asks it."""

    inbox: Inbox
    clock: VirtualClock
    asks: list[asyncio.Task[Answer]] = field(default_factory=list)
    count: int = 0

    def card(self, agent: str = "fixer-1", crew: str = "fixers", *, minutes: float = 60, **how: Any) -> Card:
        """A reversible ask of 0.1 credit, each for a call of its own."""
        self.count += 1
        given: dict[str, Any] = {
            "action": f"Fetch page {self.count} of the manual",
            "kind": "network",
            "tool": "fetch",
            "call": {"page": self.count},
            "loss": CREDIT // 10,
            "reversible": True,
            "task": "read",
            "step": f"s{self.count}",
        }
        return build_card(agent=f"run/{crew}/{agent}", deadline=self.clock.now() + minutes * MINUTE, **{**given, **how})

    async def ask(self, card: Card) -> asyncio.Task[Answer]:
        """Ask, and let it reach the queue."""
        task = asyncio.create_task(self.inbox.ask(card))
        self.asks.append(task)
        await self.settle()
        return task

    async def settle(self) -> None:
        """Let everybody take the turns that they have."""
        for _ in range(8):
            await asyncio.sleep(0)

    async def raise_(self, *args: Any, **how: Any) -> Card:
        """A card that waits."""
        card = self.card(*args, **how)
        await self.ask(card)
        return card

    async def events(self, *kinds: str) -> list[Event]:
        """What the journal has of these, once all is written."""
        await self.inbox.journal.append("control", {"verb": "state", "target": "run", "by": "test"})
        return list(read_events(self.inbox.journal.path, kinds=kinds))

    def close(self) -> None:
        """Nobody waits any more."""
        self.inbox.close()
        for task in self.asks:
            task.cancel()


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    """Six decisions an hour, one crew, no test cards."""
    clock = VirtualClock()
    with Journal(tmp_path / "journal.db") as journal:
        found = Office(Inbox(journal, clock=clock, canary_every=0), clock)
        yield found
        found.close()
        await asyncio.gather(*found.asks, return_exceptions=True)
