"""`tercet logs`: what happened in a run, a crew or an agent, as lines."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from tercet.cli.frame import State, TercetCommand, pass_state
from tercet.cli.options import COUNT
from tercet.cli.output import print_json, say
from tercet.cli.plain import printable
from tercet.cli.targets import find_target, is_below
from tercet.market import CREDIT, Amount
from tercet.swarm.control import is_served
from tercet.swarm.journal import Event, read_events
from tercet.swarm.state import Folding

__all__ = ["Feed", "command", "tell"]

POLL_SECONDS = 0.25
_LONGEST = 160
_QUIET = ("step", "call.opened", "message", "memory.put")
"""What a person has no use for; `tercet journal show` has all."""


class Feed:
    """New events of a target, as they come."""

    def __init__(self, folder: Path, node: str) -> None:
        self._path = folder / "journal.db"
        self._node = node
        self.folding = Folding()

    @property
    def ended(self) -> bool:
        """Whether the run has ended, and was not taken up again."""
        return bool(self.folding.run.ended_ms)

    def read(self) -> Iterator[Event]:
        """What was written since the last time."""
        for event in read_events(self._path, self.folding.seq):
            self.folding.take(event)
            if event.kind not in _QUIET and self._is_its(event):
                yield event

    def _is_its(self, event: Event) -> bool:
        if self._node == "run":
            return True
        body = event.body
        named = [str(body.get(name, "")) for name in ("agent", "node", "target")]
        agents = {agent.id: agent.node for agent in self.folding.agents.values()}
        task = self.folding.tasks.get(event.task)
        who = [*named, *(agents.get(name, "") for name in (*named, event.actor, task.agent if task else ""))]
        crew = f"run/{task.crew}" if task is not None and task.crew else ""
        return any(is_below(node, self._node) for node in (*who, crew) if node)


@click.command(
    "logs",
    cls=TercetCommand,
    examples=("tercet logs fair-otter", "tercet logs -f fair-otter/repair/coder-1"),
    schema={
        "events[].seq": "number in the journal",
        "events[].time_ms": "unix milliseconds",
        "events[].kind": "what happened: docs/reference/journal.md",
        "events[].actor": "agent, kernel or person",
        "events[].task": "id of the task, or empty",
        "events[].text": "what is shown without --json",
    },
)
@click.argument("target")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends; with --json one event a line.")
@click.option("--last", default=0, type=COUNT, help="Only so many of those there are; 0 shows all.")
@pass_state
def command(state: State, target: str, *, follow: bool, last: int, as_json: bool) -> None:
    """What happened in TARGET, the oldest first: RUN, RUN/crew, RUN/crew/agent, or an agent's id alone."""
    found = find_target(state.settings.home, target)
    feed = Feed(found.folder, found.node)
    events = list(feed.read())
    events = events[-last:] if last else events
    if as_json and not follow:
        print_json({"events": [_plain(event) for event in events]})
        return
    show = _show_json if as_json else _show
    for event in events:
        show(event)
    if follow and not feed.ended and not asyncio.run(is_served(found.folder)):
        say(f"No process works on {found.folder.name} now. tercet resume {found.folder.name} takes it up.")
    while follow and not feed.ended:
        time.sleep(POLL_SECONDS)
        for event in feed.read():
            show(event)


def _show(event: Event) -> None:
    when = f"{dt.datetime.fromtimestamp(event.time_ms / 1000):%H:%M:%S}"  # noqa: DTZ006 - a person's clock
    click.echo(f"{when}  {printable(event.actor, 20):<12}  {tell(event)}")


def _show_json(event: Event) -> None:
    click.echo(json.dumps(_plain(event)))


def _plain(event: Event) -> dict[str, Any]:
    return {
        "seq": event.seq, "time_ms": event.time_ms, "kind": event.kind, "actor": event.actor, "task": event.task,
        "text": tell(event),
    }  # fmt: skip


