"""What `tercet run` and `tercet resume` say at the end: what came of it, and the command that goes on."""

from __future__ import annotations

import json
import math
from typing import Any

import click

from tercet.cli.frame import INTERRUPTED
from tercet.cli.output import print_json, say
from tercet.cli.plain import printable
from tercet.errors import OutOfBudgetError
from tercet.market import CREDIT, Amount
from tercet.swarm.kernel import Outcome

__all__ = ["tell_outcome"]

_EXIT = {"done": 0, "failed": 1, "stopped": 1, "out_of_budget": 3, "paused": INTERRUPTED}
_CALLS_MORE = 10
"""Calls like the one that was refused, for which more tokens or seconds are proposed."""


def tell_outcome(outcome: Outcome, *, as_json: bool) -> int:
    """Say where things are now, and what to do next; the exit code."""
    name = outcome.folder.name
    report = outcome.folder / "report.json"
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8")) if report.is_file() else {"run": name}
    found |= {"folder": str(outcome.folder), "status": outcome.status, "why": outcome.why}
    if as_json:
        print_json(found)
    why = printable(outcome.why)  # often the last words of code under test, or of somebody else's agent
    match outcome.status:
        case "done":
            say(
                f"Done: {_files(found)}. {Amount(int(found['spent']), CREDIT)} spent, {Amount(int(found['returned']), CREDIT)} left."
            )
        case "out_of_budget":
            say(f"The budget is out, and what was done is kept: {why}")
            say(_more(name, outcome.lacking))
        case "paused":
            say(f"Paused. Go on with: tercet resume {name}")
        case "stopped":
            say(f"Stopped, and what was done is kept: {why}. Go on with: tercet resume {name}")
        case "failed":
            say(f"The goal was not met: {why} {Amount(int(found['returned']), CREDIT)} left.")
    if outcome.delivery is not None:
        for path, at in outcome.delivery.beside:
            say(f"You changed {path} meanwhile, so the new one is {at}.")
        for path, reason in outcome.delivery.kept:
            say(f"{path} was not touched: {reason}.")
    elif outcome.status == "done" and outcome.state.artefacts:
        say(f"The files are in {outcome.folder / 'work'}")
    if outcome.status != "paused" and not as_json:
        click.echo(outcome.folder / "report.md")
    return _EXIT[outcome.status]


def _more(name: str, lacking: OutOfBudgetError | None) -> str:
    """How a run goes on that lacked something: `budget add` takes it up again by itself."""
    if lacking is not None and not lacking.needed:
        return f"Give the key at the gateway more, then go on with: tercet resume {name}"
    if lacking is None or lacking.resource == "credit":
        more = str(1 if lacking is None else math.ceil(max(1, lacking.needed / 10**CREDIT.decimals)))
    else:
        more = f"--{lacking.resource} {math.ceil(_CALLS_MORE * lacking.needed)}"
    whose = name if lacking is None else name + lacking.node.removeprefix("run")
    return f"Go on with more: tercet budget add {whose} {more}"


def _files(found: dict[str, Any]) -> str:
    paths = [file["path"] for file in found["files"]]
    return (", ".join(paths[:6]) + (" ..." if len(paths) > 6 else "")) or "no file was changed"
