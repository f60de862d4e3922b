"""What a run was asked for, whom it asks, and how it ended. Values only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

from tercet.errors import OutOfBudgetError
from tercet.swarm.delivery import Delivery
from tercet.swarm.events import Event
from tercet.swarm.plan import Plan
from tercet.swarm.views import RunState

__all__ = ["Outcome", "Person", "RunConfig", "Status", "config_of"]

Status: TypeAlias = Literal["done", "failed", "out_of_budget", "stopped", "paused"]


@dataclass(frozen=True, slots=True)
class RunConfig:
    """What a run was asked for; it stands in `run.started`, so that a resume asks for the same."""

    goal: str
    budget: int
    """Credit units."""
    dir: str = ""
    """The person's folder, absolute; empty for none."""
    agents: int = 4
    """The most that work at once, and how many are made where a plan has room for more than one of a role."""
    model: str = ""
    gateway: str = ""
    """Where thinking is bought, in words: a URL, `local`, `scripted`."""
    plan: str = ""
    """The plan's file, absolute; empty lets the planner find one."""
    hidden: str = ""
    """Folder that only done-tests see, absolute; empty takes the folder `hidden` beside the plan's file, if there is one."""
    candidates: Sequence[str] = ()
    """Who may do tasks of a role too, each `ROLE=OTHER` or `ROLE=OTHER@MODEL`; tasks that name their own are left alone."""
    lend: Sequence[str] = ()
    """Installed Python distributions that the sandbox can import."""
    seed: int = 0
    """Of samples that are drawn by chance: the same goal begun again draws others."""
    memory: str = ""
    """Where the agents' shared memory is: address of a Chroma server, a folder, or `off`; empty for the run's folder."""
    purse: Mapping[str, str] = field(default_factory=dict)
    """Whose money agents may pay away, and how much; see `cli/wallet_purse.py`. No secrets. Empty for none."""
    upstream: Mapping[str, str] = field(default_factory=dict)
    """What whoever resumes needs to open the same models again. No secrets: names of files that hold them."""


def config_of(events: Iterable[Event]) -> RunConfig | None:
    """What a run was asked for, from its first event and the changes of each fork; None where it never began."""
    found: dict[str, Any] = {}
    for event in events:
        if event.kind == "run.started":
            found |= event.body
        elif event.kind == "run.forked":
            found |= event.body.get("config", {})
    names = RunConfig.__dataclass_fields__
    return RunConfig(**{name: value for name, value in found.items() if name in names}) if found.get("goal") else None


class Person(Protocol):
    """Whoever gave the goal. Each answer says who agreed: the person, or the option that spoke for them."""

    async def approve(self, plan: Plan, by: str, config: RunConfig, *, again: bool) -> str:
        """Agree to a plan. Raises `RefusedError` for no."""

    async def accept(self, paths: Sequence[str], directory: Path) -> str:
        """Agree to files being written into the folder. Raises `RefusedError` for no."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended, or was left."""

    status: Status
    why: str
    state: RunState
    folder: Path
    delivery: Delivery | None = None
    lacking: OutOfBudgetError | None = None
    """Whose budget was out, and of what, where it ended for want of it."""
