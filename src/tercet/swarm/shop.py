"""What all attempts of a run share, and how it is opened."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tercet.subnets.kit import Sandbox
from tercet.swarm.crews import Team
from tercet.swarm.guard import Guard
from tercet.swarm.hidden import HIDDEN, HiddenTests, load_hidden
from tercet.swarm.inbox import Inbox
from tercet.swarm.questions import Questions
from tercet.swarm.run import Run
from tercet.swarm.run_memory import RunMemory
from tercet.swarm.tools import Purse
from tercet.swarm.workbench import CHECKS, AskLead

__all__ = ["Shop", "open_shop"]

_CHECKS_FOLDER = Path(__file__).parent / "roles" / "checks"


@dataclass(slots=True)
class Shop:
    """What all attempts of a run share, beside the run itself."""

    run: Run
    sandbox: Sandbox
    lent: Mapping[str, Path]
    """What programs in the sandbox can read: our checks, the original files."""
    hidden: Mapping[str, Path]
    """What only hidden done-tests can read: of the others' output agents are told."""
    tests: HiddenTests
    """What has to hold beside the plan's own done-tests."""
    ask_lead: AskLead
    guard: Guard
    inbox: Inbox
    memory: RunMemory | None = None
    purse: Purse | None = None
    recorded_only: bool = False
    """A replay: nothing is done that the journal does not have."""
    merging: asyncio.Lock = field(default_factory=asyncio.Lock)


def open_shop(run: Run, sandbox: Sandbox, team: Team, inbox: Inbox, guard: Guard, memory: RunMemory) -> Shop:
    """All of it; the files as the person gave them are laid out for done-tests to read."""
    original, hidden = run.folder / "original", run.folder / "hidden"
    run.workspace.store.lay_out(run.workspace.original, original)

    return Shop(
        run,
        sandbox,
        lent={CHECKS: _CHECKS_FOLDER, "/original": original},
        hidden={HIDDEN: hidden} if hidden.is_dir() else {},
        tests=load_hidden(hidden),
        ask_lead=Questions(run.desk, inbox, run.config.goal, run.model, team.leads).ask,
        guard=guard,
        inbox=inbox,
        memory=memory,
    )
