"""What a person sees of a run: the plan before it begins, and what goes on while it lasts. On stderr only."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from tercet.cli.output import confirm, is_terminal
from tercet.errors import JournalError, RefusedError
from tercet.market import CREDIT, Amount
from tercet.swarm.events import Event, read_events
from tercet.swarm.kernel import RunConfig
from tercet.swarm.plan import Plan
from tercet.swarm.state import Folding, RunState

__all__ = ["CLASSES", "Asker", "plan_table", "watching"]

CLASSES = ("plan", "delivery")
"""What can be agreed to beforehand with `--yes-to`."""
_EVERY = 0.25
_STYLES = {"done": "green", "failed": "red", "running": "bold"}


class Asker:
    """Asks on the terminal, once: who agrees to the plan agrees to its files being written."""

    def __init__(self, console: Console, yes_to: Collection[str]) -> None:
        self._console, self._yes_to = console, yes_to
        self._agreed = False
        self.pause: Callable[[], None] = lambda: None
        """Takes the live table away while there is a question."""

    async def approve(self, plan: Plan, by: str, config: RunConfig, *, again: bool) -> str:
        """Show the plan, and ask."""
        self.pause()
        self._console.print(plan_table(plan, by))
        most = Amount(config.budget, CREDIT)
        outputs = list(dict.fromkeys(path for task in plan.tasks for path in task.outputs))
        files = ", ".join(outputs[:6]) + (" ..." if len(outputs) > 6 else "")
        where = f", and write {files or 'nothing'} into {config.dir}" if config.dir else ""
        thinking = config.gateway or config.model
        what = f"work at {len(plan.tasks)} tasks with {thinking}, spend at most {most}{where}"
        if "plan" in self._yes_to:
            return "--yes-to plan"
        await asyncio.to_thread(_confirm, f"{'go on: ' if again else ''}{what}", "plan")
        self._agreed = True
        return "person"

    async def accept(self, paths: Sequence[str], directory: Path) -> str:
        """Files are about to be written: asked already, or now."""
        if "delivery" in self._yes_to:
            return "--yes-to delivery"
        if not self._agreed:
            self.pause()
            shown = ", ".join(paths[:8]) + (" ..." if len(paths) > 8 else "")
            await asyncio.to_thread(_confirm, f"write {shown} into {directory}", "delivery")
        return "person"


def _confirm(what: str, kind: str) -> None:
    if not is_terminal():
        raise RefusedError(
            f"This would {what}, and nobody is there to agree. Say --yes-to {kind}, --yes, or --dry-run to look first."
        )
    confirm(what, yes=False, dry_run=False)


def plan_table(plan: Plan, by: str) -> Table:
    """The plan for a person."""
    table = Table(title=f"Plan, made by {by}", title_justify="left", box=None, pad_edge=False)
    for column in ("task", "role", "needs", "done when", "budget", "deadline"):
        table.add_column(
            column.upper(), justify="right" if column in {"budget", "deadline"} else "left", overflow="fold"
        )
    for task in plan.tasks:
        test = "a hidden test passes" if task.done.hidden else " ".join(task.done.command)
        table.add_row(
            escape(f"{task.id}: {task.title}"),
            task.role,
            ", ".join(task.needs) or "-",
            escape(test),
            str(Amount(task.budget, CREDIT)),
            f"{task.seconds:g} s",
        )
    return table


@contextlib.asynccontextmanager
async def watching(folder: Path, console: Console, asker: Asker, after: int = 0) -> AsyncIterator[None]:
    """Tell what happens in a run while the block goes on: a live table on a terminal, lines elsewhere."""
    screen = _Screen(console)
    asker.pause = screen.pause
    watcher = asyncio.create_task(_watch(folder, screen, after))
    try:
        yield
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
        screen.look(folder)
        screen.pause()


async def _watch(folder: Path, screen: _Screen, after: int) -> None:
    screen.said = after
    while True:
        screen.look(folder)
        await asyncio.sleep(_EVERY)


class _Screen:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._folding = Folding()
        self._seen = 0
        self.said = 0
        """Events up to here are old news: a resumed run's past."""
        self._live: Live | None = None

    def look(self, folder: Path) -> None:
        """Take new events in, and show what changed."""
        try:
            events = list(read_events(folder / "journal.db", self._seen))
        except JournalError:
            return  # it is being made
        for event in events:
            self._folding.take(event)
            self._seen = event.seq
            if event.seq > self.said and (line := _line(event, self._folding)):
                self._console.print(f"[dim]{_seconds(event, self._folding):6.1f} s[/dim]  {escape(line)}")
        if events and self._console.is_terminal and self._folding.run.approved_by:
            self._draw(self._folding.state())

    def pause(self) -> None:
        """Take the table away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _draw(self, state: RunState) -> None:
        if self._live is None:
            self._live = Live(console=self._console, transient=True, refresh_per_second=4)
            self._live.start()
        self._live.update(_tasks_table(state))


def _tasks_table(state: RunState) -> Table:
    spent = Amount(state.spent().charged, CREDIT)
    title = f"{state.run.state} · {spent} spent · {state.spent().calls} calls"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in ("task", "agent", "state", "attempt", "spent"):
        table.add_column(column.upper(), justify="right" if column in {"attempt", "spent"} else "left")
    for task in list(state.tasks.values())[:40]:
        cost = sum(call.charged for call in state.calls_of(task=task.id))
        style = _STYLES.get(task.state, "dim")
        table.add_row(
            escape(f"{task.id}: {task.title}"), task.agent or "-", f"[{style}]{task.state}[/]", str(task.attempt or "-"),
            str(Amount(cost, CREDIT)),
        )  # fmt: skip
    return table


def _seconds(event: Event, folding: Folding) -> float:
    return (event.time_ms - folding.run.started_ms) / 1000


def _line(event: Event, folding: Folding) -> str:
    """What an event means to a person; empty where it means little."""
    say = _LINES.get(event.kind)
    return say(event, folding) if say else ""


def _said_state(event: Event, _: Folding) -> str:
    state, why = str(event.body.get("state", "")), str(event.body.get("why", ""))
    return {"planning": "Planning ...", "paused": f"Paused: {why}."}.get(state, "")


def _said_test(event: Event, _: Folding) -> str:
    how = "passes" if event.body.get("ok") else "fails"
    return f"{event.task}: the done-test {how}"


def _said_artefact(event: Event, _: Folding) -> str:
    body = event.body
    what = f"{body.get('path')} ({body.get('bytes')} bytes)" if body.get("sha256") else f"{body.get('path')} is deleted"
    return f"{event.task}: {what}, by {body.get('agent')} ({body.get('by')})"


def _said_failed(event: Event, _: Folding) -> str:
    why = " ".join(str(event.body.get("why", "")).split())[:300]
    return f"{event.task}: attempt {event.body.get('attempt')} failed{' for good' if event.body.get('final') else ''}: {why}"


_LINES: Mapping[str, Callable[[Event, Folding], str]] = {
    "run.state": _said_state,
    "task.started": lambda event, _: (
        f"{event.task}: {event.body.get('agent')} begins, attempt {event.body.get('attempt')}"
    ),
    "task.tested": _said_test,
    "task.failed": _said_failed,
    "task.replanned": lambda event, _: f"A new plan, because {event.task} failed",
    "artefact": _said_artefact,
    "guard.refused": lambda event, _: f"Refused {event.body.get('agent')}: {event.body.get('why')}",
    "ask.raised": lambda _event, _: "Somebody has to decide something: tercet inbox",
    "control": lambda event, _: f"{event.body.get('verb')} {event.body.get('target')}, by {event.body.get('by')}",
}
