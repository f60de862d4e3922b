"""The work of a run: whoever is free begins a task that is ready, until all are done, one cannot be, or the run is ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from tercet.errors import EndedError, OutOfBudgetError
from tercet.swarm.contracting import Contracting
from tercet.swarm.crews import Agent, Team
from tercet.swarm.gateway import Allowance
from tercet.swarm.plan import Plan, Task
from tercet.swarm.planning import Planning
from tercet.swarm.pursuit import failures_of, give_up, pursue
from tercet.swarm.sandboxes import find_sandbox
from tercet.swarm.shop import Shop
from tercet.swarm.steering import Steering
from tercet.swarm.views import RunState, TaskView

__all__ = ["Work"]


@dataclass(slots=True)
class _Going:
    """A task that is worked on."""

    agent: Agent
    task: Task
    future: asyncio.Task[None]


class Work:
    """Starts tasks, watches them, gives them up; asks for another plan when one has failed for good."""

    def __init__(self, shop: Shop, team: Team, steering: Steering, planning: Planning) -> None:
        run = shop.run
        self._run, self._shop, self._team = run, shop, team
        self._steering, self._planning = steering, planning
        self._ending = run.ending
        self._tasks: dict[str, Task] = {}
        self._going: dict[str, _Going] = {}
        self._contracting = Contracting(run, team)
        self._calling: asyncio.Task[None] | None = None
        """A call for proposals that is open."""
        self._failures = failures_of(run.journal)
        self._hooks: dict[str, list[Callable[[], None]]] = {}
        """What takes an agent's hooks away again, by its id."""

    async def do(self, plan: Plan) -> None:
        """Until all tasks are done, one cannot be done, or somebody ends the run."""
        try:
            await self._take(plan)
            while True:
                await self._drain()
                failed = self._failed(self._run.now())
                if self._ending.status is not None or failed is None:
                    return
                task, why = failed
                planned = None
                if not self._team.hopeless(task):  # the person killed whoever could do it, and does not want it done
                    planned = await self._ending.unless(self._planning.again(plan, task, why))
                if planned is None:
                    self._ending.say("failed", f"Task {task.id!r} ({task.title}) could not be done: {why}")
                    return
                plan = planned.plan
                self._shop.sandbox = await asyncio.to_thread(find_sandbox, plan, self._run.config.lend)
                await self._take(plan)
        finally:
            await self._leave()

    async def _take(self, plan: Plan) -> None:
        """Have the agents that the plan needs, and let each of them hear what the person says of it."""
        self._tasks = {task.id: task for task in plan.tasks}
        await self._team.form(plan, self._run.config.agents, self._run.now())
        await self._contracting.take(self._tasks)
        for agent in self._team.agents.values():
            if agent.id not in self._hooks:
                self._hooks[agent.id] = [
                    self._steering.on("kill", agent.node, self._killer(agent)),
                    self._steering.on("pause", agent.node, self._teller(agent, "paused")),
                    self._steering.on("resume", agent.node, self._teller(agent, "")),
                ]

    async def _leave(self) -> None:
        """Nobody works on, and nobody listens."""
        for hooks in self._hooks.values():
            for unhook in hooks:
                unhook()
        futures = [*(going.future for going in self._going.values()), *self._calls()]
        for future in futures:
            future.cancel()
        await asyncio.gather(*futures, return_exceptions=True)
        self._going.clear()
        await self._contracting.close()

    # the loop

    async def _drain(self) -> None:
        """Let agents work until all is done, a task has failed for good, or the run is ended."""
        while True:
            await self._fail_hopeless()
            state = self._run.now()
            stuck = self._failed(state) is not None
            if self._ending.status is None and not stuck:
                self._start_ready(state)
                self._call_for_proposals(state)
            if self._is_over(state, stuck=stuck):
                return
            await self._ending.wait(*(going.future for going in self._going.values()), *self._calls())
            if self._calling is not None and self._calling.done():
                called, self._calling = self._calling, None
                called.result()
            for going in [going for going in self._going.values() if going.future.done()]:
                del self._going[going.task.id]
                self._team.release(going.agent)
                self._look_at(going)

    def _is_over(self, state: RunState, *, stuck: bool) -> bool:
        """Whether to stop letting agents work."""
        if self._ending.status is not None:
            # What others do with the money they have is worth having; a stop or a pause waits for nobody.
            return self._ending.status != "out_of_budget" or not self._going
        if self._calling is not None:
            return False
        if stuck:
            # A model's new plan builds on what comes of the rest; in the others the failed task alone is planned anew.
            return not self._going or not self._planning.from_model
        if all(state.tasks[name].state == "done" for name in self._tasks):
            return True
        desk = self._run.desk
        held = desk.is_held("run") or any(desk.is_held(agent.node) for agent in self._team.agents.values())
        if not self._going and not held:
            self._ending.say("failed", "nobody is left who could do the rest")
            return True
        return False

    async def _fail_hopeless(self) -> None:
        """Tasks whose agents were all killed, and those that nobody is left for who has not failed."""
        state = self._run.now()
        for task in self._tasks.values():
            view = state.tasks[task.id]
            if view.state not in {"pending", "running"} or task.id in self._going:
                continue
            if self._team.hopeless(task):
                why = f"every {task.role} of crew {task.crew} was killed"
                await give_up(self._run.journal, task, view.attempt, why, final=True)
            elif self._contracting.is_exhausted(task, view):
                await give_up(self._run.journal, task, view.attempt, view.why or "nobody offers to do it", final=True)

    def _failed(self, state: RunState) -> tuple[Task, str] | None:
        """The task that failed for good before all others, if there is one: after a kill it is the same one."""
        failed = {name for name in self._tasks if state.tasks[name].state == "failed"}
        names = (event.task for event in self._run.journal.events(kinds=("task.failed",)) if failed)
        return next(((self._tasks[name], state.tasks[name].why) for name in names if name in failed), None)

    def _look_at(self, going: _Going) -> None:
        """What became of a task's work: errors that end the run are noted, others raise."""
        if going.future.cancelled():
            return
        error = going.future.exception()
        if isinstance(error, OutOfBudgetError):
            self._ending.say("out_of_budget", str(error), error)
        elif isinstance(error, EndedError) and error.node == "run":
            self._ending.say("stopped", error.why)
        elif error is not None and not isinstance(error, EndedError):
            raise error

    # starting

    def _start_ready(self, state: RunState) -> None:
        for task in self._ready(state):
            if self._is_full:
                return
            agent = self._owner(task, state.tasks[task.id])
            if agent is not None and not self._run.desk.is_held(agent.node):
                self._start(task, agent, state)

    @property
    def _is_full(self) -> bool:
        return len(self._going) >= self._run.config.agents or self._run.desk.is_held("run")

    def _ready(self, state: RunState) -> list[Task]:
        """Tasks that could be worked on now, and are not."""
        return [
            task
            for task in self._tasks.values()
            if task.id not in self._going
            and state.tasks[task.id].state in {"pending", "running"}
            and all(state.tasks[need].state == "done" for need in task.needs)
        ]

    def _owner(self, task: Task, view: TaskView) -> Agent | None:
        """Who is to do it, and is free."""
        agent = self._team.agents.get(view.agent) if view.state == "running" else None
        if agent is not None and not agent.task and not agent.killed:
            return agent
        award = self._contracting.award(task, view)
        if award is not None and award["contract"]:
            agent = self._team.agents[award["agent"]]
            return None if agent.task else agent
        return None if self._contracting.is_open(task, view) else self._team.free(task)

    def _call_for_proposals(self, state: RunState) -> None:
        """Let the lead of the next task with a choice call, one at a time: each offer knows what was given before."""
        if self._calling is not None or self._is_full:
            return
        held = self._run.desk.is_held
        for task in self._ready(state):
            view = state.tasks[task.id]
            if self._contracting.is_open(task, view) and any(
                not agent.task and not held(agent.node) for agent in self._contracting.candidates(task, view)
            ):
                calling = self._contracting.call(task, view, self._share(task, state))
                self._calling = asyncio.create_task(calling, name=f"proposals for {task.id}")
                return

    def _calls(self) -> list[asyncio.Task[None]]:
        return [self._calling] if self._calling is not None else []

    def _start(self, task: Task, agent: Agent, state: RunState) -> None:
        view = state.tasks[task.id]
        self._team.take(agent, task)
        self._allow(agent, task, state)
        number = view.attempt if view.state == "running" and agent.id == view.agent else view.attempt + 1
        begun = view.state == "running" and number == view.attempt
        failures, contract = self._failures.setdefault(task.id, {}), self._contracting.contract(task, view, agent)
        work = pursue(self._shop, task, agent, number, failures, begun=begun, contract=contract)
        self._going[task.id] = _Going(agent, task, asyncio.create_task(work, name=f"task {task.id}"))

    def _allow(self, agent: Agent, task: Task, state: RunState) -> None:
        """Let the agent spend the task's share."""
        budgets = self._run.desk.budgets
        credit = budgets.spent(agent.node).credit + budgets.reserved(agent.node).credit + self._share(task, state)
        before = budgets.allowance(agent.node)
        if before is not None and before.task == task.id:  # what was added to it since stays added
            credit = max(credit, before.credit)
        budgets.allow(agent.node, Allowance(credit, task.id))

    def _share(self, task: Task, state: RunState) -> int:
        """Credit units: what is left of the task's budget, or what no other task has a claim to, if that is more."""

        def left(other: Task) -> int:
            used = sum(call.charged for call in state.calls_of(task=other.id))
            return max(0, other.budget - used)

        free = self._run.desk.budgets.left("run").credit or 0
        others = sum(
            left(other) for other in self._tasks.values() if other is not task and state.tasks[other.id].state != "done"
        )
        return max(left(task), free - others)

    # steering

    def _killer(self, agent: Agent) -> Callable[[], Coroutine[Any, Any, None]]:
        async def kill() -> None:
            if self._ending.status is not None:
                return  # the whole run is stopped, and may be resumed with this agent in it
            agent.killed = True
            self._shop.inbox.withdraw(agent.node, "it was killed")
            self._team.note(agent, "killed", "it was killed")
            for going in list(self._going.values()):
                if going.agent is agent:  # its programs in the sandbox end too; somebody else may take the task
                    going.future.cancel()
                    await asyncio.wait([going.future])
            self._ending.changed.set()

        return kill

    def _teller(self, agent: Agent, state: str) -> Callable[[], Coroutine[Any, Any, None]]:
        async def tell() -> None:
            if not agent.killed:
                self._team.note(agent, state or ("working" if agent.task else "idle"))
            self._ending.changed.set()

        return tell
