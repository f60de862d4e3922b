"""The kernel: one process that takes a goal to its end. It plans, asks once, lets agents work, merges, delivers, reports.

What a run is stands in its journal; the kernel holds nothing that it could not read back. So a run that was killed is
resumed by making a kernel of its folder again, and repeats only the step it was in. This module opens a run and takes
it from stage to stage: `planning`, `work` (one task each: `pursuit`), `ending`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tercet.errors import GoalError, NotInstalledError, PlanError, RefusedError
from tercet.swarm.claims import Claims
from tercet.swarm.collector import collected_seldom
from tercet.swarm.config import Outcome, Person, RunConfig, Status, config_of
from tercet.swarm.control import serve_control
from tercet.swarm.crews import Team
from tercet.swarm.ending import deliver, end, report_late, run_acceptance_test
from tercet.swarm.events import read_events
from tercet.swarm.gateway import Budget, Desk, Upstream
from tercet.swarm.guard import Guard
from tercet.swarm.inbox import Inbox, build_verbs
from tercet.swarm.journal import Journal
from tercet.swarm.planner import Planned
from tercet.swarm.planning import Planning
from tercet.swarm.roles import ROLES
from tercet.swarm.run import Ending, Run
from tercet.swarm.run_memory import RunMemory
from tercet.swarm.sandboxes import find_sandbox
from tercet.swarm.shop import open_shop
from tercet.swarm.state import fold
from tercet.swarm.steering import Steering
from tercet.swarm.tools import OpenPurse
from tercet.swarm.work import Work
from tercet.swarm.workbench import Role
from tercet.swarm.workspace import Workspace

__all__ = ["Kernel", "Outcome", "Person", "RunConfig", "Status", "resume"]


class Kernel:
    """One run. Make one, call `run`, throw it away."""

    def __init__(
        self,
        folder: Path,
        config: RunConfig,
        upstream: Upstream,
        person: Person,
        *,
        roles: Mapping[str, Role] = ROLES,
        call_seconds: float = 180.0,
        slots: int = 16,
        purse: OpenPurse | None = None,
    ) -> None:
        self.folder, self.config = folder, config
        self._upstream, self._person, self._roles = upstream, person, roles
        self._call_seconds, self._slots, self._purse = call_seconds, slots, purse
        self._workspace = Workspace(folder)
        self._ending = Ending()

    async def run(self) -> Outcome:
        """Work until the goal is met, cannot be met, or the run is stopped; or go on with a run that was left.

        Raises:
            RefusedError: the person said no to the plan.
            PlanError: there is no plan that can be run.
            NotInstalledError: this machine lacks a sandbox or a package. The run is paused, and `resume` goes on with it.
            TercetError: it cannot be begun: a damaged journal, another process at it.

        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with collected_seldom(), Journal(self.folder / "journal.db") as journal:
            desk = Desk(journal, self._upstream, slots=self._slots, call_seconds=self._call_seconds)
            run = Run(self.folder, self.config, journal, desk, self._workspace, self._person, self._roles, self._ending)
            await self._begin(run)
            async with desk:
                desk.budgets.open("run", Budget(credit=self.config.budget))
                return await self._served(run)

    def interrupt(self) -> None:
        """Pause politely: what was done is kept, and the run can be resumed. For SIGINT."""
        self._ending.say("paused", "interrupted")

    async def _served(self, run: Run) -> Outcome:
        """From its plan to its end, while it listens to what the person says."""
        steering = Steering(run.desk, run.journal)
        stops = [
            steering.on("kill", "run", self._stopped),
            steering.on("pause", "run", _noted(run, "paused")),
            steering.on("resume", "run", _noted(run, "running")),
        ]
        inbox = Inbox(run.journal)
        inbox.tick()
        verbs = {**steering.handlers(), **build_verbs(inbox), "state": _state_verb(run)}
        async with serve_control(self.folder, verbs):
            try:
                return await self._through(run, steering, inbox)
            except (PlanError, RefusedError) as error:
                await end(run, "failed", str(error))
                raise
            except NotInstalledError as error:  # no fault of the run's: an end would lose what was paid
                await run.journal.append("run.state", {"state": "paused", "why": str(error)})
                raise
            finally:
                inbox.close()
                for stop in stops:
                    stop()

    async def _stopped(self) -> None:
        self._ending.say("stopped", "it was stopped")

    async def _through(self, run: Run, steering: Steering, inbox: Inbox) -> Outcome:
        planning = Planning(run)
        planned = await self._ending.unless(planning.agreed())
        if planned is not None:
            await self._work(run, planning, planned, steering, inbox)
        status, why = self._ending.status or "done", self._ending.why
        delivery = None
        if status == "paused":
            await run.journal.append("run.state", {"state": "paused", "why": why})
        else:
            delivery = await deliver(run) if status == "done" else None
            await end(run, status, why, delivery)
        return Outcome(status, why, fold(run.journal.events()), self.folder, delivery, self._ending.lacking)

    async def _work(self, run: Run, planning: Planning, planned: Planned, steering: Steering, inbox: Inbox) -> None:
        """Let agents work at the plan, with what the run has open meanwhile: its memory, its purse."""
        sandbox = await asyncio.to_thread(find_sandbox, planned.plan, self.config.lend)
        team = Team(run.journal, run.model, self._roles)
        guard = Guard(Claims(run.journal))
        async with (
            RunMemory(self.config.memory or self.folder / "memory", guard) as memory,
            self._purse(run.journal) if self._purse else contextlib.nullcontext() as purse,
        ):
            shop = replace(open_shop(run, sandbox, team, inbox, guard, memory), purse=purse)
            await run.journal.append("run.state", {"state": "running", "why": ""})
            await Work(shop, team, steering, planning).do(planned.plan)
        await run_acceptance_test(shop)

    async def _begin(self, run: Run) -> None:
        """Take the files in, or find them where a killed run left them."""
        if run.now().run.goal:
            merged = [
                artefact
                for event in run.journal.events(kinds=("task.done",))
                for artefact in event.body.get("artefacts", ())
            ]
            await asyncio.to_thread(run.workspace.recall, merged)
            return
        directory = Path(self.config.dir) if self.config.dir else None
        intake = await asyncio.to_thread(run.workspace.take_in, directory)
        await asyncio.to_thread(self._keep_hidden)
        left_out = [list(pair) for pair in intake.left_out[:50]]
        body = {
            **asdict(self.config),
            "run": run.journal.run,
            "model": run.model,
            "files": len(intake.files),
            "left_out": left_out,
        }
        await run.journal.append("run.started", body)

    def _keep_hidden(self) -> None:
        """Copy what only done-tests may see, so that a resume has it too."""
        beside = Path(self.config.plan).parent / "hidden" if self.config.plan else None
        source = Path(self.config.hidden) if self.config.hidden else beside
        if source is not None and source.is_dir():
            store = self._workspace.store
            store.lay_out(store.take(source), self.folder / "hidden")


