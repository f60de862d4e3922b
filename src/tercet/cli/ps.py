"""`tercet ps`: the runs there are, and the agents of one."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import click

from tercet.cli.frame import State, TercetCommand, pass_state
from tercet.cli.inbox.words import tell_span
from tercet.cli.output import print_json, print_table, tell_credit
from tercet.cli.plain import printable
from tercet.cli.targets import ENDED, Target, find_runs, find_target, read_state
from tercet.errors import JournalError
from tercet.swarm.control import is_served
from tercet.swarm.journal import read_events
from tercet.swarm.state import KINDS, fold
from tercet.swarm.views import AgentView, RunState, RunView

__all__ = ["command"]

_LONGEST_GOAL = 44
_SPARE = ("since", "kind", "working", "of", "calls", "crew", "credit")
"""Columns that a narrow terminal does without, the first of them first."""
_UNREADABLE = "unreadable"
"""The state of a run whose journal is none, or is being made."""
_STAGES = tuple(kind for kind in KINDS if kind.startswith("run."))


@click.command(
    "ps",
    cls=TercetCommand,
    examples=("tercet ps --all", "tercet ps fair-otter --json"),
    schema={
        "runs[].run": "its name; absent when RUN is given",
        "runs[].state": "planning, waiting, running, paused, stopped, done, failed, out_of_budget or unreadable",
        "runs[].live": "whether a process works on it",
        "runs[].goal": "what was asked",
        "runs[].tasks": "how many tasks it has",
        "runs[].done": "how many of them are done",
        "runs[].working": "agents that work now",
        "runs[].asks": "decisions that wait for you",
        "runs[].spent": "credit units, as text",
        "runs[].limit": "credit units that it may spend in all, as text; null: no limit",
        "runs[].seconds": "since it began",
        "agents[].agent": "id; only when RUN is given",
        "agents[].crew": "its crew",
        "agents[].kind": "model, tool or foreign",
        "agents[].state": "idle, working, waiting, paused, killed, stuck or done",
        "agents[].why": "why, where there is a reason",
        "agents[].task": "what it works on",
        "agents[].calls": "of models",
        "agents[].spent": "credit units, as text",
        "agents[].seconds": "since its state changed",
    },
)
@click.argument("run", metavar="[RUN]", required=False)
@click.option("--all", "everything", is_flag=True, help="Runs that have ended as well; of a run, agents that are done.")
@pass_state
def command(state: State, run: str | None, *, everything: bool, as_json: bool) -> None:
    """The runs that go on; with RUN (or RUN/crew) its agents."""
    home, now = state.settings.home, time.time()
    if run is None:
        found = find_runs(home)
        rows = [_run(folder, now) for folder in found if everything or _goes_on(folder)]
        print_json({"runs": rows}) if as_json else _show_runs(rows, hidden=len(found) - len(rows))
        return
    target = find_target(home, run)
    agents = [_agent(target, agent, now) for agent in target.agents if everything or agent.state != "done"]
    print_json({"agents": agents}) if as_json else _show_agents(target, agents)


def _goes_on(folder: Path) -> bool:
    """Whether a run is not over; asked of few of its events, since most runs are."""
    try:
        over = fold(read_events(folder / "journal.db", kinds=_STAGES)).run.state in ENDED
    except JournalError:  # it is being made, or is none: shown all the same
        return True
    return not over or asyncio.run(is_served(folder))


def _run(folder: Path, now: float) -> dict[str, Any]:
    readable = True
    try:
        state = read_state(folder)
    except JournalError:  # it is being made, or is none: the others are shown all the same
        state, readable = RunState(run=RunView(why="its journal cannot be read")), False
    limit = state.budgets.get("run")
    ended = state.run.ended_ms / 1000 or now
    return {
        "run": folder.name,
        "state": state.run.state if readable else _UNREADABLE,
        "live": asyncio.run(is_served(folder)),
        "goal": state.run.goal or state.run.why,
        "tasks": len(state.tasks),
        "done": sum(task.state == "done" for task in state.tasks.values()),
        "working": _working(state),
        "asks": len(state.asks),
        "spent": str(state.spent().charged),
        "limit": None if limit is None or limit.credit is None else str(limit.credit),
        "seconds": round(max(0.0, ended - state.run.started_ms / 1000), 1) if state.run.started_ms else 0.0,
    }


def _working(state: RunState) -> int:
    return sum(agent.state == "working" for agent in state.agents.values())


def _show_runs(rows: list[dict[str, Any]], hidden: int) -> None:
    table = [
        [
            row["run"], row["state"] if row["live"] or row["state"] in (*ENDED, _UNREADABLE) else f"{row['state']}, left",
            f"{row['done']}/{row['tasks']}", row["working"], row["asks"], tell_credit(row["spent"]),
            tell_credit(row["limit"]), tell_span(row["seconds"]), printable(row["goal"], _LONGEST_GOAL),
        ]
        for row in rows
    ]  # fmt: skip
    empty = (
        f"No run goes on; {hidden} have ended: tercet ps --all"
        if hidden
        else "There is no run. Start one: tercet run GOAL."
    )
    print_table(
        ["run", "state", "tasks", "working", "asks", "credit", "of", "since", "goal"], table, empty, spare=_SPARE
    )


def _agent(target: Target, agent: AgentView, now: float) -> dict[str, Any]:
    spent = target.state.spent(agent.node)
    return {
        "agent": agent.id,
        "crew": agent.crew,
        "kind": agent.kind,
        "state": agent.state,
        "why": agent.why,
        "task": agent.task,
        "calls": spent.calls,
        "spent": str(spent.charged),
        "seconds": round(max(0.0, now - agent.since_ms / 1000), 1),
    }


def _show_agents(target: Target, agents: list[dict[str, Any]]) -> None:
    table = [
        [
            row["agent"], row["crew"], row["kind"], row["state"], printable(row["task"], 32), row["calls"],
            tell_credit(row["spent"]), tell_span(row["seconds"]), printable(row["why"], _LONGEST_GOAL),
        ]
        for row in agents
    ]  # fmt: skip
    columns = ["agent", "crew", "kind", "state", "task", "calls", "credit", "since", "why"]
    print_table(
        columns, table, f"{target.name} has no agents at work. tercet ps {target.name} --all shows all.", spare=_SPARE
    )
