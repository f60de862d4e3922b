"""`tercet nice`: whose thoughts go first when models are busy."""

from __future__ import annotations

import asyncio

import click

from tercet.cli.frame import State, TercetCommand, pass_state
from tercet.cli.output import print_json, say
from tercet.cli.targets import find_target, steer

__all__ = ["command"]


@click.command(
    "nice",
    cls=TercetCommand,
    examples=("tercet nice fair-otter/repair 5", "tercet nice coder-2 10"),
    schema={"target": "whose", "weight": "shares that each of its agents has in the queue"},
)
@click.argument("target")
@click.argument("weight", metavar="N", type=click.IntRange(1, 1000))
@pass_state
def command(state: State, target: str, weight: int, *, as_json: bool) -> None:
    """Give each agent of TARGET N shares of the queue, 1 to 1000; every agent has 1 at first.

    When models are busy, an agent with 5 is served five times as often as one with 1. It changes nobody's budget.
    """
    found = find_target(state.settings.home, target)
    asyncio.run(steer(found, "nice", weight=weight))
    if as_json:
        print_json({"target": found.name, "weight": weight})
    else:
        say(f"{found.name} has {weight} shares of the queue.")
