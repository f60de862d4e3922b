"""The kernel: one process that takes a goal to its end. It plans, asks once, lets agents work, merges, delivers, reports.

What a run is stands in its journal; the kernel holds nothing that it could not read back. So a run that was killed is
resumed by making a kernel of its folder again, and repeats only the step it was in.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

from tercet.errors import (
    AttemptError,
    DivergedError,
    EndedError,
    GoalError,
    JournalError,
    OutOfBudgetError,
    PlanError,
    RefusedError,
    SandboxMissingError,
    TercetError,
)
from tercet.subnets.kit import Sandbox
from tercet.swarm.attempt import Shop, attempt, run_done_test
from tercet.swarm.capabilities import Capabilities
from tercet.swarm.claims import Claims
from tercet.swarm.collector import collected_seldom
from tercet.swarm.control import serve_control
from tercet.swarm.crews import Agent, Team
from tercet.swarm.events import read_events
from tercet.swarm.gateway import Budget, Desk, Upstream
from tercet.swarm.guard import Guard
from tercet.swarm.hidden import HIDDEN, load_hidden
from tercet.swarm.inbox import Inbox, build_verbs
from tercet.swarm.journal import Journal
from tercet.swarm.plan import Plan, Task, parse_plan
from tercet.swarm.planner import Planned, Planner
from tercet.swarm.report import write_report
from tercet.swarm.roles import ROLES
from tercet.swarm.sandboxes import find_sandbox
from tercet.swarm.state import Folding, RunState, fold
from tercet.swarm.steering import Steering
from tercet.swarm.steps import run_scope
from tercet.swarm.stops import no_progress
from tercet.swarm.workbench import CHECKS, Role, Workbench
from tercet.swarm.workspace import Delivery, Workspace

__all__ = ["Kernel", "Outcome", "Person", "RunConfig", "Status", "resume"]

log = logging.getLogger(__name__)

Status: TypeAlias = Literal["done", "failed", "out_of_budget", "stopped", "paused"]
_ATTEMPTS = 3
_REPLANS = 2
_CHECKS_FOLDER = Path(__file__).parent / "roles" / "checks"


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
    lend: Sequence[str] = ()
    """Installed Python distributions that the sandbox can import."""
    seed: int = 0
    """Of samples that are drawn by chance: the same goal begun again draws others."""
    upstream: Mapping[str, str] = field(default_factory=dict)
    """What whoever resumes needs to open the same models again. No secrets: names of files that hold them."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended, or was left."""

    status: Status
    why: str
    state: RunState
    folder: Path
    delivery: Delivery | None = None


class Person(Protocol):
    """Whoever gave the goal. Each answer says who agreed: the person, or the option that spoke for them."""

    async def approve(self, plan: Plan, by: str, config: RunConfig, *, again: bool) -> str:
        """Agree to a plan. Raises `RefusedError` for no."""

    async def accept(self, paths: Sequence[str], directory: Path) -> str:
        """Agree to files being written into the folder. Raises `RefusedError` for no."""


