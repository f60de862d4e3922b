"""`tercet budget reconcile`: what a run's lost calls cost is asked again, and booked."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

import click

from tercet.cli.frame import State, TercetCommand, pass_state
from tercet.cli.output import print_json, print_table, say, show_credit
from tercet.cli.targets import Target, find_run, read_state
from tercet.errors import RefusedError, UsageError
from tercet.swarm.config import config_of
from tercet.swarm.control import is_served
from tercet.swarm.gateway.reconcile import Reconciled, reconcile
from tercet.swarm.journal import Journal, read_events

__all__ = ["command"]

_UNREACHABLE = 4


@click.command(
    "reconcile",
    cls=TercetCommand,
    examples=("tercet budget reconcile", "tercet budget reconcile fair-otter --json"),
    schema={
        "run": "id of the run",
        "settled[].id": "of a call whose cost is known now",
        "settled[].agent": "node path of who asked",
        "settled[].booked": "credit units that were booked until now",
        "settled[].charged": "credit units that it did cost",
        "unknown[].id": "of a call that stays booked at the most",
        "unknown[].agent": "node path of who asked",
        "unknown[].booked": "credit units that stay booked",
        "unknown[].why": "what its seller said, or who was asked in vain",
        "unknown[].again": "whether asking later may help",
    },
)
@click.argument("run", required=False, default="")
@pass_state
def command(state: State, run: str, as_json: bool) -> int:
    """Ask what the calls of RUN cost whose answers never came, and book it; of the newest run without a name.

    The market's gateway says it; who cannot say leaves the most booked that the call can have cost. A run that somebody
    works on asks by itself. The exit code is 0 when nothing stays unknown, 4 when asking again later may help, else 1.
    """
    found = find_run(state.settings.home, run)
    made = _reconcile(found)
    if made.settled and (found.folder / "report.json").is_file():
        from tercet.swarm.ending import report_late  # noqa: PLC0415 - seconds to import; the other commands need none of it

        report_late(found.folder, read_state(found.folder))  # it told what was booked until now
    if as_json:
        body = {"settled": [asdict(one) for one in made.settled], "unknown": [asdict(one) for one in made.unknown]}
        print_json({"run": found.folder.name, **body})
    else:
        _tell(found, made)
    if not made.unknown:
        return 0
    return _UNREACHABLE if any(doubt.again for doubt in made.unknown) else 1


def _reconcile(found: Target) -> Reconciled:
    if not found.is_run:
        raise UsageError(f"{found.name} is a part of a run, and a run is reconciled whole: {found.folder.name}.")
    if asyncio.run(is_served(found.folder)):
        raise RefusedError(
            f"A process works on {found.folder.name} and asks by itself: tercet budget show says the rest."
        )
    from tercet.cli.thinking import open_thinking  # noqa: PLC0415 - seconds to import; the other commands need none of it

    config = config_of(read_events(found.folder / "journal.db", kinds=("run.started", "run.forked")))
    if config is None:
        return Reconciled((), ())  # it never began, so it asked no model

    async def ask() -> Reconciled:
        with Journal(found.folder / "journal.db") as journal:
            return await reconcile(journal, open_thinking(config.upstream))

    return asyncio.run(ask())


def _tell(found: Target, made: Reconciled) -> None:
    if not made.settled and not made.unknown:
        say(f"No call of {found.folder.name} is unknown.")
        return
    rows = [(one.id, one.agent, show_credit(one.booked), show_credit(one.charged), "") for one in made.settled]
    rows += [(one.id, one.agent, show_credit(one.booked), "unknown", one.why) for one in made.unknown]
    print_table(["call", "asked by", "was booked", "cost", "why"], rows, "")
    freed = sum(one.booked - one.charged for one in made.settled)
    say(f"{len(made.settled)} settled, {show_credit(freed)} less than was booked; {len(made.unknown)} stay unknown.")
