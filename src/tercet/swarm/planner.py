"""From a goal to a plan: a file, a recipe, or a model's own, which is checked and sampled anew until it can be run.

A model writes no money and no deadlines: the planner divides the budget, and keeps a part for what goes wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tercet.errors import AttemptError, PackageMissingError, PlanError
from tercet.market.text import decode_json
from tercet.swarm.gateway import Call, Desk
from tercet.swarm.mending import Failure, describe_failure, fresh_ids, mend_plan, mending_schema
from tercet.swarm.plan import SPAN, Plan, parse_plan, slots_of
from tercet.swarm.proposals import ABOUT, describe_roles, judge_plan, plan_schema
from tercet.swarm.recipes import find_recipe
from tercet.swarm.sandboxes import validate_packages
from tercet.swarm.steps import step
from tercet.swarm.workbench import ask_patiently

__all__ = ["Planned", "Planner", "divide", "load_plan"]

_SAMPLES = 6
_GOOD = 2
"""Plans that can be run are compared once there are this many."""
_MENDS = 3
"""Samples for one failed task; the first that can be run is taken."""
_RESERVE = 10
"""One part in this many of the budget is no task's: re-planning, and what a task needs beyond its share."""
_MOST_BYTES = 4 << 20
_TESTS = (
    "Each task has a done-test: a command that exits with 0 only when the task is done, such as python3 -m pytest -q or"
    " test -s FILE."
)
_PLANNER = f"You plan work as tasks. {_TESTS}"
_MENDER = f"You find other ways to do what has failed. {_TESTS}"


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, and who made it."""

    plan: Plan
    by: str
    """file, `recipe NAME`, or `model NAME`; and behind it which tasks a model planned anew."""


@dataclass(frozen=True, slots=True)
class Planner:
    """Makes and mends plans."""

    goal: str
    budget: int
    """Credit units of the run."""
    model: str
    roles: Sequence[str]
    file: Path | None = None
    agents: int = 1
    """How many may work at once: a plan for more than a crew has crews, and as many tasks."""
    candidates: Sequence[str] = ()
    """`ROLE=OTHER`: who may do tasks of a role too."""

    async def plan(self, desk: Desk, paths: Sequence[str]) -> Planned:
        """The plan for the goal.

        Raises:
            PlanError: none was found that can be run.
            PackageMissingError: one could be run with a package that is not installed.

        """
        return self.known(paths) or Planned(await self._ask(desk, "plan", paths, self.budget), self._by)

    def known(self, paths: Sequence[str]) -> Planned | None:
        """The plan of the file or of a recipe; None where a model has to make one.

        Raises:
            PlanError: the file's plan cannot be run.

        """
        if self.file is not None:
            raw = load_plan(self.file)
            raw = {**raw, "goal": raw.get("goal", self.goal)} if isinstance(raw, dict) else raw
            return Planned(self._checked(raw), "file")
        recipe = find_recipe(self.goal, paths)
        if recipe is None:
            return None
        name, raw = recipe
        return Planned(self._checked(raw), f"recipe {name}")

    async def again(self, desk: Desk, failure: Failure) -> Planned:
        """Another plan after a task failed for good, in which what is done stays. For a plan that a model made.

        Raises:
            PlanError: none was found that can be run.
            PackageMissingError: one could be run with a package that is not installed.

        """
        failed, done = failure.task, failure.done
        told = (
            f"\n\nAn earlier plan failed at task {failed.id!r} ({failed.title}): {failure.why[:400]}\n"
            f"Done already: {', '.join(done) or 'nothing'}. Plan what is left in another way, with new ids."
        )
        kept = [task for task in failure.plan.tasks if task.id in done]
        rest = self.budget - sum(task.budget for task in kept)
        found = await self._ask(desk, failure.name, failure.paths, rest, told)
        ids = [task.id for task in found.tasks]
        names = dict(zip(ids, fresh_ids(ids, failure.taken), strict=True))
        new = [
            {**task.model_dump(), "id": names[task.id], "needs": [names[need] for need in task.needs]}
            for task in found.tasks
        ]
        tasks = [*(task.model_dump() for task in kept), *new]
        return Planned(parse_plan({"goal": self.goal, "tasks": tasks}, budget=self.budget), self._by)

    async def mend(self, desk: Desk, failure: Failure, by: str) -> Planned:
        """The plan with other tasks in place of one that failed for good. For a plan that a person or a recipe made.

        Raises:
            PlanError: no other way was found.
            PackageMissingError: the last one needs a package that is not installed.

        """
        roles = [role for role in self.roles if role in ABOUT or role == failure.task.role]
        fault: PlanError | PackageMissingError = PlanError("")
        asked, schema = describe_failure(failure, roles), mending_schema(roles)
        for number in range(_MENDS):
            found = await _sample(desk, self._call(f"{failure.name}/{number}", _MENDER, asked, schema, number))
            try:
                plan = mend_plan(failure, found, budget=self.budget, roles=roles, agents=self.agents)
                validate_packages(plan)
            except (PlanError, PackageMissingError) as error:
                fault = error
                continue
            return Planned(plan, f"{by}; {failure.task.id} anew by {self._by}")
        raise fault

    def _checked(self, raw: Any, budget: int | None = None) -> Plan:
        most = self.budget if budget is None else budget
        plan = parse_plan(name_candidates(divide(raw, most), self.candidates), budget=most)
        unknown = sorted({slot.role for task in plan.tasks for slot in slots_of(task)} - set(self.roles))
        if unknown:
            raise PlanError(f"Nobody has the role {', '.join(unknown)}. Known: {', '.join(sorted(self.roles))}.")
        return plan

    @property
    def _by(self) -> str:
        return f"model {self.model}".strip()

    @property
    def _most(self) -> int:
        """Tasks of a model's plan."""
        return min(max(SPAN, self.agents), SPAN * SPAN)

    @property
    def _crews(self) -> str:
        if self._most == SPAN:
            return ""
        return f" inputs are files it reads. Put the tasks into at most {SPAN} crews by what they are about."

    async def _ask(self, desk: Desk, name: str, paths: Sequence[str], budget: int, more: str = "") -> Plan:
        """Best of n: samples until two can be run, or none is left."""
        good: list[tuple[float, int, Plan]] = []
        faults: list[str] = []
        lacking: PackageMissingError | None = None
        roles = [role for role in self.roles if role in ABOUT]
        asked = self._question(paths, roles) + more
        for number in range(_SAMPLES):
            call = self._call(f"{name}/{number}", _PLANNER, asked, plan_schema(roles, self._most), number)
            found = await _sample(desk, call)
            try:
                score, plan = self._judged(found, budget)
            except PlanError as error:
                faults.append(str(error))
                continue
            except PackageMissingError as error:
                lacking = error
                continue
            good.append((score, -number, plan))
            if len(good) >= _GOOD:
                break
        if not good and lacking is not None:
            raise lacking
        if not good:
            raise PlanError(
                f"No plan of {_SAMPLES} that {self.model or 'the model'} made can be run; the last fault: {faults[-1]} Give one"
                " with --plan FILE, or a larger model with --model or --gateway."
            )
        return max(good)[2]

    def _judged(self, found: Mapping[str, Any], budget: int) -> tuple[float, Plan]:
        """A model's plan and how good it is, where it can be run here."""
        plan = self._checked({"goal": self.goal, **_without_reach(found)}, budget)
        score = judge_plan(plan)
        if score <= 0:
            raise PlanError("its done-tests test nothing")
        validate_packages(plan)
        return score, plan

    def _question(self, paths: Sequence[str], roles: Sequence[str]) -> str:
        listed = "\n".join(sorted(paths)[:60]) or "(empty)"
        return (
            f"Goal: {self.goal}\n\nFiles:\n{listed}\n\nRoles:\n{describe_roles(roles)}\n\nPlan 1 to {self._most} tasks."
            f" outputs are the files a task writes; needs are ids of tasks before it.{self._crews}"
        )

    def _call(self, step: str, system: str, asked: str, schema: Mapping[str, Any], number: int) -> Call:
        return Call(
            agent="run",
            step=step,
            model=self.model,
            messages=[{"role": "system", "content": system}, {"role": "user", "content": asked}],
            max_tokens=max(900, 150 * self._most),
            temperature=0.7 if number else 0.0,
            seed=number,
            schema=schema,
        )


