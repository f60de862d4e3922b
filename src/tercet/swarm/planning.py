"""Plans of a run: the first one, another when a task has failed, and the person's yes to each."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

from tercet.errors import OutOfBudgetError, PlanError
from tercet.swarm.plan import Plan, Task, parse_plan
from tercet.swarm.planner import Planned, Planner
from tercet.swarm.run import Run
from tercet.swarm.state import RunState
from tercet.swarm.steps import run_scope

__all__ = ["Planning"]

log = logging.getLogger(__name__)

_REPLANS = 2


class Planning:
    """Makes plans, asks the person, writes down what was agreed."""

    def __init__(self, run: Run) -> None:
        self._run = run

    async def agreed(self) -> Planned:
        """The plan that the person agrees to, or agreed to before the run was left.

        Raises:
            PlanError: there is none that can be run.
            RefusedError: the person said no.

        """
        state = self._run.now()
        planned = await self._planned(state)
        if not state.run.approved_by:
            body = {"state": "waiting", "why": "for the plan to be approved"}
            await self._run.journal.append("run.state", body)
            await self._ask(planned, again=False)
        return planned

    async def again(self, plan: Plan, task: Task, why: str) -> Planned | None:
        """Another plan, where a model made the first one; the person is asked again."""
        run = self._run
        state = run.now()
        number = sum(1 for _ in run.journal.events(kinds=("task.replanned",)))
        if number >= _REPLANS or not state.run.planned_by.startswith("model"):
            return None
        done = [name for name, view in state.tasks.items() if view.state == "done"]
        try:
            async with run_scope(run.journal, f"replan/{number}"):
                planned = await self._planner().again(run.desk, list(run.workspace.files), plan, task, why, done)
        except (PlanError, OutOfBudgetError) as error:
            log.info("swarm.replan.failed why=%r", str(error))
            return None
        if planned is None:
            return None
        await self._ask(planned, again=True)
        body = {"why": why[:2000], "plan": planned.plan.model_dump(mode="json")}
        await run.journal.append("task.replanned", body, task=task.id)
        await self._write(planned)
        return planned

    async def _planned(self, state: RunState) -> Planned:
        """The plan that was made before, or a new one."""
        run = self._run
        if state.run.plan:
            return Planned(parse_plan(state.run.plan, budget=run.budget), state.run.planned_by)
        await run.journal.append("run.state", {"state": "planning", "why": ""})
        async with run_scope(run.journal, "plan"):
            planned = await self._planner().plan(run.desk, list(run.workspace.files))
        await self._write(planned)
        return planned

    async def _ask(self, planned: Planned, *, again: bool) -> None:
        by = await self._run.person.approve(planned.plan, planned.by, self._run.config, again=again)
        digest = hashlib.sha256(json.dumps(planned.plan.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()
        await self._run.journal.append("run.approved", {"digest": digest, "by": by}, actor="person")

    async def _write(self, planned: Planned) -> None:
        body = {"plan": planned.plan.model_dump(mode="json"), "by": planned.by}
        await self._run.journal.append("run.planned", body)

    def _planner(self) -> Planner:
        config = self._run.config
        file = Path(config.plan) if config.plan else None
        return Planner(config.goal, self._run.budget, config.model, list(self._run.roles), file, config.agents)