def tell(event: Event) -> str:
    """An event in words, on one line."""
    teller = _TELLERS.get(event.kind)
    body: Mapping[str, Any] = event.body if isinstance(event.body, Mapping) else {}
    text = teller(body) if teller else json.dumps(dict(body), ensure_ascii=False)
    task = f" {event.task}" if event.task else ""
    return printable(f"{event.kind}{task}  {text}".rstrip(), _LONGEST)


def _call(body: Mapping[str, Any]) -> str:
    tokens = f"{body.get('prompt', 0)}+{body.get('completion', 0)} tokens"
    cost = Amount(int(body.get("charged", 0)), CREDIT)
    by = body.get("upstream", {}).get("name", "")
    why = f": {body['why']}" if body.get("why") else ""
    return (
        f"{body.get('status', '')} {body.get('model', '')} by {by}, {tokens}, {cost}, {body.get('seconds', 0)} s{why}"
    )


def _reconciled(body: Mapping[str, Any]) -> str:
    cost, booked = Amount(int(body.get("charged", 0)), CREDIT), Amount(int(body.get("booked", 0)), CREDIT)
    return f"{body.get('id', '')} cost {cost}, {booked} was booked"


def _budget(body: Mapping[str, Any]) -> str:
    limits = [str(Amount(int(body["credit"]), CREDIT))] if body.get("credit") is not None else []
    limits += [f"{body[name]:g} {name}" for name in ("tokens", "seconds") if body.get(name) is not None]
    limits += [f"{body['attention']:g} decisions an hour"] if body.get("attention") is not None else []
    return f"{body.get('node', '')}: {', '.join(limits) or 'none'}"


def _added(body: Mapping[str, Any]) -> str:
    return _budget({name: value for name, value in body.items() if value})


def _claim(body: Mapping[str, Any]) -> str:
    return f"{body.get('id', '')} {body.get('origin', '')}: {body.get('text', '')}"


def _check(body: Mapping[str, Any]) -> str:
    how = body.get("tool") or body.get("model") or body.get("how", "")
    return f"{body.get('id', '')} {'holds' if body.get('ok') else 'is false'}, by {how}"


def _delivered(body: Mapping[str, Any]) -> str:
    kinds = {name: body.get(name) or [] for name in ("written", "deleted", "beside", "kept")}
    told = [
        f"{name} {', '.join(str(each[0] if isinstance(each, list) else each) for each in paths)}"
        for name, paths in kinds.items()
        if paths
    ]
    return f"{'; '.join(told) or 'nothing'}, by {body.get('by', '')}"


def _words(*names: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda body: ", ".join(str(body[name]) for name in names if body.get(name) not in (None, ""))


_TELLERS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "call": _call,
    "call.reconciled": _reconciled,
    "budget.set": _budget,
    "budget.allowed": _budget,
    "budget.added": _added,
    "run.started": _words("goal", "model"),
    "run.planned": lambda body: f"{len(body.get('plan', {}).get('tasks', ()))} tasks, by {body.get('by', '')}",
    "run.state": _words("state", "why"),
    "run.ended": _words("status", "why"),
    "crew.formed": lambda body: f"{body.get('crew', '')}: {', '.join(map(str, body.get('members', ())))}",
    "agent.started": _words("agent", "role", "kind", "model"),
    "agent.state": _words("agent", "state", "why"),
    "task.started": lambda body: f"attempt {body.get('attempt', '')}, {body.get('agent', '')}",
    "task.tested": lambda body: f"{'passed' if body.get('ok') else 'failed'}, {body.get('detail', '')}",
    "task.done": lambda body: ", ".join(str(each.get("path", "")) for each in body.get("artefacts", ())),
    "task.failed": _words("why"),
    "artefact": _words("path", "bytes", "agent"),
    "claim.made": _claim,
    "claim.checked": _check,
    "run.delivered": _delivered,
    "control": _words("verb", "target", "by"),
    "memory.recalled": lambda body: ", ".join(map(str, body.get("claims", ()))),
    "memory.missing": _words("why"),
    "tool": _words("tool", "ok", "seconds", "detail"),
}
