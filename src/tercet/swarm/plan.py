"""A plan: tasks that a program can tell the end of, and what each needs, may spend and may touch. Values only."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tercet.errors import PlanError, TercetError
from tercet.market import CREDIT, Amount

__all__ = ["SPAN", "DoneTest", "Plan", "Slot", "Task", "crews_of", "money_of", "parse_plan", "slots_of"]

SPAN = 7
"""The most that one lead looks after: crews of a run, agents of a crew (NIMS 2008: 3 to 7)."""
_MOST_NAMED = 16
"""Tools or payees of a task: a person reads them all before agreeing to the plan."""
_NAME = r"^[a-z][a-z0-9-]{0,31}$"
_CANDIDATE = re.compile(r"([a-z][a-z0-9-]{0,31})(?:@([^\s@]{1,200}))?")


class Slot(NamedTuple):
    """Agents that are alike: what one of them cannot do, none of them can."""

    role: str
    model: str = ""
    """Empty for the run's."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DoneTest(_Strict):
    """A program that says whether a task is done: exit code 0. It runs in the sandbox, over the files as they are then."""

    command: Sequence[str] = Field(min_length=1, max_length=64)
    """Program and arguments; `python3` and what the sandbox lends."""
    hidden: bool = False
    """True keeps the command and its output from the agents' prompts: they learn only that it failed."""
    seconds: float = Field(default=60.0, gt=0, le=3600)


class Task(_Strict):
    """One piece of work."""

    id: str = Field(pattern=_NAME)
    title: str = Field(min_length=1, max_length=200)
    role: str = Field(pattern=_NAME)
    """Whose work it is, such as `coder`; the runner has a table of roles."""
    detail: str = Field(default="", max_length=8000)
    needs: Sequence[str] = Field(default=(), max_length=64)
    """Ids of tasks that must be done before."""
    inputs: Sequence[str] = Field(default=(), max_length=256)
    """Paths or patterns of files it reads, relative to the workspace."""
    outputs: Sequence[str] = Field(default=(), max_length=256)
    """Paths or patterns of files it may write: its claim. Two tasks that may run at once never claim the same file."""
    answers_for: Sequence[str] | None = Field(default=None, max_length=256)
    """Paths whose hidden tests have to pass when it is done; None is its outputs. Of one that was planned anew, its last
    part answers for all that it was to write, and the parts before for their own done-tests alone."""
    done: DoneTest
    budget: int = Field(ge=0)
    """Credit units (1 credit = 10^6) it may spend."""
    seconds: float = Field(default=600.0, gt=0, le=86_400)
    """Deadline from its start."""
    crew: str = Field(default="crew", pattern=_NAME)
    options: Mapping[str, Any] = Field(default_factory=dict)
    """What the role's worker reads, such as {"strategy": "search"}."""

    @property
    def outputs_judged(self) -> Sequence[str]:
        """Paths whose hidden tests have to pass when it is done."""
        return self.outputs if self.answers_for is None else self.answers_for


class Plan(_Strict):
    """What is to be done, in which order."""

    goal: str = Field(min_length=1, max_length=20_000)
    tasks: Sequence[Task] = Field(min_length=1, max_length=500)


def parse_plan(raw: Any, *, budget: int) -> Plan:
    """Read a plan that a model, a file or a stranger wrote.

    Args:
        raw: the JSON object.
        budget: credit units of the run: the tasks' budgets may not pass it together.

    Raises:
        PlanError: with everything that is wrong: a field, a cycle, an unknown need, a span, the money.

    """
    try:
        plan = Plan.model_validate(raw)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, item['loc'])) or 'the plan'}: {item['msg']}" for item in error.errors()[:5]]
        raise PlanError(f"This is no plan: {'; '.join(faults)}.") from error
    faults = [*_bad_ids(plan), *_bad_paths(plan), *_bad_reach(plan), *_clashes(plan)]
    if (wanted := sum(task.budget for task in plan.tasks)) > budget:
        faults.append(f"its tasks may spend {Amount(wanted, CREDIT)} together, the run has {Amount(budget, CREDIT)}")
    if len(crews_of(plan)) > SPAN:
        faults.append(f"it has {len(crews_of(plan))} crews; {SPAN} are the most")
    if faults:
        raise PlanError(f"This plan cannot be run: {'; '.join(faults[:5])}.")
    return plan


