"""What a run looks like now, folded from its journal: `ps`, `top`, `why`, the inbox and the kernel read it.

Whatever an event does not say stays as it was, and what this module does not know it passes over: a journal that a newer
Tercet wrote can still be looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from functools import cache
from typing import Any, cast

from tercet.swarm.journal import Event
from tercet.swarm.views import (
    AgentState,
    AgentView,
    ArtefactView,
    AskView,
    BudgetView,
    CallView,
    CrewView,
    RunState,
    RunView,
    Spent,
    StateOfRun,
    TaskView,
    node_of,
)

__all__ = ["KINDS", "Folding", "fold"]


def fold(events: Iterable[Event]) -> RunState:
    """The state after these events, which are in order and begin at the first."""
    folding = Folding()
    for event in events:
        folding.take(event)
    return folding.state()


class Folding:
    """A fold that goes on as events come, for whoever watches."""

    def __init__(self) -> None:
        self.told = RunView()
        """What events said of the run; `run` has how far they go as well."""
        self.seq = 0
        """Of the newest event taken."""
        self.crews: dict[str, CrewView] = {}
        self.agents: dict[str, AgentView] = {}
        self.tasks: dict[str, TaskView] = {}
        self.artefacts: dict[str, ArtefactView] = {}
        self.calls: dict[str, CallView] = {}
        self.budgets: dict[str, BudgetView] = {}
        self.asks: dict[str, AskView] = {}
        self.by_node: dict[str, Spent] = {}
        self._last_ms = 0

    @property
    def run(self) -> RunView:
        """The run itself, now."""
        return replace(self.told, seq=self.seq, last_ms=self._last_ms)

    def take(self, event: Event) -> None:
        """One more event."""
        self.seq, self._last_ms = event.seq, event.time_ms
        if not self.told.started_ms:
            self.told = replace(self.told, started_ms=event.time_ms)
        handler = _HANDLERS.get(event.kind)
        if handler is not None and isinstance(event.body, Mapping):
            handler(self, event)

    def state(self) -> RunState:
        """What it is now; later events do not change it."""
        return RunState(
            self.run,
            dict(self.crews),
            dict(self.agents),
            dict(self.tasks),
            dict(self.artefacts),
            dict(self.calls),
            dict(self.budgets),
            dict(self.asks),
            dict(self.by_node),
        )


def _known(view: type, body: Mapping[str, Any], *but: str) -> dict[str, Any]:
    """Of an event's body, what a view has a field for."""
    names = _names(view)
    return {name: value for name, value in body.items() if name in names and name not in but and value is not None}


@cache
def _names(view: type) -> frozenset[str]:
    return frozenset(each.name for each in fields(view))


def _started(it: Folding, event: Event) -> None:
    it.told = replace(it.told, **_known(RunView, event.body, "state", "seq", "plan"), started_ms=event.time_ms)


def _forked(it: Folding, event: Event) -> None:
    changed = event.body.get("config", {})
    model, gateway = str(changed.get("model", it.told.model)), str(changed.get("gateway", it.told.gateway))
    it.told = replace(it.told, model=model, gateway=gateway)


def _planned(it: Folding, event: Event) -> None:
    plan = event.body.get("plan", {})
    it.told = replace(it.told, plan=plan, planned_by=str(event.body.get("by", "")))
    it.tasks = {
        name: it.tasks.get(name, TaskView(name)) for name in (str(task.get("id", "")) for task in plan.get("tasks", ()))
    }
    for task in plan.get("tasks", ()):
        view = it.tasks[str(task.get("id", ""))]
        it.tasks[view.id] = replace(view, **_known(TaskView, task, "id", "done", "state"))


def _approved(it: Folding, event: Event) -> None:
    it.told = replace(it.told, approved_by=str(event.body.get("by", "")))


def _run_state(it: Folding, event: Event) -> None:
    it.told = replace(
        it.told,
        state=cast("StateOfRun", event.body.get("state", it.told.state)),
        why=str(event.body.get("why", "")),
        ended_ms=0,
        status="",
    )


def _ended(it: Folding, event: Event) -> None:
    status = str(event.body.get("status", ""))
    it.told = replace(
        it.told,
        status=status,
        state=cast("StateOfRun", status or it.told.state),
        why=str(event.body.get("why", "")),
        returned=int(event.body.get("returned", 0)),
        ended_ms=event.time_ms,
    )


def _crew(it: Folding, event: Event) -> None:
    name = str(event.body.get("crew", ""))
    it.crews[name] = CrewView(name, str(event.body.get("lead", "")), tuple(event.body.get("members", ())))


def _agent(it: Folding, event: Event) -> None:
    name = str(event.body.get("agent", ""))
    view = AgentView(name, **_known(AgentView, event.body, "id", "state"), since_ms=event.time_ms)
    it.agents[name] = replace(view, node=view.node or node_of(view.crew, name))


