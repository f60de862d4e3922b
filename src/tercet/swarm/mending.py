"""Another way to do one task that failed, where the plan is a person's or a recipe's: the rest of the plan stays as it is.

One to five tasks take its place. A model says what they are; what binds them is not the model's to say: they write
within the failed task's claim, read what it could read, share what was left of its money, and the last of them is done
when the failed task's own done-test passes, hidden or not, and the hidden tests of all files that it was to write. Those
before are done when their own done-tests pass.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tercet.errors import PlanError
from tercet.swarm.crews import shape_team
from tercet.swarm.patterns import claimed
from tercet.swarm.plan import Plan, Task, ancestors, parse_plan
from tercet.swarm.proposals import TRIVIAL, describe_roles, task_schema

__all__ = ["MOST_TASKS", "Failure", "describe_failure", "fresh_ids", "mend_plan", "mending_schema"]

MOST_TASKS = 5
"""That take a failed task's place."""
_LONGEST_ID = 32
_SHOWN_PATHS = 60
_Words = Annotated[Sequence[str], Field(max_length=64)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A task that failed for good, and what a planner may know and use to do it in another way."""

    name: str
    """Of the re-planning, unique in the run: keys of its steps are made with it."""
    plan: Plan
    task: Task
    why: str
    """What the last attempt said; of a hidden done-test no more than that it failed."""
    paths: Sequence[str]
    """Of the files there are."""
    done: Sequence[str]
    """Ids of tasks that are done."""
    taken: Collection[str]
    """Ids that tasks of the run have, or had."""
    left: int
    """Credit units of the task's budget that were not spent."""


class _Part(BaseModel):
    """What a model says of a task."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    title: str
    role: str
    needs: _Words = ()
    inputs: _Words = ()
    outputs: _Words = ()
    detail: str = ""


class _Tested(_Part):
    done: Mapping[str, Any]


class _Mend(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    before: Sequence[_Tested] = Field(default=(), max_length=MOST_TASKS - 1)
    last: _Part
    """It names no done-test: it has the failed task's."""


def mend_plan(failure: Failure, raw: Any, *, budget: int, roles: Collection[str], agents: int) -> Plan:
    """The plan with other tasks in the failed one's place.

    Args:
        failure: what happened.
        raw: what a model wrote, as `mending_schema` says.
        budget: credit units of the run.
        roles: who can be asked.
        agents: the most of the run.

    Raises:
        PlanError: it is not another way to do just this task, and why.

    """
    failed = failure.task
    try:
        mend = _Mend.model_validate(raw)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, item['loc'])) or 'the answer'}: {item['msg']}" for item in error.errors()[:5]]
        raise PlanError(f"This is no other way to do {failed.id!r}: {'; '.join(faults)}.") from error
    parts = [*mend.before, mend.last]
    faults = [fault for part in parts for fault in _faults(part, failure, [part.id for part in parts], roles)]
    if faults:
        raise PlanError(f"This is no other way to do {failed.id!r}: {'; '.join(faults[:5])}.")
    names = dict(zip((part.id for part in parts), fresh_ids([part.id for part in parts], failure.taken), strict=True))
    share, rest = divmod(failure.left, len(parts))
    # A file's hidden test may need what only the last part writes, so no part before is judged by it.
    new = [{**_task(part, failed, names, share), "answers_for": []} for part in mend.before]
    others = [names[part.id] for part in mend.before]
    last = _task(mend.last, failed, names, share + rest)
    # It is judged as the failed task was, so it sees all that one saw, whatever the model thought it would need.
    judged = {"done": failed.done.model_dump(), "answers_for": failed.outputs_judged}
    new.append({**last, "needs": [*failed.needs, *others], "inputs": _readable(failed), **judged})
    mended = parse_plan({"goal": failure.plan.goal, "tasks": _in_place(failure, new)}, budget=budget)
    shape_team(mended, agents)
    return mended


def _task(part: _Part, failed: Task, names: Mapping[str, str], budget: int) -> dict[str, Any]:
    """A task in the failed one's place: its needs are done and stay needed, its deadline and its crew are the same."""
    options = {name: value for name, value in failed.options.items() if part.role == failed.role or name == "attempts"}
    return {
        **part.model_dump(),
        "id": names[part.id],
        "needs": [*failed.needs, *(names[need] for need in part.needs if need in names)],
        "inputs": list(part.inputs) or _readable(failed),
        "budget": budget,
        "seconds": failed.seconds,
        "crew": failed.crew,
        "options": options,
    }


