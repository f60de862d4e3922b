"""Plans of a run: the first one, another when a task has failed, and the person's yes to each."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from tercet.errors import AttemptError, EndedError, PackageMissingError, PlanError, RefusedError
from tercet.swarm.deadline import Deadline
from tercet.swarm.events import Event
from tercet.swarm.mending import Failure
from tercet.swarm.plan import Plan, Task, money_of, parse_plan
from tercet.swarm.planner import Planned, Planner
from tercet.swarm.run import Run
from tercet.swarm.steps import run_scope, step
from tercet.swarm.views import RunState

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
            PackageMissingError: what a model planned needs a package that is not installed.
            RefusedError: the person said no.

        """
        state = self._run.now()
        planned = await self._planned(state)
        if not state.run.approved_by:
            body = {"state": "waiting", "why": "for the plan to be approved"}
            await self._run.journal.append("run.state", body)
            await self._ask(planned, again=False)
        return planned

    @property
    def from_model(self) -> bool:
        """Whether a model made the whole plan: then it plans anew all that is left, and what still goes on is waited for."""
        return self._run.now().run.planned_by.startswith("model")

    async def again(self, plan: Plan, task: Task, why: str) -> Planned | None:
        """Another plan after a task has failed for good, to which the person agrees; None where there is none.

        Of a model's plan all that is left is planned anew; of a person's or a recipe's the failed task alone. Killed in
        the middle and done again, it asks neither the model nor the person a second time. The model has as long as the
        task had.
        """
        run, number = self._run, self._replans()
        if number >= _REPLANS or not run.model or not (task.outputs or self.from_model):
            return None  # whoever may write nothing can do nothing in another way: a test, or who only looks
        if money_of(task):
            return None  # a model has read why it failed, so its words would pay; and what was paid would be paid again
        try:
            async with run_scope(run.journal, f"replan/{number}"):
                failure = await self._failure(f"replan/{number}", plan, task, why)
                by = run.now().run.planned_by
                planner = self._planner()
                mended = planner.again(run.desk, failure) if self.from_model else planner.mend(run.desk, failure, by)
                planned = await Deadline(task.seconds, lambda: run.desk.is_held("run")).run(mended)
            await self._ask(planned, again=True)
        except EndedError:
            raise
        # A spent budget is a refusal, too.
        except (AttemptError, PackageMissingError, PlanError, RefusedError) as error:
            log.info("swarm.replan.failed task=%s why=%r", task.id, str(error))
            return None
        body = {"why": why[:2000], "plan": planned.plan.model_dump(mode="json")}
        if not any(event.kind == "task.replanned" and event.body == body for event in self._since_planned()):
            await run.journal.append("task.replanned", body, task=task.id)
        await self._write(planned)
        return planned

    async def _failure(self, name: str, plan: Plan, task: Task, why: str) -> Failure:
        """What is known of it now; a step, so that what others do meanwhile makes no other question of it after a kill."""
        run = self._run

        async def look() -> dict[str, Any]:
            state = run.now()
            used = sum(call.charged for call in state.calls_of(task=task.id))
            return {
                "paths": list(run.workspace.files),
                "done": [name for name, view in state.tasks.items() if view.state == "done"],
                "taken": sorted({each["id"] for event in run.journal.events(kinds=("run.planned",))
                                 for each in event.body["plan"]["tasks"]}),
                "left": max(0, task.budget - used),
            }  # fmt: skip

        return Failure(name=name, plan=plan, task=task, why=why, **await step("failure", look, key=task.id))

    def _replans(self) -> int:
        """Plans that came after the first."""
        return max(0, sum(1 for _ in self._run.journal.events(kinds=("run.planned",))) - 1)

    def _since_planned(self) -> list[Event]:
        """What was agreed and written since the last plan came into force."""
        found: list[Event] = []
        for event in self._run.journal.events(kinds=("run.planned", "run.approved", "task.replanned")):
            found = [] if event.kind == "run.planned" else [*found, event]
        return found

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
        digest = hashlib.sha256(json.dumps(planned.plan.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()
        if any(event.kind == "run.approved" and event.body["digest"] == digest for event in self._since_planned()):
            return  # before it was killed
        config = replace(self._run.config, budget=self._run.budget)  # the person may have added to it
        by = await self._run.person.approve(planned.plan, planned.by, config, again=again)
        await self._run.journal.append("run.approved", {"digest": digest, "by": by}, actor="person")

    async def _write(self, planned: Planned) -> None:
        body = {"plan": planned.plan.model_dump(mode="json"), "by": planned.by}
        await self._run.journal.append("run.planned", body)

    def _planner(self) -> Planner:
        config = self._run.config
        file = Path(config.plan) if config.plan else None
        return Planner(
            config.goal,
            self._run.budget,
            self._run.model,
            list(self._run.roles),
            file,
            config.agents,
            config.candidates,
        )