def _noted(run: Run, state: str) -> Callable[[], Coroutine[Any, Any, None]]:
    async def note() -> None:
        await run.journal.append("run.state", {"state": state, "why": "the person said so"})
        run.ending.changed.set()

    return note


def _state_verb(run: Run) -> Callable[[], Coroutine[Any, Any, dict[str, Any]]]:
    async def state() -> dict[str, Any]:
        found = run.now()
        return {
            "run": run.folder.name,
            "state": found.run.state,
            "why": found.run.why,
            "tasks": {name: view.state for name, view in found.tasks.items()},
            "agents": {name: view.state for name, view in found.agents.items()},
            "spent": found.spent().charged,
            "seq": found.run.seq,
        }

    return state


async def resume(
    folder: Path,
    open_upstream: Callable[[RunConfig], Upstream],
    person: Person,
    *,
    roles: Mapping[str, Role] = ROLES,
    watch: Callable[[Kernel], None] = lambda _kernel: None,
    open_purse: Callable[[RunConfig], OpenPurse | None] = lambda _config: None,
) -> Outcome:
    """Go on with a run that was paused, killed, stopped, or whose budget was out.

    Raises:
        GoalError: it ended, and there is nothing to go on with.
        NotInstalledError: this machine lacks a sandbox or a package; the run is as it was, and paused.

    """
    state = fold(read_events(folder / "journal.db"))
    config = config_of(read_events(folder / "journal.db", kinds=("run.started", "run.forked")))
    if config is None:
        raise GoalError(f"The run in {folder} was killed before it had begun. Give its goal again.")
    if state.run.status in {"done", "failed"}:
        if not (folder / "report.md").is_file():
            return await asyncio.to_thread(report_late, folder, state)
        raise GoalError(f"The run {folder.name} has ended: {state.run.status}. {state.run.why}".strip())
    kernel = Kernel(folder, config, open_upstream(config), person, roles=roles, purse=open_purse(config))
    watch(kernel)
    return await kernel.run()