def _readable(failed: Task) -> list[str]:
    """Patterns of what the failed task could read; none is everything."""
    return [*failed.inputs, *failed.outputs] if failed.inputs else []


def _in_place(failure: Failure, new: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The plan's tasks, the new ones where the failed one was; who needed that needs the last of them."""
    tasks: list[Mapping[str, Any]] = []
    for task in failure.plan.tasks:
        if task.id == failure.task.id:
            tasks += new
        else:
            needs = [new[-1]["id"] if need == failure.task.id else need for need in task.needs]
            tasks.append({**task.model_dump(), "needs": needs})
    return tasks


def _faults(part: _Part, failure: Failure, own: Sequence[str], roles: Collection[str]) -> list[str]:
    failed = failure.task
    known = {*own, *ancestors(failure.plan)[failed.id]}
    readable = _readable(failed)
    faults = [f"the id {part.id!r} is used twice"] if own.count(part.id) > 1 else []
    faults += [f"{part.id!r} may write {path!r}, which {failed.id!r} may not"
               for path in part.outputs if not _within(path, failed.outputs)]  # fmt: skip
    faults += [f"{part.id!r} may read {path!r}, which {failed.id!r} may not"
               for path in part.inputs if readable and not _within(path, readable)]  # fmt: skip
    faults += [f"{part.id!r} needs {need!r}, which was not done before {failed.id!r}"
               for need in part.needs if need not in known]  # fmt: skip
    if part.role not in roles:
        faults.append(f"nobody has the role {part.role!r}")
    if isinstance(part, _Tested):
        command = part.done.get("command")
        if isinstance(command, list) and command[:1] and str(command[0]) in TRIVIAL:
            faults.append(f"the done-test of {part.id!r} tests nothing")
    return faults


def _within(path: str, patterns: Sequence[str]) -> bool:
    """Whether a path, or one of the same patterns, is among what the patterns cover; another pattern never is."""
    return path in patterns or (not set(path) & set("*?") and not path.endswith("/") and claimed(path, patterns))


def fresh_ids(wanted: Sequence[str], taken: Collection[str]) -> list[str]:
    """The ids, each with a number behind it where the run has, or had, a task of that name: an attempt's steps keep theirs."""
    used, found = set(taken), list[str]()
    for name in wanted:
        fresh, number = name, 2
        while fresh in used:
            fresh, number = f"{name[: _LONGEST_ID - 4]}-{number}", number + 1
        used.add(fresh)
        found.append(fresh)
    return found


def describe_failure(failure: Failure, roles: Sequence[str]) -> str:
    """The question to a model. What is hidden of the done-test stays so, and so does what the task could not read."""
    task = failure.task
    readable = (*task.inputs, *task.outputs) if task.inputs else ("**",)
    paths = "\n".join(sorted(path for path in failure.paths if claimed(path, readable))[:_SHOWN_PATHS]) or "(none)"
    test = "a program that nobody may see" if task.done.hidden else " ".join(task.done.command)
    return "\n\n".join((
        f"A task of a plan has failed, after several attempts. Find another way to do just this task.\n\n"
        f"Task: {task.title}\n{task.detail[:2000]}".strip(),
        f"Its role: {task.role}\nIt writes: {', '.join(task.outputs) or 'nothing'}\nIt is done when this passes: {test}",
        f"Why it failed: {failure.why[:600]}",
        f"Files that can be read:\n{paths}",
        f"Roles:\n{describe_roles(roles)}",
        (f"Write it as 1 to {MOST_TASKS} tasks. before are those that come first, none where one is enough; each has a"
        " done-test of its own. last comes after all of them; its done-test is the one above, and nobody can change it."
        " outputs are files that a task writes, of those above only. needs are ids of the new tasks before it."),
    ))  # fmt: skip


def mending_schema(roles: Sequence[str]) -> dict[str, Any]:
    """What a model may write: tasks before, each with a done-test; and the last one, which has the failed task's."""
    tested = task_schema(roles, "inputs", "detail")
    named = {name: value for name, value in tested["properties"].items() if name not in {"done", "needs"}}
    last = {
        **tested,
        "properties": named,
        "required": [name for name in tested["required"] if name in named],
    }
    return {
        "type": "object",
        "properties": {"before": {"type": "array", "items": tested, "maxItems": MOST_TASKS - 1}, "last": last},
        "required": ["before", "last"],
        "additionalProperties": False,
    }
