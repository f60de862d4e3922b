"""`tercet pause`: let an agent, a crew or a run think no further for now."""

from __future__ import annotations

import asyncio

import click

from tercet.cli.frame import State, TercetCommand, pass_state
from tercet.cli.output import print_json, say
from tercet.cli.targets import find_target, steer

__all__ = ["command"]


@click.command(
    "pause",
    cls=TercetCommand,
    examples=("tercet pause fair-otter", "tercet pause coder-2"),
    schema={"target": "what is paused", "agents[]": "the agents in it", "live": "whether a process works on the run"},
)
@click.argument("target")
@pass_state
def command(state: State, target: str, *, as_json: bool) -> None:
    """Hold all thinking of TARGET from this moment; `tercet resume` lets it go on where it was.

    Calls that a model works on already are answered; later ones wait, those of foreign agents too.
    TARGET is RUN, RUN/crew, RUN/crew/agent, or an agent's id alone.
    """
    found = find_target(state.settings.home, target)
    answer = asyncio.run(steer(found, "pause"))
    if as_json:
        print_json({"target": found.name, "agents": [agent.id for agent in found.agents], "live": bool(answer)})
    elif answer:
        say(f"Paused {found.name}. Go on with: tercet resume {found.name}")
    else:
        say(f"No process works on {found.folder.name} now; {found.name} will be paused in the next one.")
