"""What `tercet kill coder-1` means: runs under home, and the crews and agents in them, by name."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tercet.errors import JournalError, RefusedError, UsageError
from tercet.swarm.control import is_served, request
from tercet.swarm.journal import Journal, read_events
from tercet.swarm.state import KINDS, fold
from tercet.swarm.views import AgentView, RunState, node_of

__all__ = [
    "CLOSED",
    "ENDED",
    "NO_RUN",
    "Target",
    "find_run",
    "find_runs",
    "find_target",
    "is_below",
    "read_state",
    "steer",
    "validate_open",
]

ENDED = ("done", "failed", "stopped", "out_of_budget")
"""Statuses that a run ends with. The last two can be resumed."""


CLOSED = ("done", "failed")
"""Those that it cannot be resumed from."""
NO_RUN = "There is no run. Start one: tercet run GOAL --budget 1."


@dataclass(frozen=True)
class _Journal:
    """A run's journal, which is read once, when somebody asks what is in it."""

    folder: Path

    @cached_property
    def state(self) -> RunState:
        return read_state(self.folder)


@dataclass(frozen=True, slots=True)
class Target:
    """A run, or a crew or an agent of it."""

    journal: _Journal
    node: str = "run"
    """`run`, `run/<crew>` or `run/<crew>/<agent>`."""

    @property
    def folder(self) -> Path:
        """The run's."""
        return self.journal.folder

    @property
    def state(self) -> RunState:
        """What the run looked like when this was first asked.

        Raises:
            JournalError: it cannot be read.

        """
        return self.journal.state

    @property
    def name(self) -> str:
        """As people write it: RUN, RUN/crew or RUN/crew/agent."""
        return self.folder.name + self.node.removeprefix("run")

    @property
    def is_run(self) -> bool:
        """Whether it is a whole run."""
        return self.node == "run"

    @property
    def agents(self) -> list[AgentView]:
        """The agents that it is, or has."""
        return [agent for agent in self.state.agents.values() if is_below(agent.node, self.node)]


def is_below(node: str, above: str) -> bool:
    """Whether `node` is `above`, or a part of it."""
    return node == above or node.startswith(f"{above}/")


def find_runs(home: Path) -> list[Path]:
    """Folders of all runs, the newest first: the one that began last, whatever was done or read in the others since."""
    return sorted((path.parent for path in (home / "runs").glob("*/journal.db")), key=_began, reverse=True)


def _began(folder: Path) -> int:
    """When it was first worked on. Whoever reads a journal touches its folder; its lock is made once and stays empty."""
    lock, journal = folder / "journal.lock", folder / "journal.db"
    return (lock if lock.is_file() else journal).stat().st_mtime_ns  # a fork has no lock before it is resumed


def find_run(home: Path, text: str | None) -> Target:
    """What `find_target` finds; without a text the newest run that goes on, else the newest.

    Raises:
        UsageError: there is none.

    """
    if text:
        return find_target(home, text)
    runs = find_runs(home)
    if not runs:
        raise UsageError(NO_RUN)
    folder = next((run for run in runs if asyncio.run(is_served(run))), runs[0])
    return Target(_Journal(folder))


def read_state(folder: Path) -> RunState:
    """What a run looks like now; `seq` and `last_ms` are those of the last event that changed it."""
    return fold(read_events(folder / "journal.db", kinds=KINDS))


def find_target(home: Path, text: str) -> Target:
    """The run, crew or agent that `text` names: RUN, RUN/crew, RUN/crew/agent, RUN/agent, or an agent alone.

    RUN may be shortened to how it begins, or be the path of its folder.

    Raises:
        UsageError: it names nothing, or several; the text lists what is near.

    """
    folders = find_runs(home)
    if (path := Path(text).expanduser()).is_dir() and (path / "journal.db").is_file():
        return Target(_Journal(path))
    run, _, rest = text.partition("/")
    fit = [each for each in folders if each.name == run] or [each for each in folders if each.name.startswith(run)]
    if run and len(fit) == 1:
        journal = _Journal(fit[0])
        nodes = [node for node in _nodes(journal.state) if _is_named(node, rest)] if rest else ["run"]
        if len(nodes) == 1:
            return Target(journal, nodes[0])
    elif "/" not in text and not fit:
        alone = [found for folder in folders for found in _agents_named(folder, text)]
        going = [found for found in alone if found.state.run.state not in ENDED]
        if len(going or alone) == 1:
            return (going or alone)[0]
        fit = [found.folder for found in alone]
    raise UsageError(_unknown(folders, text, ambiguous=len(fit) > 1))


def _nodes(state: RunState) -> list[str]:
    found = {"run", *(node_of(crew) for crew in state.crews), *(agent.node for agent in state.agents.values())}
    return sorted(found | set(state.budgets))


def _is_named(node: str, rest: str) -> bool:
    """Whether `rest` of a target, behind the run, is this node: its path, or the agent's id alone."""
    parts = node.split("/")
    return "/".join(parts[1:]) == rest or (len(parts) == 3 and parts[2] == rest)


def _glimpse(folder: Path) -> RunState:
    """As `read_state`; nothing where the journal is being made, or is no journal: it must not hide the others."""
    try:
        return read_state(folder)
    except JournalError:
        return RunState()


def _agents_named(folder: Path, name: str) -> Iterator[Target]:
    journal = _Journal(folder)
    with contextlib.suppress(JournalError):  # as in _glimpse
        if name in journal.state.agents:
            yield Target(journal, journal.state.agents[name].node)


def _unknown(folders: list[Path], text: str, *, ambiguous: bool) -> str:
    known = [
        folder.name + node.removeprefix("run")
        for folder in folders[:20]
        for node in sorted(_nodes(_glimpse(folder)), key=lambda node: node.count("/"))
    ]
    tail = text.rpartition("/")[2]
    near = [name for name in known if tail and name.rpartition("/")[2].startswith(tail)]
    near += [name for name in difflib.get_close_matches(text, known, n=5, cutoff=0.4) if name not in near]
    near += [name for name in known if name.rpartition("/")[2] in difflib.get_close_matches(
        tail, [each.rpartition("/")[2] for each in known], n=3, cutoff=0.6
    ) and name not in near]  # fmt: skip
    shown = f" Near: {', '.join(near[:6])}." if near else " tercet ps --all lists what there is."
    return f"{text!r} names {'several runs' if ambiguous else 'no run, crew or agent'}.{shown}"


def validate_open(target: Target) -> None:
    """Raise RefusedError when the run has ended, and nothing can come of telling it anything."""
    if target.state.run.status in CLOSED:
        raise RefusedError(
            f"The run {target.folder.name} has ended: {target.state.run.status}. Its report tells what it made and cost."
        )


async def steer(target: Target, verb: str, **args: Any) -> dict[str, Any]:
    """Tell the living run; where none lives, write it down for the next process.

    Returns:
        What the run answered; empty where it was only written down.

    Raises:
        RefusedError: it has ended for good.

    """
    if await is_served(target.folder):
        return await request(target.folder, verb, patience=30.0, node=target.node, **args)
    validate_open(target)
    with Journal(target.folder / "journal.db") as journal:
        body = {"verb": verb, "target": target.node, "by": "person", **args}
        await journal.append("control", body, actor="person")
    return {}