def crews_of(plan: Plan) -> Mapping[str, Sequence[Task]]:
    """The tasks of each crew, in the plan's order."""
    crews: dict[str, list[Task]] = {}
    for task in plan.tasks:
        crews.setdefault(task.crew, []).append(task)
    return crews


def slots_of(task: Task) -> Sequence[Slot]:
    """Who can do the task: its role, with the run's model; and its option `candidates`, each `ROLE` or `ROLE@MODEL`.

    Raises:
        PlanError: the option is not in form.

    """
    named = task.options.get("candidates", [])
    found = [Slot(task.role)]
    if not isinstance(named, list) or len(named) >= SPAN:
        raise PlanError(f"task {task.id!r}: candidates is a list of up to {SPAN - 1} roles, not {named!r:.200}")
    for each in named:
        match = _CANDIDATE.fullmatch(each) if isinstance(each, str) else None
        if match is None:
            raise PlanError(f"task {task.id!r}: a candidate is ROLE or ROLE@MODEL, not {each!r:.200}")
        found.append(Slot(match[1], match[2] or ""))
    if any(slot.model for slot in found) and "model" in task.options:
        raise PlanError(f"task {task.id!r}: its option model would overrule its candidates' models; leave it out")
    return list(dict.fromkeys(found))


def ancestors(plan: Plan) -> Mapping[str, frozenset[str]]:
    """For each task, all tasks that must be done before it. The plan has no cycle."""
    by_id = {task.id: task for task in plan.tasks}
    found: dict[str, frozenset[str]] = {}

    def visit(name: str) -> frozenset[str]:
        if name not in found:
            found[name] = frozenset(by_id[name].needs).union(*(visit(need) for need in by_id[name].needs))
        return found[name]

    for name in by_id:
        visit(name)
    return found


def _bad_ids(plan: Plan) -> list[str]:
    ids = [task.id for task in plan.tasks]
    faults = [f"the id {name!r} is used twice" for name in sorted({name for name in ids if ids.count(name) > 1})]
    faults += [
        f"task {task.id!r} needs {need!r}, which is not in the plan"
        for task in plan.tasks
        for need in task.needs
        if need not in ids
    ]
    return faults or _cycle(plan)


def _cycle(plan: Plan) -> list[str]:
    left = {task.id: set(task.needs) for task in plan.tasks}
    while ready := [name for name, needs in left.items() if not needs]:
        for name in ready:
            del left[name]
        for needs in left.values():
            needs.difference_update(ready)
    return [f"these tasks wait for each other: {', '.join(sorted(left))}"] if left else []


def _bad_paths(plan: Plan) -> list[str]:
    return [
        f"task {task.id!r} names {path!r}; paths are relative to the workspace, stay in it, and have no control characters"
        for task in plan.tasks
        for path in (*task.inputs, *task.outputs)
        if path.startswith(("/", "~")) or not path.isprintable() or ".." in re.split(r"[/\\]", path)
    ]


def money_of(task: Task) -> int:
    """Credit units that its agent may pay away: its option `money`, credit as text.

    Raises:
        MarketError: it is no amount.

    """
    return Amount.parse(str(task.options.get("money", "0")), CREDIT).units


def _bad_reach(plan: Plan) -> list[str]:
    """Options that let an agent reach out of its sandbox, and are not in form."""
    faults = []
    for task in plan.tasks:
        for name in ("tools", "payees"):
            named = task.options.get(name, [])
            if not isinstance(named, list) or len(named) > _MOST_NAMED or not all(isinstance(x, str) for x in named):
                faults.append(f"task {task.id!r}: {name} is a list of up to {_MOST_NAMED} names, not {named!r:.200}")
        try:
            money_of(task)
        except TercetError as error:
            faults.append(f"task {task.id!r}: money: {error}")
        try:
            slots_of(task)
        except PlanError as error:
            faults.append(str(error))
    return faults


def _clashes(plan: Plan) -> list[str]:
    if _bad_ids(plan):
        return []
    before = ancestors(plan)
    writers: dict[str, list[str]] = {}
    for task in plan.tasks:
        for path in task.outputs:
            writers.setdefault(path, []).append(task.id)
    return [
        f"{first!r} and {second!r} may write {path!r} at the same time; let one need the other"
        for path, names in writers.items()
        for i, first in enumerate(names)
        for second in names[i + 1 :]
        if first not in before[second] and second not in before[first]
    ]
