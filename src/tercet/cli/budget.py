"""`tercet budget`: what a run and its parts may spend, have spent and have left."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import click

from tercet.cli.budget_reconcile import command as reconcile
from tercet.cli.frame import State, group, pass_state, root
from tercet.cli.options import COUNT, MEASURE, spending_options
from tercet.cli.output import confirm, print_json, print_table, say, tell_credit
from tercet.cli.targets import Target, find_target, is_below, validate_open
from tercet.errors import UsageError
from tercet.market import CREDIT, Amount
from tercet.swarm.control import is_served, request
from tercet.swarm.gateway import Budget, Budgets
from tercet.swarm.gateway.answers import LOST_KINDS, lost_calls
from tercet.swarm.gateway.budgets import BUDGET_KINDS
from tercet.swarm.journal import Event, Journal, read_events

__all__ = ["command"]

_ALWAYS = ("node", "credit", "spent", "left")
"""Columns that are shown even where they say nothing."""


@group("budget", examples=("tercet budget show fair-otter", "tercet budget add fair-otter 2"))
def command() -> None:
    """What runs, crews and agents may spend. A part never spends more than all above it have left."""


@command.command(
    "show",
    examples=("tercet budget show fair-otter", "tercet budget show fair-otter/repair --json"),
    schema={
        "nodes[].name": "RUN, RUN/crew or RUN/crew/agent",
        "nodes[].credit": "limit in credit units, as text; null: none of its own",
        "nodes[].allowed": "credit units in all that its task lets it spend, as text; null: no task; the smaller binds",
        "nodes[].spent": "credit units spent, as text",
        "nodes[].unknown": "the part of spent that is booked for calls whose sellers could not say what they cost, as text",
        "nodes[].reserved": "credit units held by calls in flight, or that were when the run was killed, as text",
        "nodes[].left": "credit units that it may still spend, limits above it counted, as text; null: no limit",
        "nodes[].tokens": "limit, or null",
        "nodes[].tokens_spent": "tokens of questions and answers",
        "nodes[].seconds": "limit of models' time, or null",
        "nodes[].seconds_spent": "seconds",
        "nodes[].attention": "decisions an hour that it may ask of you, or null",
    },
)
@click.argument("target")
@pass_state
def show(state: State, target: str, as_json: bool) -> None:
    """Limits, spending and what is left, for TARGET and all parts of it that have a limit or spent something."""
    found = find_target(state.settings.home, target)
    rows = _rows(found)
    if as_json:
        print_json({"nodes": rows})
        return
    columns = {
        "node": [row["name"] for row in rows],
        "credit": [tell_credit(row["credit"]) for row in rows],
        "for its task": [tell_credit(row["allowed"]) for row in rows],
        "spent": [tell_credit(row["spent"]) for row in rows],
        "unknown": [tell_credit(row["unknown"]) for row in rows],
        "held": [tell_credit(row["reserved"]) for row in rows],
        "left": [tell_credit(row["left"]) for row in rows],
        "of tokens": [str(row["tokens"] or "") for row in rows],
        "tokens": [str(row["tokens_spent"]) for row in rows],
        "of seconds": [f"{row['seconds']:g}" if row["seconds"] else "" for row in rows],
        "seconds": [f"{row['seconds_spent']:.1f}" for row in rows],
        "decisions/h": ["" if row["attention"] is None else f"{row['attention']:g}" for row in rows],
    }
    told = {name: cells for name, cells in columns.items() if name in _ALWAYS or set(cells) - {"", "0"}}
    print_table(list(told), list(zip(*told.values(), strict=True)), "Nothing has a limit, and nothing was spent.")


@command.command(
    "add",
    examples=("tercet budget add fair-otter 2", "tercet budget add fair-otter/repair 0.5 --no-resume --yes"),
    schema={
        "target": "what may spend more",
        "credit": "what it may spend in all now, in credit units, as text",
        "resumed": "whether the run was taken up by this command",
    },
)
@click.argument("target")
@click.argument("credit", default="0")
@click.option("--tokens", default=0, type=COUNT, help="Add tokens as well.")
@click.option("--seconds", default=0.0, type=MEASURE, help="Add seconds of models' time as well.")
@click.option("--no-resume", is_flag=True, help="Only add: do not go on with a run that nobody works on.")
@spending_options
@click.pass_context
def add(
    context: click.Context, target: str, credit: str, *, tokens: int, seconds: float, no_resume: bool, yes: bool, dry_run: bool,
    as_json: bool,
) -> int:  # fmt: skip
    """Let TARGET spend CREDIT more, and go on with its run when that had stopped.

    Calls that wait for money go on at once. Limits of what is above TARGET still bind.
    """
    found = find_target(context.ensure_object(State).settings.home, target)
    units = Amount.parse(credit, CREDIT).units
    live = asyncio.run(is_served(found.folder))
    if not live:
        validate_open(found)
    budgets = _budgets(_events(found))
    bound = _bound(budgets, found.node)
    _must_raise_something(found, replace(budgets.limit(found.node), credit=bound), units, tokens, seconds)
    going_on = not live and not no_resume
    more = [f"{Amount(units, CREDIT)}"] if units else []
    more += [f"{tokens} tokens"] if tokens else []
    more += [f"{seconds:g} s"] if seconds else []
    total = "" if bound is None or not units else f": it may then spend {Amount(bound + units, CREDIT)} in all"
    what = f"add {', '.join(more)} to {found.name}{total}{', and go on with the run' if going_on else ''}"
    if not confirm(what, yes=yes, dry_run=dry_run):
        return 0
    args: dict[str, Any] = {"credit": units, "tokens": tokens, "seconds": seconds}
    asyncio.run(_change(found, "budget_add", live=live, args=args))
    if going_on:
        resume = root.get_command(context, "resume")  # found by name: it loads all that agents need
        assert resume is not None
        return int(context.invoke(resume, target=str(found.folder), as_json=as_json))
    if as_json:
        now = None if bound is None else str(bound + units)
        print_json({"target": found.name, "credit": now, "resumed": False})
    elif not live:
        say(f"Added. Nobody works on the run: tercet resume {found.folder.name}")
    else:
        say("Added; who waited for it goes on.")
    return 0


@command.command(
    "set",
    examples=("tercet budget set fair-otter/repair --credit 0.5", "tercet budget set coder-2 --tokens 20000 --yes"),
    schema={
        "target": "whose limits",
        "limits": "those that were set: credit units, tokens, seconds, decisions an hour",
    },
)
@click.argument("target")
@click.option("--credit", metavar="CREDIT", help="What it may spend in all.")
@click.option("--tokens", type=COUNT, help="Tokens of questions and answers.")
@click.option("--seconds", type=MEASURE, help="Of models' time.")
@click.option("--attention", type=MEASURE, help="Decisions an hour that it may ask of you.")
@spending_options
@pass_state
def set_(
    state: State, target: str, *, credit: str | None, tokens: int | None, seconds: float | None,
    attention: float | None, yes: bool, dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Give TARGET new limits; those that are not named stay. None may lie below what was spent already."""
    found = find_target(state.settings.home, target)
    live = asyncio.run(is_served(found.folder))
    if not live:
        validate_open(found)
    units = None if credit is None else Amount.parse(credit, CREDIT).units
    asked = {"credit": units, "tokens": tokens, "seconds": seconds, "attention": attention}
    limits = {name: value for name, value in asked.items() if value is not None}
    if not limits:
        raise UsageError("Nothing was named to set. Say --credit, --tokens, --seconds or --attention.")
    words = [f"{Amount(units, CREDIT)}"] if units is not None else []
    words += [f"{value:g} {name}" for name in ("tokens", "seconds") if (value := limits.get(name)) is not None]
    words = [f"{', '.join(words)} in all"] if words else []
    words += [f"{attention:g} decision{'' if attention == 1 else 's'} an hour"] if attention is not None else []
    if not confirm(f"limit {found.name} to {' and '.join(words)}", yes=yes, dry_run=dry_run):
        return
    asyncio.run(_change(found, "budget_set", live=live, args=limits))
    if as_json:
        print_json({"target": found.name, "limits": limits})
    else:
        say("Set.")


