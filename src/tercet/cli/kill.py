"""`tercet kill`: end an agent, a crew or a run."""

from __future__ import annotations

import asyncio

import click

from tercet.cli.frame import State, TercetCommand, pass_state
from tercet.cli.output import print_json, say
from tercet.cli.targets import Target, find_target, steer
from tercet.errors import UsageError

__all__ = ["command"]


@click.command(
    "kill",
    cls=TercetCommand,
    examples=("tercet kill fair-otter/repair/coder-2", "tercet kill fair-otter --all"),
    schema={
        "target": "what was ended",
        "agents[]": "the agents in it",
        "told": "workers' processes that were stopped; null when no process works on the run",
        "failed": "of those, how many did not stop",
    },
)
@click.argument("target")
@click.option("--all", "everything", is_flag=True, help="The target may be a whole run: everything stops.")
@click.option("--dry-run", is_flag=True, help="Show what would end; end nothing.")
@pass_state
def command(state: State, target: str, *, everything: bool, dry_run: bool, as_json: bool) -> None:
    """End an agent or a crew for good, or stop a whole run (RUN --all), which can be resumed.

    No model is asked for it from that moment, whatever its framework, and its processes are stopped.
    TARGET is RUN, RUN/crew, RUN/crew/agent, or an agent's id alone. What was paid stays paid, and what was made is kept.
    """
    found = find_target(state.settings.home, target)
    if found.is_run and not everything:
        raise UsageError(
            f"{found.name!r} is a whole run. Say --all to stop all of it, or name a crew: tercet ps {found.name}."
        )
    agents = [agent.id for agent in found.agents]
    if dry_run:
        say(f"Dry run: would end {_words(found)}. Nothing was ended.")
        return
    answer = asyncio.run(steer(found, "kill"))
    if as_json:
        print_json(
            {"target": found.name, "agents": agents, "told": answer.get("told"), "failed": answer.get("failed", 0)}
        )
        return
    if not answer:
        say(f"No process works on {found.folder.name} now. {_words(found).capitalize()} will not think in the next one."
            if not found.is_run else f"No process works on {found.folder.name} now, so nothing thinks.")  # fmt: skip
    else:
        say(f"Ended {_words(found)}.")
    if answer.get("failed"):
        say(f"{answer['failed']} of its workers did not stop; the run's log says why.")


def _words(found: Target) -> str:
    count = len(found.agents)
    return f"{found.name}" if count == 1 else f"{found.name} with its {count} agents"
