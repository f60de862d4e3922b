"""`tercet journal`: what happened in a run, and whether the record of it was changed afterwards."""

from __future__ import annotations

import datetime as dt
import json
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from tercet.cli.frame import State, group, pass_state
from tercet.cli.output import print_json, print_table, say
from tercet.errors import UsageError
from tercet.swarm.journal import Event, read_events, verify_journal

__all__ = ["command", "journal_path"]

_SHOWN = 100
"""Longest body in a table, characters."""


def journal_path(state: State, run: str) -> Path:
    """The journal of a run by its id, or by a path to its folder or file."""
    path = Path(run).expanduser()
    if path.is_dir():
        return path / "journal.db"
    return path if path.is_file() else state.settings.home / "runs" / run / "journal.db"


@group("journal", examples=("tercet journal verify fair-otter", "tercet journal show fair-otter --kind call"))
def command() -> None:
    """What happened in a run, event by event, each bound to the one before it."""


@command.command(
    "verify",
    examples=("tercet journal verify fair-otter", "tercet journal verify journal.db --head 5f1c..."),
    schema={"path": "the file", "events": "how many there are", "head": "hash of the last, hex: it stands for all"},
)
@click.argument("run", metavar="RUN|FILE")
@click.option("--head", default="", metavar="HASH", help="A hash kept from before; an event has to have it.")
@pass_state
def verify(state: State, run: str, head: str, as_json: bool) -> None:
    """Check that each event follows from the one before it; exits with 1, and names the first that does not."""
    path = journal_path(state, run)
    events, last = verify_journal(path, _hash(head))
    if as_json:
        print_json({"path": str(path), "events": events, "head": last.hex()})
        return
    print_table(["events", "head"], [[events, last.hex()]], "")
    say("Each event follows from the one before it. Keep the head: a journal that was cut or written anew lacks it.")


@command.command(
    "show",
    examples=("tercet journal show fair-otter", "tercet journal show fair-otter --kind call --last 5 --json"),
    schema={
        "events[].seq": "1, 2, 3, ...",
        "events[].time_ms": "unix milliseconds",
        "events[].kind": "what happened: docs/reference/journal.md",
        "events[].actor": "agent, kernel or person",
        "events[].task": "id of the task, or empty",
        "events[].scope": "of a step: whose; null otherwise",
        "events[].number": "of a step: its place there; null otherwise",
        "events[].body": "what there is to know",
        "events[].hash": "hex",
    },
)
@click.argument("run", metavar="RUN|FILE")
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Only these; may be given more than once.")
@click.option("--after", default=0, type=click.IntRange(0), help="Only events behind this number.")
@click.option("--last", default=50, show_default=True, type=click.IntRange(0), help="Only so many; 0 shows all.")
@pass_state
def show(state: State, run: str, kinds: tuple[str, ...], after: int, last: int, as_json: bool) -> None:
    """The events of a run, the oldest first. The run may be at work. Whether they are true, `verify` tells."""
    events = deque(read_events(journal_path(state, run), after, kinds), maxlen=last or None)
    if as_json:
        print_json({"events": [_plain(event) for event in events]})
        return
    columns = ["seq", "time", "kind", "actor", "task", "step", "body"]
    print_table(columns, [_row(event) for event in events], "No such event has happened yet.")


def _hash(text: str) -> bytes:
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise UsageError(f"{text!r} is no hash: 64 hex digits, as tercet journal verify prints them.") from None


def _plain(event: Event) -> dict[str, Any]:
    return {
        "seq": event.seq, "time_ms": event.time_ms, "kind": event.kind, "actor": event.actor, "task": event.task,
        "scope": event.scope, "number": event.number, "body": event.body, "hash": event.hash.hex(),
    }  # fmt: skip


def _row(event: Event) -> Sequence[object]:
    body = json.dumps(event.body)  # ASCII, so that no text of an agent moves the cursor
    time = f"{dt.datetime.fromtimestamp(event.time_ms / 1000):%H:%M:%S}"  # noqa: DTZ006 - a person's clock
    step = f"{event.scope}#{event.number}" if event.scope is not None else ""
    names = [json.dumps(name)[1:-1] for name in (event.kind, event.actor, event.task, step)]
    return [event.seq, time, *names, body if len(body) <= _SHOWN else f"{body[: _SHOWN - 3]}..."]
