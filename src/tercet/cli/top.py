"""`tercet top`: a run at one look, live: who needs you first, and a row for each crew, however many agents there are."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tercet.cli.frame import State, TercetCommand, pass_state
from tercet.cli.inbox.reader import Reader
from tercet.cli.inbox.words import tell_span
from tercet.cli.output import print_json
from tercet.cli.ps import printable
from tercet.cli.targets import find_target, newest_run
from tercet.market import CREDIT, Amount
from tercet.swarm.journal import Event, read_events
from tercet.swarm.state import Folding, RunState

__all__ = ["Glance", "command"]

UPDATES_A_SECOND = 4
RATE_SECONDS = 60.0
"""Calls are counted over this long."""
_STATES = ("working", "waiting", "idle", "paused", "stuck", "killed", "done")


class Glance:
    """What `top` shows, followed through a run's journal."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self._path = folder / "journal.db"
        self._folding = Folding()
        self._inbox = Reader(folder.name)
        self._calls: list[tuple[float, str]] = []

    @property
    def ended(self) -> bool:
        """Whether the run has ended."""
        return bool(self._folding.run.ended_ms)

    def read(self) -> bool:
        """Take in what was written since; whether there was anything."""
        before = self._folding.run.seq
        for event in read_events(self._path, before):
            self._take(event)
        return self._folding.run.seq > before

    def _take(self, event: Event) -> None:
        self._folding.take(event)
        self._inbox.apply(event)
        if event.kind == "call":
            self._calls.append((event.time_ms / 1000, str(event.body.get("agent", "run"))))

    def view(self, now: float) -> dict[str, Any]:
        """The numbers, as `--json` prints them; O(crews), whatever the number of agents."""
        state = self._folding.state()
        self._calls = [(at, node) for at, node in self._calls if at > now - RATE_SECONDS]
        limit = state.budgets.get("run")
        queue = self._inbox.queue(now).items
        ended = state.run.ended_ms / 1000 or now
        return {
            "run": self.name,
            "state": state.run.state,
            "why": state.run.why,
            "goal": state.run.goal,
            "seconds": round(max(0.0, ended - state.run.started_ms / 1000), 1) if state.run.started_ms else 0.0,
            "spent": str(state.spent().charged),
            "limit": None if limit is None or limit.credit is None else str(limit.credit),
            "tokens": state.spent().prompt + state.spent().completion,
            "calls_a_minute": len(self._calls),
            "asks": len(queue),
            "first": None if not queue else {"id": queue[0].id, "node": queue[0].node, "action": queue[0].top.action},
            "crews": [self._crew(state, crew) for crew in sorted(_crews(state))],
        }

    def _crew(self, state: RunState, crew: str) -> dict[str, Any]:
        node = f"run/{crew}"
        agents = [agent for agent in state.agents.values() if agent.crew == crew]
        tasks = [task for task in state.tasks.values() if task.crew == crew]
        states = {name: sum(agent.state == name for agent in agents) for name in _STATES}
        return {
            "crew": crew,
            "agents": len(agents),
            "states": {name: count for name, count in states.items() if count},
            "tasks": len(tasks),
            "done": sum(task.state == "done" for task in tasks),
            "failed": sum(task.state == "failed" for task in tasks),
            "spent": str(state.spent(node).charged),
            "tokens": state.spent(node).prompt + state.spent(node).completion,
            "calls_a_minute": sum(each.startswith(f"{node}/") or each == node for _, each in self._calls),
        }


def _crews(state: RunState) -> set[str]:
    return {*state.crews, *(agent.crew for agent in state.agents.values() if agent.crew)}


@click.command(
    "top",
    cls=TercetCommand,
    examples=("tercet top", "tercet top fair-otter --json"),
    schema={
        "run": "its name",
        "state": "as in tercet ps",
        "why": "why, where there is a reason",
        "goal": "what was asked",
        "seconds": "since it began",
        "spent": "credit units, as text",
        "limit": "credit units that it may spend in all, as text; null: no limit",
        "tokens": "of questions and answers",
        "calls_a_minute": "calls of models in the last minute",
        "asks": "decisions before you",
        "first": "the decision to take first: id, node, action; null: none",
        "crews[].crew": "name",
        "crews[].agents": "how many",
        "crews[].states": "how many agents are in which state",
        "crews[].tasks": "how many",
        "crews[].done": "of these",
        "crews[].failed": "of these",
        "crews[].spent": "credit units, as text",
        "crews[].tokens": "of questions and answers",
        "crews[].calls_a_minute": "in the last minute",
    },
)
@click.argument("run", metavar="[RUN]", required=False)
@pass_state
def command(state: State, run: str | None, *, as_json: bool) -> None:
    """RUN (default: the newest) at one look: who needs you first, then a row for each crew.

    Live on a terminal, at most four times a second, until the run ends or you press Ctrl-C; elsewhere it prints once.
    """
    home = state.settings.home
    found = newest_run(home) if run is None else find_target(home, run)
    glance = Glance(found.folder)
    glance.read()
    console = Console(no_color=not state.colour, highlight=False)
    if as_json:
        print_json(glance.view(time.time()))
    elif sys.stdout.isatty():
        watch(glance, console)
    else:
        console.print(draw(glance.view(time.time())))


def watch(glance: Glance, console: Console, below: Sequence[str] = ()) -> None:
    """Show it until the run ends or the person leaves."""
    with Live(draw(glance.view(time.time()), below), console=console, auto_refresh=False) as live:
        while not glance.ended:
            time.sleep(1 / UPDATES_A_SECOND)
            glance.read()
            live.update(draw(glance.view(time.time()), below), refresh=True)


def draw(view: dict[str, Any], below: Sequence[str] = ()) -> RenderableType:
    """The screen: a head, who needs you, the crews."""
    limit = "" if view["limit"] is None else f" of {_money(view['limit'])}"
    head = Text(f"{view['run']}  {view['state']}", style="bold")
    head.append(f"  {tell_span(view['seconds'])}  spent {_money(view['spent'])}{limit}", style="")
    head.append(f"  {view['tokens']} tokens  {view['calls_a_minute']} calls/min")
    first = view["first"]
    if first is None:
        need = Text("Nobody needs you.", style="dim")
    else:
        who = printable(first["node"].removeprefix("run/"), 40)
        need = Text(f"{view['asks']} need you. First: {who}: {printable(first['action'], 80)}", style="yellow")
        need.append(f"  (tercet inbox show {view['run']})", style="dim")
    parts: list[RenderableType] = [head, Text(printable(view["goal"], 100), style="dim"), need]
    if view["why"]:
        parts.append(Text(printable(view["why"], 120), style="red"))
    return Group(*parts, _table(view["crews"]), *(Text(line, style="dim") for line in below))


def _table(crews: Sequence[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("crew", "agents", "now", "tasks", "spent", "tokens", "calls/min"):
        table.add_column(name.upper(), justify="left" if name in ("crew", "now") else "right")
    for crew in crews:
        now = ", ".join(f"{count} {state}" for state, count in crew["states"].items())
        failed = f", {crew['failed']} failed" if crew["failed"] else ""
        table.add_row(
            Text(printable(crew["crew"], 32)), str(crew["agents"]), now, f"{crew['done']}/{crew['tasks']}{failed}",
            _money(crew["spent"]), str(crew["tokens"]), str(crew["calls_a_minute"]),
        )  # fmt: skip
    return table


def _money(units: str) -> str:
    return str(Amount(int(units), CREDIT)).removesuffix(f" {CREDIT.symbol}")
