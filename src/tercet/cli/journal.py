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
from tercet.cli.options import COUNT
from tercet.cli.output import print_json, print_table, say
from tercet.cli.targets import find_target
from tercet.errors import UsageError
from tercet.swarm.journal import Event, read_events, verify_journal

__all__ = ["command", "journal_path"]

_SHOWN = 100
"""Longest body in a table, characters."""


def journal_path(state: State, run: str) -> Path:
    """The journal of a run by its name or how that begins, or by a path to its folder or file.

    Raises:
        UsageError: no run is called so, or several are.

    """
    path = Path(run).expanduser()
    if path.is_file():
        return path
    if path.is_dir() and (path / "journal.db").is_file():
        return path / "journal.db"
    found = find_target(state.settings.home, run)
    if not found.is_run:
        raise UsageError(f"{run!r} is a part of a run, and a journal is all of it: name {found.folder.name}.")
    return found.folder / "journal.db"


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
@click.option("--after", default=0, type=COUNT, help="Only events behind this number.")
@click.option("--last", default=50, show_default=True, type=COUNT, help="Only so many; 0 shows all.")
@pass_state
def show(state: State, run: str, kinds: tuple[str, ...], after: int, last: int, as_json: bool) -> None:
    """The events of a run, the oldest first. The run may be at work. Whether they are true, `verify` tells."""
    events = deque(read_events(journal_path(state, run), after, kinds), maxlen=last or None)
    if as_json:
        print_json({"events": [_plain(event) for event in events]})
        return
    columns = ["seq", "time", "kind", "actor", "task", "step", "body"]
    print_table(columns, [_row(event) for event in events], "No such event has happened yet.")


@command.command(
    "fork",
    examples=("tercet journal fork fair-otter@report --model large", "tercet journal fork fair-otter@120 --resume"),
    schema={
        "run": "the new run; with --resume all that `tercet run` prints",
        "folder": "where it is",
        "parent": "whose beginning it shares",
        "seq": "the last event that both have",
        "budget": "credit units",
        "spent": "credit units of that which the shared part spent",
    },
)
@click.argument("run", metavar="RUN[@WHERE]")
@click.option("--model", default="", metavar="NAME", help="Another model thinks from here on.")
@click.option("--gateway", default="", metavar="URL", help="It thinks elsewhere: an address ending in /v1.")
@click.option("--key-file", default="", metavar="FILE", help="Its first line is the gateway's key.")
@click.option("--scripted", default="", metavar="FILE", help="A script plays the model, for tests and tours.")
@click.option("--resume", "go_on", is_flag=True, help="Go on with it at once, as `tercet resume` does.")
@pass_state
def fork(
    state: State, run: str, *, model: str, gateway: str, key_file: str, scripted: str, go_on: bool, as_json: bool
) -> int:
    """Make a new run that shares the beginning of RUN, to see what it would have been otherwise.

    WHERE is a task, for all that was before it was begun; the number of an event; or a step as SCOPE#N. RUN alone is all
    of a run that has not ended. What the shared part spent counts, and is not paid again; RUN stays as it is.
    """
    from tercet.cli.journal_runs import make_fork  # noqa: PLC0415 - seconds to import; to read needs none of it

    name, at, where = ("", "", "") if Path(run).expanduser().exists() else run.rpartition("@")
    if at and not where:
        raise UsageError(
            f"Nothing stands behind the @ of {run!r}. Name a task, an event or a step there, or leave the @ out."
        )
    parent = journal_path(state, name or run).parent
    thinking = {"model": model, "gateway": gateway, "key_file": key_file, "script": scripted}
    return make_fork(state, parent, where if name else "", thinking=thinking, go_on=go_on, as_json=as_json)


@command.command(
    "replay",
    examples=("tercet journal replay fair-otter", "tercet journal replay fair-otter --json"),
    schema={
        "run": "its name",
        "same": "whether all tasks came to the same files",
        "tasks[].task": "id, in the order in which they were done, up to the first that came out otherwise",
        "tasks[].attempt": "the one that was merged",
        "tasks[].same": "whether it came to the same files",
        "tasks[].fault": "why it did not come to its end; empty when it did",
        "tasks[].files[].path": "what it made, changed or deleted",
        "tasks[].files[].recorded": "sha256 in the journal; empty when it was deleted",
        "tasks[].files[].found": "sha256 in the replay",
    },
)
@click.argument("run", metavar="RUN")
@pass_state
def replay(state: State, run: str, *, as_json: bool) -> int:
    """Play RUN again from its recorded steps, and say whether the same tasks come to the same files.

    No model is asked and nothing is paid; RUN stays as it is. Exits with 1 and names the first file that differs.
    """
    from tercet.cli.journal_runs import play_again  # noqa: PLC0415 - seconds to import; to read needs none of it

    return play_again(state, journal_path(state, run).parent, as_json=as_json)


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