def _without_reach(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a model says, held to its schema where its server does not: who may pay, and use which tools, is not its to say.

    Raises:
        PlanError: it says so all the same.

    """
    tasks = found.get("tasks")
    if any(isinstance(task, Mapping) and "options" in task for task in (tasks if isinstance(tasks, list) else ())):
        raise PlanError("Its tasks name options, which only a person's plan has.")
    return found


async def _sample(desk: Desk, call: Call) -> Mapping[str, Any]:
    """What a model answers, as a step; empty where it is no JSON object.

    Raises:
        PlanError: there is no answer.

    """

    async def do() -> str:
        return str((await ask_patiently(desk, call)).text)

    try:
        found = decode_json(str(await step("plan", do, key=call.digest)))
    except AttemptError as error:
        raise PlanError(f"No plan was made. {error}") from error
    return found if isinstance(found, dict) else {}


def load_plan(path: Path) -> Any:
    """The JSON of a plan file.

    Raises:
        PlanError: it cannot be read.

    """
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
        if len(raw) > _MOST_BYTES:
            raise PlanError(f"The plan {str(path)!r} is larger than {_MOST_BYTES >> 20} MiB.")
    except OSError as error:
        raise PlanError(f"The plan {str(path)!r} cannot be read: {error.strerror}.") from error
    found = decode_json(raw)
    if found is None:
        raise PlanError(f"The plan {str(path)!r} is no JSON, or is nested too deep.")
    return found


def divide(raw: Any, budget: int) -> Any:
    """Give every task that names no budget an equal part of what the others leave, less the reserve."""
    if not isinstance(raw, Mapping) or not isinstance(raw.get("tasks"), list):
        return raw
    tasks = [task for task in raw["tasks"] if isinstance(task, Mapping)]
    named = [task["budget"] for task in tasks if isinstance(task.get("budget"), int)]
    open_tasks = len(tasks) - len(named)
    share = max(0, budget - budget // _RESERVE - sum(named)) // max(1, open_tasks)
    return {**raw, "tasks": [{"budget": share, **task} for task in tasks]}


def name_candidates(raw: Any, named: Sequence[str]) -> Any:
    """Give every task of a role that somebody else may do too its candidates, unless it names its own."""
    if not named or not isinstance(raw, Mapping) or not isinstance(raw.get("tasks"), list):
        return raw
    others: dict[str, list[str]] = {}
    for each in named:
        role, _, other = each.partition("=")
        others.setdefault(role, []).append(other)

    def told(task: Any) -> Any:
        options = task.get("options", {}) if isinstance(task, Mapping) else None
        if not isinstance(options, Mapping) or task.get("role") not in others:
            return task
        return {**task, "options": {"candidates": others[task["role"]], **options}}

    return {**raw, "tasks": [told(task) for task in raw["tasks"]]}