def _agent_state(it: Folding, event: Event) -> None:
    name = str(event.body.get("agent", ""))
    view = it.agents.get(name, AgentView(name))
    state = cast("AgentState", event.body.get("state", view.state))
    task = event.task if state in {"working", "waiting", "paused", "stuck"} and event.task else ""
    it.agents[name] = replace(
        view,
        state=state,
        why=str(event.body.get("why", "")),
        task=task or (view.task if state in {"waiting", "paused", "stuck"} else ""),
        since_ms=event.time_ms,
    )


def _task(it: Folding, event: Event) -> TaskView:
    return it.tasks.get(event.task, TaskView(event.task))


def _contracted(it: Folding, event: Event) -> None:
    view = _task(it, event)
    it.tasks[event.task] = replace(view, contracts=(*view.contracts, event.body))


def _task_started(it: Folding, event: Event) -> None:
    view = _task(it, event)
    it.tasks[event.task] = replace(
        view,
        state="running",
        attempt=int(event.body.get("attempt", view.attempt)),
        agent=str(event.body.get("agent", view.agent)),
        why="",
        started_ms=view.started_ms or event.time_ms,
        ended_ms=0,
    )


def _task_tested(it: Folding, event: Event) -> None:
    view = _task(it, event)
    it.tasks[event.task] = replace(
        view,
        tested=view.tested + 1,
        proof=str(event.body.get("proof", "")),
        passed=bool(event.body.get("ok")),
        detail=str(event.body.get("detail", "")),
    )


def _task_done(it: Folding, event: Event) -> None:
    artefacts = tuple(event.body.get("artefacts", ()))
    it.tasks[event.task] = replace(_task(it, event), state="done", artefacts=artefacts, ended_ms=event.time_ms)


def _task_failed(it: Folding, event: Event) -> None:
    final, why, view = bool(event.body.get("final")), str(event.body.get("why", "")), _task(it, event)
    contracts = [
        {**each, "failed": why} if each.get("contract") and each.get("contract") == event.body.get("contract") else each
        for each in view.contracts
    ]
    it.tasks[event.task] = replace(
        view,
        contracts=tuple(contracts),
        state="failed" if final else "pending",
        why=why,
        ended_ms=event.time_ms if final else 0,
    )


def _call(it: Folding, event: Event) -> None:
    body = event.body
    call = CallView(
        str(body.get("id", event.seq)),
        str(body.get("agent", "run")),
        **_known(CallView, body, "id", "node", "agent", "time_ms", "task"),
        task=str(body.get("task") or event.task),
        time_ms=event.time_ms,
    )
    it.calls[call.id] = call
    for node in _paths(call.node):
        it.by_node[node] = it.by_node.get(node, Spent()).plus(call)


def _reconciled(it: Folding, event: Event) -> None:
    old = it.calls.get(str(event.body.get("id", "")))
    if old is None or old.status != "unknown":
        return
    prompt, completion, charged = (int(event.body.get(name, 0)) for name in ("prompt", "completion", "charged"))
    new = replace(old, status="failed", prompt=prompt, completion=completion, charged=charged)
    it.calls[old.id] = new
    for node in _paths(old.node):
        it.by_node[node] = it.by_node[node].corrected(old, new)


def _paths(node: str) -> list[str]:
    parts = node.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]


def _artefact(it: Folding, event: Event) -> None:
    view = ArtefactView(
        **{"path": "", **_known(ArtefactView, event.body, "time_ms", "task")}, task=event.task, time_ms=event.time_ms
    )
    it.artefacts[view.path] = view


def _budget_set(it: Folding, event: Event) -> None:
    it.budgets[str(event.body.get("node", ""))] = BudgetView(**_known(BudgetView, event.body))


def _budget_added(it: Folding, event: Event) -> None:
    node = str(event.body.get("node", ""))
    old = it.budgets.get(node, BudgetView())
    more = _known(BudgetView, event.body)
    it.budgets[node] = replace(
        old, **{name: getattr(old, name) + value for name, value in more.items() if getattr(old, name) is not None}
    )


def _asked(it: Folding, event: Event) -> None:
    card = event.body.get("card", {})
    name = str(card.get("id", event.seq))
    it.asks[name] = AskView(name, card, event.time_ms)


def _answered(it: Folding, event: Event) -> None:
    card = event.body.get("card", "")
    it.asks.pop(str(card.get("id", "")) if isinstance(card, Mapping) else str(card), None)


_HANDLERS: Mapping[str, Callable[[Folding, Event], None]] = {
    "run.started": _started,
    "run.forked": _forked,
    "run.planned": _planned,
    "run.approved": _approved,
    "run.state": _run_state,
    "run.ended": _ended,
    "crew.formed": _crew,
    "agent.started": _agent,
    "agent.state": _agent_state,
    "task.contracted": _contracted,
    "task.started": _task_started,
    "task.tested": _task_tested,
    "task.done": _task_done,
    "task.failed": _task_failed,
    "call": _call,
    "call.reconciled": _reconciled,
    "artefact": _artefact,
    "budget.set": _budget_set,
    "budget.added": _budget_added,
    "ask.raised": _asked,
    "ask.answered": _answered,
    "ask.defaulted": _answered,
}

KINDS = tuple(_HANDLERS)
"""The events that leave a mark. Whoever only looks reads these; the other four fifths of a long journal are not decoded."""
