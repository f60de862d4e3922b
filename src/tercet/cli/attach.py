"""`tercet attach`: watch a run that works elsewhere, and leave it without ending it."""

from __future__ import annotations

import asyncio
import time

import click
from rich.console import Console

from tercet.cli.frame import State, TercetCommand, pass_state
from tercet.cli.glance import Glance
from tercet.cli.logs import Feed, tell
from tercet.cli.output import say
from tercet.cli.plain import printable
from tercet.cli.targets import find_target, read_state
from tercet.cli.terminal import can_draw
from tercet.cli.top import UPDATES_A_SECOND, watch
from tercet.errors import UnreachableError
from tercet.swarm.control import is_served

__all__ = ["command"]


@click.command("attach", cls=TercetCommand, examples=("tercet attach fair-otter", "tercet attach fair-otter | tee log"))
@click.argument("run")
@pass_state
def command(state: State, run: str) -> int:
    """Watch RUN until it ends; q or Ctrl-C leaves it working. Elsewhere than on a terminal, what happens comes as lines.

    The exit code is 0 when the run reached its goal, and 1 when it did not.
    """
    found = find_target(state.settings.home, run)
    glance = Glance(found.folder)
    glance.read()
    if not glance.ended and not asyncio.run(is_served(found.folder)):
        raise UnreachableError(
            f"No process works on {found.folder.name} now. tercet resume {found.folder.name} takes it up."
        )
    if can_draw():
        ended = watch(glance, Console(no_color=not state.colour, highlight=False), "q leaves it working.")
    else:
        ended = _lines(Feed(found.folder, "run"))
    if not ended:
        say(f"Left; {found.folder.name} goes on. Come back with: tercet attach {found.folder.name}")
        return 0
    last = read_state(found.folder).run
    say(f"{found.folder.name} has ended: {last.status or last.state}. {printable(last.why)}".rstrip())
    return 0 if last.status == "done" else 1


def _lines(feed: Feed) -> bool:
    """What happens from now on, until the run ends or the person leaves; whether it has ended."""
    for _ in feed.read():
        pass
    try:
        while not feed.ended:
            time.sleep(1 / UPDATES_A_SECOND)
            for event in feed.read():
                click.echo(tell(event))
    except KeyboardInterrupt:
        pass
    return feed.ended