@dataclass(slots=True)
class _Going:
    """Tasks that are worked on."""

    agent: Agent
    task: Task
    future: asyncio.Task[None]


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
    ) -> None:
        self.folder, self.config = folder, config
        self._upstream, self._person, self._roles = upstream, person, roles
        self._call_seconds, self._slots = call_seconds, slots
        self.workspace = Workspace(folder)
        self.plan: Plan | None = None
        self._tasks: dict[str, Task] = {}
        self._going: dict[str, _Going] = {}
        self._failures: dict[str, list[str]] = {}
        self._ending: tuple[Status, str] | None = None
        self._changed = asyncio.Event()
        self._folding = Folding()

    # the whole

    async def run(self) -> Outcome:
        """Work until the goal is met, cannot be met, or the run is stopped; or go on with a run that was left.

        Raises:
            RefusedError: the person said no to the plan.
            PlanError: there is no plan that can be run.
            TercetError: it cannot be begun: no sandbox, a damaged journal, another process at it.

        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with collected_seldom(), Journal(self.folder / "journal.db") as journal:
            state = fold(journal.events())
            await self._begin(journal, state)
            desk = Desk(journal, self._upstream, slots=self._slots, call_seconds=self._call_seconds)
            async with desk:
                desk.budgets.open("run", Budget(credit=self.config.budget))
                steering = Steering(desk, journal)
                stops = [
                    steering.on("kill", "run", self._stopped),
                    steering.on("pause", "run", self._noted(journal, "paused")),
                    steering.on("resume", "run", self._noted(journal, "running")),
                ]
                inbox = Inbox(journal)
                inbox.tick()
                verbs = {**steering.handlers(), **build_verbs(inbox), "state": self._state_verb(journal)}
                async with serve_control(self.folder, verbs):
                    try:
                        return await self._through(journal, desk, steering, inbox, state)
                    except (PlanError, RefusedError, SandboxMissingError) as error:
                        await self._end(journal, desk, "failed", str(error))
                        raise
                    finally:
                        inbox.close()
                        for stop in stops:
                            stop()

    def interrupt(self) -> None:
        """Pause politely: what was done is kept, and the run can be resumed. For SIGINT."""
        self._finish("paused", "interrupted")

    async def _through(
        self, journal: Journal, desk: Desk, steering: Steering, inbox: Inbox, state: RunState
    ) -> Outcome:
        planned = await self._planned(journal, desk, state)
        await self._approved(journal, planned, state)
        sandbox = await asyncio.to_thread(find_sandbox, planned.plan, self.config.lend)
        team = Team(journal, self._model(), self._roles)
        shop = self._shop(journal, desk, sandbox, team, inbox)
        await journal.append("run.state", {"state": "running", "why": ""})
        await self._work(shop, team, steering, planned.plan)
        await self._accepted(shop)
        status, why = self._ending or ("done", "")
        if status == "paused":
            await journal.append("run.state", {"state": "paused", "why": why})
            return Outcome("paused", why, fold(journal.events()), self.folder)
        delivery = await self._delivered(journal) if status == "done" else None
        await self._end(journal, desk, status, why, delivery)
        return Outcome(status, why, fold(journal.events()), self.folder, delivery)

    async def _begin(self, journal: Journal, state: RunState) -> None:
        """Take the files in, or find them where a killed run left them."""
        if state.run.goal:
            merged = [
                artefact
                for event in journal.events(kinds=("task.done",))
                for artefact in event.body.get("artefacts", ())
            ]
            await asyncio.to_thread(self.workspace.recall, merged)
            return
        directory = Path(self.config.dir) if self.config.dir else None
        intake = await asyncio.to_thread(self.workspace.take_in, directory)
        await asyncio.to_thread(self._keep_hidden)
        left_out = [list(pair) for pair in intake.left_out[:50]]
        body = {**asdict(self.config), "model": self._model(), "files": len(intake.files), "left_out": left_out}
        await journal.append("run.started", body)

    def _keep_hidden(self) -> None:
        """Copy what only done-tests may see, so that a resume has it too."""
        beside = Path(self.config.plan).parent / "hidden" if self.config.plan else None
        source = Path(self.config.hidden) if self.config.hidden else beside
        if source is not None and source.is_dir():
            store = self.workspace.store
            store.lay_out(store.take(source), self.folder / "hidden")

    def _model(self) -> str:
        return self.config.model or next(iter(self._upstream.models), "")

    # plan

    async def _planned(self, journal: Journal, desk: Desk, state: RunState) -> Planned:
        """The plan that was made before, or a new one."""
        if state.run.plan:
            return Planned(parse_plan(state.run.plan, budget=self._budget(desk)), state.run.planned_by)
        await journal.append("run.state", {"state": "planning", "why": ""})
        async with run_scope(journal, "plan"):
            planned = await self._planner(desk).plan(desk, list(self.workspace.files))
        await self._write_plan(journal, planned)
        return planned

    async def _approved(self, journal: Journal, planned: Planned, state: RunState) -> None:
        if state.run.approved_by:
            return
        await journal.append("run.state", {"state": "waiting", "why": "for the plan to be approved"})
        await self._ask(journal, planned, again=False)

    async def _ask(self, journal: Journal, planned: Planned, *, again: bool) -> None:
        by = await self._person.approve(planned.plan, planned.by, self.config, again=again)
        digest = hashlib.sha256(json.dumps(planned.plan.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()
        await journal.append("run.approved", {"digest": digest, "by": by}, actor="person")

    async def _write_plan(self, journal: Journal, planned: Planned) -> None:
        await journal.append("run.planned", {"plan": planned.plan.model_dump(mode="json"), "by": planned.by})

    def _planner(self, desk: Desk) -> Planner:
        file = Path(self.config.plan) if self.config.plan else None
        return Planner(
            self.config.goal, self._budget(desk), self.config.model, list(self._roles), file, self.config.agents
        )

    def _budget(self, desk: Desk) -> int:
        limit = desk.budgets.limit("run").credit
        return self.config.budget if limit is None else limit

    # work

    def _shop(self, journal: Journal, desk: Desk, sandbox: Sandbox, team: Team, inbox: Inbox) -> Shop:
        original = self.folder / "original"
        self.workspace.store.lay_out(self.workspace.original, original)
        hidden = self.folder / "hidden"
        claims = Claims(journal)

        async def ask_lead(bench: Workbench, question: str) -> str:
            return await team.ask_lead(desk, bench, question) or "Nobody knows. Decide by yourself, within the task."

        return Shop(
            self.config.goal,
            self._model(),
            journal,
            desk,
            self.workspace,
            sandbox,
            self._roles,
            lent={CHECKS: _CHECKS_FOLDER, "/original": original},
            hidden={HIDDEN: hidden} if hidden.is_dir() else {},
            tests=load_hidden(hidden),
            ask_lead=ask_lead,
            claims=claims,
            guard=Guard(claims),
            inbox=inbox,
            seed=self.config.seed,
        )

    async def _work(self, shop: Shop, team: Team, steering: Steering, plan: Plan) -> None:
        """Until all tasks are done, one cannot be done, or somebody ends the run."""
        self._failures = _failures(shop.journal)
        replans = sum(1 for _ in shop.journal.events(kinds=("task.replanned",)))
        async with self._formed(shop, team, steering, plan):
            while True:
                await self._drain(shop, team)
                failed = self._failed(self._now(shop.journal))
                if self._ending is not None or failed is None:
                    return
                task, why = failed
                planned = await self._replan(shop, plan, task, why) if replans < _REPLANS else None
                if planned is None:
                    self._finish("failed", f"Task {task.id!r} ({task.title}) could not be done: {why}")
                    return
                replans, plan = replans + 1, planned.plan
                self._take_plan(plan)
                await team.form(plan, self.config.agents, self._now(shop.journal))

    @contextlib.asynccontextmanager
    async def _formed(self, shop: Shop, team: Team, steering: Steering, plan: Plan) -> AsyncIterator[None]:
        """The team is there, listens to what the person says of each agent, and stops at the end."""
        self._take_plan(plan)
        await team.form(plan, self.config.agents, self._now(shop.journal))
        taken = [
            take
            for agent in team.agents.values()
            for take in (
                steering.on("kill", agent.node, self._killer(team, agent)),
                steering.on("pause", agent.node, self._teller(team, agent, "paused")),
                steering.on("resume", agent.node, self._teller(team, agent, "")),
            )
        ]
        try:
            yield
        finally:
            for take in taken:
                take()
            for going in self._going.values():
                going.future.cancel()
            await asyncio.gather(*(going.future for going in self._going.values()), return_exceptions=True)
            self._going.clear()

    def _take_plan(self, plan: Plan) -> None:
        self.plan = plan
        self._tasks = {task.id: task for task in plan.tasks}

    async def _drain(self, shop: Shop, team: Team) -> None:
        """Let agents work until all is done, a task has failed for good, or the run is ended."""
        while True:
            self._changed.clear()
            await self._fail_hopeless(shop, team)
            state = self._now(shop.journal)
            stuck = self._failed(state) is not None
            if self._ending is None and not stuck:
                self._start_ready(shop, team, state)
            if self._is_over(shop, team, state, stuck=stuck):
                return
            changed = asyncio.ensure_future(self._changed.wait())
            waiting = [going.future for going in self._going.values()]
            done, _ = await asyncio.wait([*waiting, changed], return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()
            for going in [going for going in self._going.values() if going.future in done]:
                del self._going[going.task.id]
                team.release(going.agent)
                self._look_at(going)

    def _is_over(self, shop: Shop, team: Team, state: RunState, *, stuck: bool) -> bool:
        """Whether to stop letting agents work."""
        if self._ending is not None:
            # What others do with the money they have is worth having; a stop or a pause waits for nobody.
            return self._ending[0] != "out_of_budget" or not self._going
        if stuck:
            # A new plan builds on what comes of the rest; where there will be none, the rest is not worth its money.
            return not self._going or not state.run.planned_by.startswith("model")
        if all(state.tasks[name].state == "done" for name in self._tasks):
            return True
        held = shop.desk.is_held("run") or any(shop.desk.is_held(agent.node) for agent in team.agents.values())
        if not self._going and not held:
            self._finish("failed", "nobody is left who could do the rest")
            return True
        return False

    async def _fail_hopeless(self, shop: Shop, team: Team) -> None:
        """Tasks whose agents were all killed."""
        state = self._now(shop.journal)
        for task in self._tasks.values():
            view = state.tasks[task.id]
            if view.state in {"pending", "running"} and task.id not in self._going and team.hopeless(task):
                why = f"every {task.role} of crew {task.crew} was killed"
                await self._give_up(shop, task, view.attempt, why, final=True)

    def _look_at(self, going: _Going) -> None:
        """What became of a task's work: errors that end the run are noted, others raise."""
        if going.future.cancelled():
            return
        error = going.future.exception()
        if isinstance(error, OutOfBudgetError):
            self._finish("out_of_budget", str(error))
        elif isinstance(error, EndedError) and error.node == "run":
            self._finish("stopped", error.why)
        elif error is not None and not isinstance(error, EndedError):
            raise error

    def _start_ready(self, shop: Shop, team: Team, state: RunState) -> None:
        for task in self._tasks.values():
            view = state.tasks[task.id]
            ready = view.state in {"pending", "running"} and all(
                state.tasks[need].state == "done" for need in task.needs
            )
            if (
                not ready
                or task.id in self._going
                or len(self._going) >= self.config.agents
                or shop.desk.is_held("run")
            ):
                continue
            agent = team.agents.get(view.agent) if view.state == "running" else None
            agent = agent if agent is not None and not agent.task and not agent.killed else team.free(task)
            if agent is None or shop.desk.is_held(agent.node):
                continue
            team.take(agent, task)
            self._allow(shop, agent, task, state)
            number = view.attempt if view.state == "running" and agent.id == view.agent else view.attempt + 1
            work = self._pursue(shop, task, agent, number, begun=view.state == "running" and number == view.attempt)
            self._going[task.id] = _Going(agent, task, asyncio.create_task(work, name=f"task {task.id}"))

    def _allow(self, shop: Shop, agent: Agent, task: Task, state: RunState) -> None:
        """Give the agent what is left of the task's budget, or what no other task has a claim to, if that is more."""

        def left(other: Task) -> int:
            used = sum(call.charged for call in state.calls_of(task=other.id))
            return max(0, other.budget - used)

        free = shop.desk.budgets.left("run").credit or 0
        others = sum(
            left(other) for other in self._tasks.values() if other is not task and state.tasks[other.id].state != "done"
        )
        share = max(left(task), free - others)
        limit = shop.desk.budgets.spent(agent.node).credit + shop.desk.budgets.reserved(agent.node).credit + share
        shop.desk.budgets.set(agent.node, replace(shop.desk.budgets.limit(agent.node), credit=limit))

    async def _pursue(self, shop: Shop, task: Task, agent: Agent, number: int, *, begun: bool) -> None:
        """Attempts at a task, until it is done, or has failed for good; failures are written down, not raised."""
        clock = _Clock(task.seconds, lambda: shop.desk.is_held(agent.node))
        failures = self._failures.setdefault(task.id, [])
        while True:
            if not begun:
                body = {"attempt": number, "agent": agent.id, "capabilities": _capabilities(task)}
                await shop.journal.append("task.started", body, actor=agent.id, task=task.id)
            begun = False
            try:
                made = await clock.run(attempt(shop, task, number, agent, failures[-1] if failures else ""))
            except (OutOfBudgetError, JournalError) as error:
                if not isinstance(error, DivergedError):
                    raise
                why, final = str(error), False
            except EndedError:
                raise  # the loop gives the task to whoever is left
            except TercetError as error:
                why, final = str(error), isinstance(error, AttemptError) and error.final
            else:
                log.info("swarm.task.done task=%s by=%r", task.id, made.by)
                return
            failures.append(why)
            final = final or number >= int(task.options.get("attempts", _ATTEMPTS)) or no_progress(failures)
            await self._give_up(shop, task, number, why, final=final)
            if final:
                return
            number += 1

    async def _give_up(self, shop: Shop, task: Task, number: int, why: str, *, final: bool) -> None:
        body = {"attempt": number, "why": why[:2000], "final": final}
        await shop.journal.append("task.failed", body, task=task.id)

    def _failed(self, state: RunState) -> tuple[Task, str] | None:
        """A task that has failed for good, if there is one."""
        views = (state.tasks[name] for name in self._tasks)
        return next(((self._tasks[view.id], view.why) for view in views if view.state == "failed"), None)

    async def _replan(self, shop: Shop, plan: Plan, task: Task, why: str) -> Planned | None:
        """Another plan, where a model made the first one; the person is asked again."""
        state = self._now(shop.journal)
        if not state.run.planned_by.startswith("model"):
            return None
        done = [name for name, view in state.tasks.items() if view.state == "done"]
        number = sum(1 for _ in shop.journal.events(kinds=("task.replanned",)))
        try:
            async with run_scope(shop.journal, f"replan/{number}"):
                planned = await self._planner(shop.desk).again(
                    shop.desk, list(self.workspace.files), plan, task, why, done
                )
        except (PlanError, OutOfBudgetError) as error:
            log.info("swarm.replan.failed why=%r", str(error))
            return None
        if planned is None:
            return None
        await self._ask(shop.journal, planned, again=True)
        body = {"why": why[:2000], "plan": planned.plan.model_dump(mode="json")}
        await shop.journal.append("task.replanned", body, task=task.id)
        await self._write_plan(shop.journal, planned)
        return planned

    async def _accepted(self, shop: Shop) -> None:
        """All tasks are done: does the whole hold, where there is a hidden test of it?"""
        test = shop.tests.acceptance
        if self._ending is not None or test is None:
            return
        found = await run_done_test(shop, test, self.workspace.files)
        await shop.journal.append("run.tested", found)
        if not found["ok"]:
            self._finish("failed", "Every task is done, but the hidden test of the whole fails.")

    def _now(self, journal: Journal) -> RunState:
        """The run as its journal has it; only what is new is read."""
        for event in journal.events(after=self._folding.run.seq):
            self._folding.take(event)
        return self._folding.state()

    # steering

    def _finish(self, status: Status, why: str) -> None:
        if self._ending is None:
            self._ending = (status, why)
        self._changed.set()

    async def _stopped(self) -> None:
        self._finish("stopped", "it was stopped")

    def _noted(self, journal: Journal, state: str) -> Callable[[], Coroutine[Any, Any, None]]:
        async def note() -> None:
            await journal.append("run.state", {"state": state, "why": "the person said so"})
            self._changed.set()

        return note

    def _killer(self, team: Team, agent: Agent) -> Callable[[], Coroutine[Any, Any, None]]:
        async def kill() -> None:
            if self._ending is not None:
                return  # the whole run is stopped, and may be resumed with this agent in it
            agent.killed = True
            team.note(agent, "killed", "it was killed")
            for going in list(self._going.values()):
                if going.agent is agent:  # its programs in the sandbox end too; somebody else may take the task
                    going.future.cancel()
                    await asyncio.wait([going.future])
            self._changed.set()

        return kill

    def _teller(self, team: Team, agent: Agent, state: str) -> Callable[[], Coroutine[Any, Any, None]]:
        async def tell() -> None:
            if not agent.killed:
                team.note(agent, state or ("working" if agent.task else "idle"))
            self._changed.set()

        return tell

    def _state_verb(self, journal: Journal) -> Callable[[], Coroutine[Any, Any, dict[str, Any]]]:
        async def state() -> dict[str, Any]:
            found = fold(journal.events())
            return {
                "run": self.folder.name,
                "state": found.run.state,
                "why": found.run.why,
                "tasks": {name: view.state for name, view in found.tasks.items()},
                "agents": {name: view.state for name, view in found.agents.items()},
                "spent": found.spent().charged,
                "seq": found.run.seq,
            }

        return state

    # the end

    async def _delivered(self, journal: Journal) -> Delivery | None:
        made = [change.path for change in self.workspace.made()]
        if not self.config.dir or not made:
            return None
        try:
            by = await self._person.accept(made, Path(self.config.dir))
        except RefusedError as error:  # the files stay in the run's folder
            await journal.append("run.delivered", {"by": "", "refused": str(error)}, actor="person")
            return None
        delivery = await asyncio.to_thread(self.workspace.deliver, Path(self.config.dir))
        body = {
            "by": by,
            "written": list(delivery.written),
            "beside": [list(pair) for pair in delivery.beside],
            "deleted": list(delivery.deleted),
            "kept": [list(pair) for pair in delivery.kept],
        }
        await journal.append("run.delivered", body, actor="person")
        return delivery

    async def _end(
        self, journal: Journal, desk: Desk, status: Status, why: str, delivery: Delivery | None = None
    ) -> None:
        spent = desk.budgets.spent("run").credit
        returned = max(0, self._budget(desk) - spent)
        body = {"status": status, "why": why[:2000], "spent": spent, "returned": returned}
        await journal.append("run.ended", body)
        await asyncio.to_thread(write_report, self.folder, fold(journal.events()), delivery)