command.add_command(reconcile)


async def _change(found: Target, verb: str, *, live: bool, args: dict[str, Any]) -> None:
    """Through the living run, or into the journal of one that nobody works on."""
    if live:
        await request(found.folder, verb, node=found.node, **args)
        return
    with Journal(found.folder / "journal.db") as journal:
        budgets = Budgets(journal.note)
        budgets.replay(journal.events())
        if verb == "budget_add":
            budgets.add(found.node, **args)
            return
        now = budgets.limit(found.node)
        old = {name: getattr(now, name) for name in ("credit", "tokens", "seconds", "attention")}
        budgets.set(found.node, Budget(**{**old, **args}))


def _must_raise_something(found: Target, limit: Budget, units: int, tokens: int, seconds: float) -> None:
    asked = {"credit": units, "tokens": tokens, "seconds": seconds}
    if not any(asked.values()):
        raise UsageError(f"Nothing to add. Say how much: tercet budget add {found.name} 1.")
    for name, value in asked.items():
        if value and getattr(limit, name) is None:
            raise UsageError(
                f"{found.name} has no limit of {name} of its own, so there is none to raise; limits above it bind."
                f" See tercet budget show {found.folder.name}."
            )


def _bound(budgets: Budgets, node: str) -> int | None:
    """Credit units that a node may spend in all: by its limit, or by its task's allowance where that is less."""
    allowance, limit = budgets.allowance(node), budgets.limit(node).credit
    return min((units for units in (limit, allowance.credit if allowance else None) if units is not None), default=None)


