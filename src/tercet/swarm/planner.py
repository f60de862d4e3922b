"""From a goal to a plan: a file, a recipe, or a model's own, which is checked and sampled anew until it can be run.

A model writes no money and no deadlines: the planner divides the budget, and keeps a part for what goes wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tercet.errors import AttemptError, PlanError
from tercet.market.text import decode_json
from tercet.swarm.gateway import Call, Desk
from tercet.swarm.plan import SPAN, Plan, Task, parse_plan
from tercet.swarm.recipes import find_recipe
from tercet.swarm.steps import step
from tercet.swarm.workbench import ask_patiently

__all__ = ["Planned", "Planner", "divide", "load_plan", "plan_schema"]

_SAMPLES = 6
_GOOD = 2
"""Plans that can be run are compared once there are this many."""
_RESERVE = 10
"""One part in this many of the budget is no task's: re-planning, and what a task needs beyond its share."""
_MOST_BYTES = 4 << 20
_TRIVIAL = frozenset({"true", "echo", ":", "exit", "printf"})
_ABOUT = {
    "author": "writes the files that its task claims",
    "assistant": "works with files and tools at anything",
    "coder": "makes failing Python tests pass",
    "writer": "writes one short text file",
    "analyst": "analyses a CSV file",
    "tester": "changes nothing; its done-test is the work",
}


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, and who made it."""

    plan: Plan
    by: str
    """file, `recipe NAME`, or `model NAME`."""


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

    async def plan(self, desk: Desk, paths: Sequence[str]) -> Planned:
        """The plan for the goal.

        Raises:
            PlanError: none was found that can be run.

        """
        return self.known(paths) or await self._ask(desk, paths, "")

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

    async def again(
        self, desk: Desk, paths: Sequence[str], old: Plan, failed: Task, why: str, done: Sequence[str]
    ) -> Planned | None:
        """Another plan after a task failed for good, in which what is done stays; None when a model was not asked for one."""
        told = (
            f"\n\nAn earlier plan failed at task {failed.id!r} ({failed.title}): {why[:400]}\n"
            f"Done already: {', '.join(done) or 'nothing'}. Plan what is left in another way, with new ids."
        )
        planned = await self._ask(desk, paths, told)
        kept = [task for task in old.tasks if task.id in done]
        if {task.id for task in kept} & {task.id for task in planned.plan.tasks}:
            return None
        tasks = [task.model_dump(mode="json") for task in (*kept, *planned.plan.tasks)]
        return Planned(parse_plan({"goal": self.goal, "tasks": tasks}, budget=self.budget), planned.by)

    def _checked(self, raw: Any) -> Plan:
        plan = parse_plan(divide(raw, self.budget), budget=self.budget)
        unknown = sorted({task.role for task in plan.tasks} - set(self.roles))
        if unknown:
            raise PlanError(f"Nobody has the role {', '.join(unknown)}. Known: {', '.join(sorted(self.roles))}.")
        return plan

    @property
    def _most(self) -> int:
        """Tasks of a model's plan."""
        return min(max(SPAN, self.agents), SPAN * SPAN)

    @property
    def _crews(self) -> str:
        if self._most == SPAN:
            return ""
        return f" inputs are files it reads. Put the tasks into at most {SPAN} crews by what they are about."

    async def _ask(self, desk: Desk, paths: Sequence[str], more: str) -> Planned:
        """Best of n: samples until two can be run, or none is left."""
        good: list[tuple[float, int, Plan]] = []
        faults: list[str] = []
        roles = [role for role in self.roles if role in _ABOUT]
        for number in range(_SAMPLES):
            raw = await self._sample(desk, paths, more, roles, number)
            try:
                plan = self._checked(raw)
            except PlanError as error:
                faults.append(str(error))
                continue
            score = judge_plan(plan)
            if score > 0:
                good.append((score, -number, plan))
            else:
                faults.append("its done-tests test nothing")
            if len(good) >= _GOOD:
                break
        if not good:
            raise PlanError(
                f"No plan of {_SAMPLES} that {self.model or 'the model'} made can be run; the last fault: {faults[-1]} Give one"
                " with --plan FILE, or a larger model with --model or --gateway."
            )
        return Planned(max(good)[2], f"model {self.model}".strip())

    async def _sample(self, desk: Desk, paths: Sequence[str], more: str, roles: Sequence[str], number: int) -> Any:
        listed = "\n".join(sorted(paths)[:60]) or "(empty)"
        known = "\n".join(f"- {role}: {_ABOUT[role]}" for role in roles)
        messages = [
            {
                "role": "system",
                "content": "You plan work as tasks. Each task has a done-test: a command that exits with 0 only when the task is "
                "done, such as python3 -m pytest -q or test -s FILE.",
            },
            {
                "role": "user",
                "content": f"Goal: {self.goal}\n\nFiles:\n{listed}\n\nRoles:\n{known}\n\nPlan 1 to {self._most} tasks. outputs are the "
                f"files a task writes; needs are ids of tasks before it.{self._crews}{more}",
            },
        ]
        call = Call(
            agent="run",
            step=f"plan/{bool(more)}/{number}",
            model=self.model,
            messages=messages,
            max_tokens=max(900, 150 * self._most),
            temperature=0.7 if number else 0.0,
            seed=number,
            schema=plan_schema(roles, self._most),
        )

        async def do() -> str:
            return str((await ask_patiently(desk, call)).text)

        try:
            found = decode_json(str(await step("plan", do, key=call.digest)))
            return {"goal": self.goal, **found} if isinstance(found, dict) else {}
        except AttemptError as error:
            raise PlanError(f"No plan was made. {error}") from error


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


def judge_plan(plan: Plan) -> float:
    """How good a plan is that can be run; 0 or less is refused: a done-test that tests nothing, no output at all."""
    if any(task.done.command[0] in _TRIVIAL for task in plan.tasks) or not any(task.outputs for task in plan.tasks):
        return 0.0
    tested = sum(any("test" in word for word in task.done.command) for task in plan.tasks)
    return 1.0 + tested / len(plan.tasks) - 0.05 * len(plan.tasks)


def plan_schema(roles: Sequence[str], most: int = SPAN) -> dict[str, Any]:
    """What a model may write: no money, known roles only; crews, inputs and details only where there are more tasks than a crew does."""
    short = {"type": "string", "minLength": 1, "maxLength": 80}
    names = {"type": "array", "items": {**short, "maxLength": 32}, "maxItems": 6}
    done = {
        "type": "object",
        "properties": {"command": {"type": "array", "items": short, "minItems": 1, "maxItems": 8}},
        "required": ["command"],
        "additionalProperties": False,
    }
    identifier = {"type": "string", "pattern": "^[a-z][a-z0-9-]{0,20}$"}
    large = {"crew": identifier, "inputs": {**names, "maxItems": 16}, "detail": {"type": "string", "maxLength": 600}}
    task = {
        "type": "object",
        "properties": {
            "id": identifier,
            "title": short,
            "role": {"enum": list(roles)},
            "needs": names,
            "outputs": names,
            "done": done,
            **(large if most > SPAN else {}),
        },
        "required": ["id", "title", "role", "needs", "outputs", "done"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"tasks": {"type": "array", "items": task, "minItems": 1, "maxItems": most}},
        "required": ["tasks"],
        "additionalProperties": False,
    }
