"""A replay: a run played again from its recorded steps, without a model, a gateway or money, in a folder of its own.

What models, commands and searches gave is read back; what the roles' own programs make of it is made anew. So a replay
shows whether the code still comes from the same record to the same files, and names the first where it does not.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tercet.errors import JournalError, RefusedError, TercetError, ThinkingError
from tercet.swarm.attempt import attempt
from tercet.swarm.claims import Claims
from tercet.swarm.config import RunConfig, config_of
from tercet.swarm.crews import Agent, Team
from tercet.swarm.events import Event, open_journal, read_events, verify_journal
from tercet.swarm.forks import copy_contents
from tercet.swarm.gateway import Call, Desk, ScriptedUpstream
from tercet.swarm.guard import Guard
from tercet.swarm.inbox import Inbox
from tercet.swarm.journal import Journal
from tercet.swarm.plan import Plan, parse_plan
from tercet.swarm.roles import ROLES
from tercet.swarm.run import Ending, Run
from tercet.swarm.run_memory import RunMemory
from tercet.swarm.sandboxes import find_replay_sandbox
from tercet.swarm.shop import Shop, open_shop
from tercet.swarm.tools import Bought
from tercet.swarm.workbench import Role
from tercet.swarm.workspace import Workspace

__all__ = ["Replayed", "ReplayedFile", "replay"]


@dataclass(frozen=True, slots=True)
class ReplayedFile:
    """A file that a task made."""

    path: str
    recorded: str
    """sha256 in the journal; empty where it was deleted, or not made."""
    found: str
    """sha256 in the replay."""

    @property
    def same(self) -> bool:
        """Whether they agree."""
        return self.recorded == self.found


@dataclass(frozen=True, slots=True)
class Replayed:
    """A task that was done, played again."""

    task: str
    attempt: int
    files: Sequence[ReplayedFile] = ()
    fault: str = ""
    """Why it did not come to its end."""

    @property
    def same(self) -> bool:
        """Whether it came to the same files."""
        return not self.fault and all(file.same for file in self.files)


async def replay(folder: Path, *, roles: Mapping[str, Role] = ROLES) -> Sequence[Replayed]:
    """Play a run's done tasks again, in the order in which they were done, up to the first that comes out otherwise.

    The run may be at work; it is only read.

    Raises:
        DamagedJournalError: its journal was changed.
        JournalError: it never began.
        SandboxMissingError: this machine has no sandbox. Done-tests are read back, but a coder runs its tests in it again.
        PackageMissingError: a role needs a package that is not installed to do the same again.

    """
    verify_journal(folder / "journal.db")
    config = config_of(read_events(folder / "journal.db", kinds=("run.started", "run.forked")))
    if config is None:
        raise JournalError(f"The run in {folder} had not begun. There is nothing to play.")
    with tempfile.TemporaryDirectory(prefix="tercet-replay-") as name:
        copy = await asyncio.to_thread(_copy, folder, Path(name))
        with Journal(copy / "journal.db") as journal:
            return await _play(copy, config, journal, roles)


def _copy(folder: Path, place: Path) -> Path:
    copy = place / folder.absolute().name  # keys of steps are made with the run's name
    copy.mkdir()
    with (
        closing(open_journal(folder / "journal.db", readonly=True)) as source,
        closing(open_journal(copy / "journal.db")) as target,
    ):
        source.backup(target)
    copy_contents(folder, copy)
    return copy


async def _play(folder: Path, config: RunConfig, journal: Journal, roles: Mapping[str, Role]) -> Sequence[Replayed]:
    workspace = Workspace(folder)
    await asyncio.to_thread(workspace.recall, [])
    run = Run(
        folder,
        config,
        journal,
        Desk(journal, ScriptedUpstream(_no_model, model="")),
        workspace,
        _Absent(),
        roles,
        Ending(),
    )
    past = list(journal.events(kinds=("run.planned", "task.failed", "task.done", "agent.started")))
    plans = [event for event in past if event.kind == "run.planned"]
    if not plans:
        return []
    last = _plan_of(plans[-1])
    team = Team(journal, run.model, roles)
    await team.form(last, config.agents, run.now())
    guard = Guard(Claims(journal))
    inbox = Inbox(journal)
    found: list[Replayed] = []
    try:
        async with RunMemory(config.memory or folder / "memory", guard) as memory:
            sandbox = await asyncio.to_thread(find_replay_sandbox, last, config.lend)
            shop = open_shop(run, sandbox, team, inbox, guard, memory)
            shop.recorded_only, shop.purse = True, _Closed()
            for done in (event for event in past if event.kind == "task.done"):
                found.append(await _again(shop, team, past, done))
                if not found[-1].same:
                    break
    finally:
        inbox.close()
    return found


async def _again(shop: Shop, team: Team, past: Sequence[Event], done: Event) -> Replayed:
    """One task: the attempt that was merged, with what its agent knew then."""
    number = int(done.body["attempt"])
    plan = next(_plan_of(event) for event in reversed(past) if event.kind == "run.planned" and event.seq < done.seq)
    task = next(task for task in plan.tasks if task.id == done.task)
    failures = [
        str(event.body["why"])
        for event in past
        if event.kind == "task.failed" and event.task == done.task and int(event.body["attempt"]) < number
    ]
    agent = team.agents.get(done.actor, Agent(done.actor, task.role, "", task.crew))
    head = shop.run.journal.head
    try:
        await attempt(shop, task, number, agent, failures[-1] if failures else "")
    except TercetError as error:
        return Replayed(done.task, number, fault=str(error))
    again = next(event for event in shop.run.journal.events(after=head, kinds=("task.done",)))
    recorded, made = _digests(done), _digests(again)
    files = [ReplayedFile(path, recorded.get(path, ""), made.get(path, "")) for path in sorted({*recorded, *made})]
    return Replayed(done.task, number, files)


def _digests(done: Event) -> dict[str, str]:
    return {str(each["path"]): str(each["sha256"]) for each in done.body.get("artefacts", ())}


def _plan_of(event: Event) -> Plan:
    raw = event.body["plan"]
    return parse_plan(raw, budget=sum(int(task["budget"]) for task in raw["tasks"]))


def _no_model(call: Call) -> str:
    raise ThinkingError(f"A replay has no model, and {call.agent!r} asks one.", again=False)


class _Closed:
    """A purse that pays nothing: what was paid is read back."""

    async def pay(self, *_: object, **__: object) -> str:
        """Refuse."""
        raise RefusedError("A replay pays nothing.")

    async def buy(self, *_: object, **__: object) -> Bought:
        """Refuse."""
        raise RefusedError("A replay buys nothing.")

    async def find(self, *_: object, **__: object) -> None:
        """Nothing was paid here."""


class _Absent:
    """The person of a replay, who is not asked."""

    async def approve(self, *_: object, **__: object) -> str:
        """Refuse."""
        raise RefusedError("A replay asks nobody.")

    async def accept(self, *_: object, **__: object) -> str:
        """Refuse."""
        raise RefusedError("A replay delivers nothing.")