class _Clock:
    """Runs work until a task's time is up; time in which its agent is held does not count."""

    def __init__(self, seconds: float, held: Callable[[], bool]) -> None:
        self._left, self._held, self._seconds = seconds, held, seconds

    async def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do it, or raise `AttemptError` when the time is up."""
        future = asyncio.ensure_future(work)
        try:
            while not future.done():
                began, held = time.monotonic(), self._held()
                await asyncio.wait([future], timeout=1.0 if held else min(1.0, max(0.0, self._left)))
                if not held:
                    self._left -= time.monotonic() - began
                if self._left <= 0 and not future.done():
                    raise AttemptError(f"Its {self._seconds:g} seconds are over.", final=True)
            return await future
        finally:
            if not future.done():
                future.cancel()
                await asyncio.wait([future])


def _capabilities(task: Task) -> dict[str, Any]:
    """What the task lets its agent touch: files by its patterns, programs in the sandbox alone, and nothing else."""
    return Capabilities(read=tuple(task.inputs) or ("**",), write=tuple(task.outputs)).as_json() | {"sandbox": True}


def _failures(journal: Journal) -> dict[str, list[str]]:
    """Why each task's attempts failed so far."""
    found: dict[str, list[str]] = {}
    for event in journal.events(kinds=("task.failed",)):
        found.setdefault(event.task, []).append(str(event.body.get("why", "")))
    return found


