"""`tercet resume`: let what was paused think again; go on with a run that nobody works on."""

from __future__ import annotations

import asyncio

import click

from tercet.cli.frame import State, TercetCommand, pass_state
from tercet.cli.options import password_option
from tercet.cli.output import print_json, say
from tercet.cli.run import resume_run
from tercet.cli.targets import Target, find_target, steer, validate_open
from tercet.swarm.control import is_served
from tercet.swarm.journal import read_events

__all__ = ["command"]


@click.command(
    "resume",
    cls=TercetCommand,
    examples=("tercet resume fair-otter", "tercet resume fair-otter/repair"),
    schema={"target": "what goes on", "run": "of a run that is taken up: as `tercet run` prints it"},
)
@click.argument("target")
@password_option
@pass_state
def command(state: State, target: str, *, as_json: bool) -> int:
    """Let TARGET go on: a paused agent, crew or run; or a run that was stopped, killed, or out of budget.

    A run that nobody works on is taken up here, at the step it was in; nothing that was paid is paid again.
    """
    found = find_target(state.settings.home, target)
    if not found.is_run or asyncio.run(is_served(found.folder)):
        answer = asyncio.run(steer(found, "resume"))
        if as_json:
            print_json({"target": found.name})
        elif answer:
            say(f"{found.name} goes on.")
        else:
            say(f"No process works on {found.folder.name} now: tercet resume {found.folder.name} takes it up.")
        return 0
    validate_open(found)
    return _go_on(state, found, as_json=as_json)


def _go_on(state: State, found: Target, *, as_json: bool = False) -> int:
    """Take up a run that nobody works on; the exit code of `tercet run`."""
    paused = False
    for event in read_events(found.folder / "journal.db", kinds=("control",)):
        if event.body.get("target") == "run" and event.body.get("verb") in ("pause", "resume"):
            paused = event.body["verb"] == "pause"
    if paused:
        asyncio.run(steer(found, "resume"))
    return resume_run(state, found.folder, as_json=as_json)