def _events(found: Target) -> list[Event]:
    return list(read_events(found.folder / "journal.db", kinds=(*BUDGET_KINDS, *LOST_KINDS)))


def _budgets(events: Sequence[Event]) -> Budgets:
    budgets = Budgets()
    budgets.replay(events)
    return budgets


def _rows(found: Target) -> Sequence[dict[str, Any]]:
    events = _events(found)  # read once, so that what was spent and what is held are of one moment
    budgets = _budgets(events)
    # Calls in flight; where the run was killed, those that were: what they cost is found out when it goes on.
    held = [(str(event.body.get("agent")), int(event.body.get("reserved", 0))) for event in lost_calls(events)]
    return [
        _row(found, budgets, node, sum(units for path, units in held if is_below(path, node)), held)
        for node in sorted({*budgets.nodes(), *(path for path, _ in held)})
        if is_below(node, found.node)
    ]


def _row(found: Target, budgets: Budgets, node: str, reserved: int, held: Sequence[tuple[str, int]]) -> dict[str, Any]:
    limit, spent = budgets.limit(node), budgets.spent(node)
    parts = node.split("/")
    left = [
        above - budgets.spent(path).credit - sum(units for each, units in held if is_below(each, path))
        for path in ("/".join(parts[: i + 1]) for i in range(len(parts)))
        if (above := _bound(budgets, path)) is not None
    ]
    allowance = budgets.allowance(node)
    return {
        "name": found.folder.name + node.removeprefix("run"),
        "credit": None if limit.credit is None else str(limit.credit),
        "allowed": None if allowance is None else str(allowance.credit),
        "spent": str(spent.credit),
        "unknown": str(budgets.unknown(node).credit),
        "reserved": str(reserved),
        "left": str(max(0, min(left))) if left else None,
        "tokens": limit.tokens,
        "tokens_spent": spent.tokens,
        "seconds": limit.seconds,
        "seconds_spent": spent.seconds,
        "attention": limit.attention,
    }
