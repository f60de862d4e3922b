"""A run in this process: what the parts of the kernel share."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tercet.errors import EndedError, OutOfBudgetError
from tercet.swarm.config import Person, RunConfig, Status
from tercet.swarm.gateway import Desk
from tercet.swarm.journal import Journal
from tercet.swarm.state import Folding
from tercet.swarm.views import RunState
from tercet.swarm.workbench import Role
from tercet.swarm.workspace import Workspace

__all__ = ["Ending", "Run"]

_T = TypeVar("_T")


class Ending:
    """Whether the run is to end, how and why. The first who says so is heard."""

    def __init__(self) -> None:
        self.status: Status | None = None
        """None while nobody has said so."""
        self.why = ""
        self.lacking: OutOfBudgetError | None = None
        """What was out, where it ends for want of it."""
        self.changed = asyncio.Event()
        """Set when there is something for the run to look at."""

    def say(self, status: Status, why: str, lacking: OutOfBudgetError | None = None) -> None:
        """End the run like this."""
        if self.status is None:
            self.status, self.why, self.lacking = status, why, lacking
        self.changed.set()

    async def unless(self, work: Coroutine[Any, Any, _T]) -> _T | None:
        """Do the work; None where the run is ended before it is done."""
        doing = asyncio.create_task(work)
        try:
            while not doing.done() and self.status is None:
                await self.wait(doing)
            return doing.result() if doing.done() else None
        except EndedError as error:
            self.say("stopped", error.why)
            return None
        finally:
            doing.cancel()
            await asyncio.gather(doing, return_exceptions=True)

    async def wait(self, *futures: asyncio.Future[Any]) -> None:
        """Until one of these is done, or there is something to look at."""
        changed = asyncio.ensure_future(self.changed.wait())
        await asyncio.wait([*futures, changed], return_when=asyncio.FIRST_COMPLETED)
        changed.cancel()
        self.changed.clear()


@dataclass(slots=True, eq=False)
class Run:
    """One run, open for work."""

    folder: Path
    config: RunConfig
    journal: Journal
    desk: Desk
    workspace: Workspace
    person: Person
    roles: Mapping[str, Role]
    ending: Ending
    _folding: Folding = field(default_factory=Folding)

    @property
    def model(self) -> str:
        """Which model thinks where nobody names one."""
        return self.config.model or next(iter(self.desk.upstream.models), "")

    @property
    def budget(self) -> int:
        """Credit units that it may spend in all, what was added included."""
        limit = self.desk.budgets.limit("run").credit
        return self.config.budget if limit is None else limit

    def now(self) -> RunState:
        """The run as its journal has it; only what is new is read."""
        for event in self.journal.events(after=self._folding.seq):
            self._folding.take(event)
        return self._folding.state()