async def resume(
    folder: Path,
    open_upstream: Callable[[RunConfig], Upstream],
    person: Person,
    *,
    roles: Mapping[str, Role] = ROLES,
    watch: Callable[[Kernel], None] = lambda _kernel: None,
) -> Outcome:
    """Go on with a run that was paused, killed, stopped, or whose budget was out.

    Raises:
        GoalError: it ended, and there is nothing to go on with.

    """
    state = fold(read_events(folder / "journal.db"))
    started = next(iter(read_events(folder / "journal.db", kinds=("run.started",))), None)
    if started is None:
        raise GoalError(f"The run in {folder} was killed before it had begun. Give its goal again.")
    if state.run.status in {"done", "failed"}:
        if not (folder / "report.md").is_file():  # killed between its end and its report
            return await asyncio.to_thread(_told_late, folder, state)
        raise GoalError(f"The run {folder.name} has ended: {state.run.status}. {state.run.why}".strip())
    config = config_of(started.body)
    kernel = Kernel(folder, config, open_upstream(config), person, roles=roles)
    watch(kernel)
    return await kernel.run()


def _told_late(folder: Path, state: RunState) -> Outcome:
    """Write the report of a run that has ended."""
    bodies = [event.body for event in read_events(folder / "journal.db", kinds=("run.delivered",))]
    body = next((body for body in reversed(bodies) if "written" in body), None)
    delivery = None
    if body is not None:
        pairs = {name: [(str(a), str(b)) for a, b in body[name]] for name in ("beside", "kept")}
        delivery = Delivery(body["written"], pairs["beside"], body["deleted"], pairs["kept"])
    write_report(folder, state, delivery)
    return Outcome("done" if state.run.status == "done" else "failed", state.run.why, state, folder, delivery)


def config_of(body: Mapping[str, Any]) -> RunConfig:
    """What a run was asked for, from its first event."""
    names = RunConfig.__dataclass_fields__
    return RunConfig(**{name: value for name, value in body.items() if name in names})
