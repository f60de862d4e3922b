"""What a person sees of a run: the plan before it begins, and what goes on while it lasts. On stderr only."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from tercet.cli.glance import Glance
from tercet.cli.inbox.words import crop, pack
from tercet.cli.output import is_terminal
from tercet.cli.plain import printable
from tercet.cli.run_plan import tell_plan, tell_plan_briefly
from tercet.cli.top import tell_head, tell_need
from tercet.errors import JournalError, RefusedError
from tercet.market import CREDIT, Amount
from tercet.swarm.events import Event
from tercet.swarm.kernel import RunConfig
from tercet.swarm.plan import Plan
from tercet.swarm.state import Folding
from tercet.swarm.views import RunState

__all__ = ["CLASSES", "Asker", "show_plan", "watching"]

CLASSES = ("plan", "delivery")
"""What can be agreed to beforehand with `--yes-to`."""
_EVERY = 0.25
_STYLES = {"failed": "red", "running": ""}
_ORDER = {"failed": 0, "running": 1, "pending": 2}
_MOST_SHOWN = 10
"""Tasks of a plan that are shown in full before the question on a terminal."""


class Asker:
    """Asks on the terminal, once: who agrees to the plan agrees to its files being written."""

    def __init__(self, console: Console, yes_to: Collection[str], *, agreed: bool = False) -> None:
        self._console, self._yes_to = console, yes_to
        self._agreed = agreed
        self._answer: asyncio.Future[str] | None = None
        self.pause: Callable[[], None] = lambda: None
        """Takes the live table away while there is a question."""

    @property
    def asks(self) -> bool:
        """Whether a question waits for its answer: nothing else is written then."""
        return self._answer is not None

    def leave(self) -> bool:
        """The person leaves instead of answering, so whoever asks gets `click.Abort`; whether there was a question."""
        if self._answer is None or self._answer.done():
            return False
        self._answer.set_exception(click.Abort())
        return True

    async def approve(self, plan: Plan, by: str, config: RunConfig, *, again: bool) -> str:
        """Show the plan, and ask."""
        self.pause()
        brief = self._console.is_terminal and len(plan.tasks) > _MOST_SHOWN
        show_plan(self._console, plan, by, brief=brief)
        most = Amount(config.budget, CREDIT)
        outputs = list(dict.fromkeys(path for task in plan.tasks for path in task.outputs))
        files = ", ".join(outputs[:6]) + (" ..." if len(outputs) > 6 else "")
        where = f", and write {files or 'nothing'} into {config.dir}" if config.dir else ""
        thinking = config.gateway or config.model
        what = f"work at {len(plan.tasks)} tasks with {thinking}, spend at most {most}{where}"
        if "plan" in self._yes_to:
            return "--yes-to plan"
        whole = (lambda: show_plan(self._console, plan, by)) if brief else None
        await self._confirm(f"{'go on: ' if again else ''}{what}", "plan", whole)
        self._agreed = True
        return "person"

    async def accept(self, paths: Sequence[str], directory: Path) -> str:
        """Files are about to be written: asked already, or now."""
        if "delivery" in self._yes_to:
            return "--yes-to delivery"
        if not self._agreed:
            self.pause()
            shown = ", ".join(paths[:8]) + (" ..." if len(paths) > 8 else "")
            await self._confirm(f"write {shown} into {directory}", "delivery")
        return "person"

    async def _confirm(self, what: str, kind: str, whole: Callable[[], None] | None = None) -> None:
        """Until there is an answer; `whole` shows all of what was shown briefly."""
        what = printable(what, len(what))  # paths in it are a model's, or of a file that a stranger wrote
        if not is_terminal():
            raise RefusedError(
                f"This would {what}, and nobody is there to agree. Say --yes-to {kind}, --yes, or --dry-run to look first."
            )
        loop = asyncio.get_running_loop()
        descriptor = sys.stdin.fileno()
        loop.add_reader(descriptor, lambda: self._hear(os.read(descriptor, 1024)))
        try:
            while True:
                self._answer = loop.create_future()
                keys = "[y/N, p for the plan with its tests]" if whole else "[y/N]"
                click.echo(f"This will {what}. Go on? {keys}: ", err=True, nl=False)
                said = (await self._answer).strip().lower()
                if said == "p" and whole:
                    whole()
                if said in {"y", "yes"}:
                    return
                if said in {"", "n", "no"}:
                    raise RefusedError("Nothing was done, because you said no.")
        finally:
            self._answer = None
            loop.remove_reader(descriptor)

    def _hear(self, line: bytes) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(line.decode(errors="replace") or "no")  # nothing is the end of the input


def show_plan(console: Console, plan: Plan, by: str, *, brief: bool = False) -> None:
    """The plan for a person; all of it, or a row for each task."""
    tell = tell_plan_briefly if brief else partial(tell_plan, wrap=console.is_terminal)
    for line in tell(plan, by, console.width):
        console.print(Text(line))


@contextlib.asynccontextmanager
async def watching(folder: Path, console: Console, asker: Asker, after: int = 0) -> AsyncIterator[None]:
    """Tell what happens in a run while the block goes on: a live table on a terminal, lines elsewhere."""
    screen = _Screen(console, folder, after)
    asker.pause = screen.pause
    watcher = asyncio.create_task(_watch(screen, asker))
    try:
        yield
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
        screen.look()
        screen.pause()


async def _watch(screen: _Screen, asker: Asker) -> None:
    while True:
        if not asker.asks:
            screen.look()
        await asyncio.sleep(_EVERY)


class _Screen:
    def __init__(self, console: Console, folder: Path, after: int) -> None:
        self._console = console
        self._glance = Glance(folder, _LINES)
        self._said = after
        """Events up to here are old news: a resumed run's past."""
        self._live: Live | None = None

    def look(self) -> None:
        """Take new events in, and show what changed."""
        try:
            events = self._glance.read()
        except JournalError:
            return  # it is being made
        folding = self._glance.folding
        for event in events:
            if event.seq > self._said and (line := _line(event, folding)):
                when = f"{_seconds(event, folding):6.1f} s  "
                self._console.print(Text(when, style="dim").append(printable(line), style="not dim"))
        if events and self._console.is_terminal and not self._console.is_dumb_terminal and folding.run.approved_by:
            self._draw()

    def pause(self) -> None:
        """Say what there is to say, and take the table away."""
        self.look()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _draw(self) -> None:
        if self._live is None:
            self._live = Live(console=self._console, transient=True, auto_refresh=False)
            self._live.start()
        size = self._console.size
        lines = tell_tasks(self._glance.folding.state(), self._glance.view(time.time()), size.width, size.height // 2)
        self._live.update(Group(*lines), refresh=True)


def tell_tasks(state: RunState, view: Mapping[str, Any], width: int, height: int) -> list[Text]:
    """What goes on, in at most `height` rows (4 at least) of `width` columns: money, who needs the person, tasks that are worked on, the next."""
    tasks = sorted(
        state.tasks.values(), key=lambda task: _ORDER.get(task.state, len(_ORDER))
    )  # stable: the plan's order
    lines = [Text(pack(tell_head(view), width)[0], style="bold")]
    if view["asks"]:
        lines += [Text(words, style=style) for words, style in tell_need(view)]
    shown = [task for task in tasks if task.state != "done"]
    room = max(1, height - len(lines))
    cut = shown if len(shown) <= room else shown[: room - 1]
    for task in cut:
        cost = sum(call.charged for call in state.calls_of(task=task.id))
        who = f"  {task.agent}, attempt {task.attempt}" if task.agent else ""
        told = f"  {task.state:<8}{who}  {Amount(cost, CREDIT)}  {task.id}: {printable(task.title)}"
        lines.append(Text(told, style=_STYLES.get(task.state, "dim")))
    if len(cut) < len(shown):
        lines.append(Text(f"  and {len(shown) - len(cut)} more", style="dim"))
    for line in lines:
        line.plain = crop(line.plain, width)
    return lines


def _seconds(event: Event, folding: Folding) -> float:
    return (event.time_ms - folding.run.started_ms) / 1000


def _line(event: Event, folding: Folding) -> str:
    """What an event means to a person; empty where it means little."""
    say = _LINES.get(event.kind)
    return say(event, folding) if say else ""


def _said_state(event: Event, _: Folding) -> str:
    state, why = str(event.body.get("state", "")), str(event.body.get("why", ""))
    return {"planning": "Planning ...", "paused": f"Paused: {why.rstrip('.')}."}.get(state, "")


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


def _said_ask(event: Event, _: Folding) -> str:
    """Only what comes to the person; what a policy or a lead takes is in the journal."""
    card = event.body.get("card", {})
    if event.body.get("to") not in {"person", "canary"}:
        return ""
    return f"{str(card.get('agent', '')).removeprefix('run/')} asks you: {card.get('action', '')}"[:200]


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
    "memory.missing": lambda event, _: f"No shared memory, and the run goes on without: {event.body.get('why')}",
    "ask.raised": _said_ask,
    "control": lambda event, _: f"{event.body.get('verb')} {event.body.get('target')}, by {event.body.get('by')}",
}
