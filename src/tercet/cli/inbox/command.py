"""`tercet inbox`: the queue on a terminal, answers from the command line, policies."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from tercet.cli.frame import Group, State, TercetCommand, pass_state
from tercet.cli.inbox.reader import Reader
from tercet.cli.inbox.screen import Screen
from tercet.cli.inbox.terminal import Send, show_lines, show_screen
from tercet.cli.inbox.words import item_json, tell_policy
from tercet.cli.output import print_json, print_table, say
from tercet.cli.targets import find_run, find_target, validate_open
from tercet.cli.terminal import can_draw
from tercet.errors import RefusedError, UnreachableError, UsageError
from tercet.market import CREDIT, Amount
from tercet.swarm.control import request
from tercet.swarm.inbox.replies import MOST_OPTIONS

__all__ = ["command", "parse_span"]

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d)")
_UNITS = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86_400}


class InboxGroup(Group):
    """A group whose bare form is a command: what is no verb names a run."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """`tercet inbox [RUN]` means `tercet inbox show [RUN]`."""
        if not any(word in self.commands for word in args) and "--help" not in args:
            args = ["show", *args]
        return super().parse_args(ctx, args)


command = InboxGroup(
    "inbox",
    help="What runs ask you: one ranked queue. Bare, it opens the newest run's; RUN names another.",
    examples=("tercet inbox", "tercet inbox answer 3f2a yes --for network --up-to 2 --until 1h"),
)


def run_option(function: Any) -> Any:
    """`--run RUN`."""
    return click.option("--run", "run", metavar="RUN", default="", help="Which run (default: the newest).")(function)


@command.command(
    "show",
    cls=TercetCommand,
    examples=("tercet inbox show", "tercet inbox repair-7 --json"),
    schema={
        "run": "id of the run",
        "flood": "whether more than ten new decisions came within ten minutes",
        "items[]": "the decisions before you, ranked",
        "items[].id": "what `tercet inbox answer` takes",
        "items[].shape": "ask, cause (many for one reason), stuck or incident (they gather cards and answer none)",
        "items[].cards[]": "the cards, each with action, class, agent, loss, deadline, default, digest and evidence",
        "held[]": "over quota: they come later",
        "digest[]": "seven lines: what happened since you last decided",
    },
)
@click.argument("run", required=False, default="")
@pass_state
def show(state: State, run: str, as_json: bool) -> None:
    """Open the queue: y, n, or a key that it names. Without a terminal it reads answers line by line.

    The top card is the best use of your next seconds: what is lost if its default is wrong, by the time it takes to read.
    """
    folder = find_run(state.settings.home, run).folder
    reader = Reader(folder.name, folder / "journal.db")
    reader.poll()
    if as_json:
        now = time.time()
        queue = reader.queue(now)
        print_json(
            {
                "run": folder.name,
                "flood": queue.flood,
                "items": [item_json(item) for item in queue.items],
                "held": [item_json(item) for item in queue.held],
                "digest": list(reader.since.lines(now)),
            }
        )
        return
    screen, send = Screen(reader), _sender(folder)
    if sys.stdin.isatty() and can_draw():
        asyncio.run(show_screen(screen, send, colour=state.colour))
    else:
        show_lines(screen, send)


@command.command(
    "answer",
    cls=TercetCommand,
    examples=(
        'tercet inbox answer 3f2a "the MIT licence"',
        "tercet inbox answer c91 yes --for network --up-to 2 --until 1h",
    ),
    schema={
        "status": "answered, or again: too quick for what is at stake",
        "cards[]": "the cards that it answered",
        "policy": "id of the policy that it made; empty if none",
        "wait": "seconds that the card has to be looked at longer, if again",
        "canary": "true: it was a test card, and nothing was done",
    },
)
@click.argument("card")
@click.argument("said", metavar="[ANSWER]", required=False)
@click.option("--option", type=click.IntRange(1, MOST_OPTIONS), help="Choose a question's option, from 1 on.")
@click.option("--for", "kind", metavar="CLASS", help="And for this class from now on: makes a policy.")
@click.option("--up-to", "up_to", metavar="CREDIT", help="With --for: what all its calls may lose together.")
@click.option("--each", metavar="CREDIT", help="With --for: what one call may lose (default: this card's loss).")
@click.option("--until", metavar="SPAN", help="With --for: how long, such as 30min, 1h or 2d.")
@click.option("--node", metavar="NODE", default="run", help="With --for: whose calls, such as run/fixers.")
@run_option
@pass_state
def answer(
    state: State, card: str, said: str | None, *, option: int | None, kind: str | None, up_to: str | None, each: str | None, until: str | None,
    node: str, run: str, as_json: bool,
) -> None:  # fmt: skip
    """Answer CARD, a card's or a group's id or how it begins: yes or no; a question also in words.

    A yes holds for the exact call that the card shows, once, within a quarter of an hour.
    """
    args: dict[str, Any] = {"card": card, **_reply(said, option)}
    if kind is None and (up_to or until or each):
        raise UsageError("--up-to, --each and --until bound a policy. Say --for CLASS with them.")
    if kind is not None:
        args["scope"] = _scope(kind, up_to, each, until, node)
    folder = find_run(state.settings.home, run).folder
    made = asyncio.run(_ask(folder, "answer", args))
    if as_json:
        print_json(made)
    elif made["status"] == "again":
        raise RefusedError(f"That was quick for what is at stake. Look {made['wait']:.0f} s longer, then answer again.")
    else:
        policy = f", and made policy {made['policy']}" if made["policy"] else ""
        say(f"Answered {len(made['cards'])} of {folder.name} with {said or f'option {option}'}{policy}.")


@command.command(
    "policies",
    cls=TercetCommand,
    examples=("tercet inbox policies", "tercet inbox policies --run repair-7 --json"),
    schema={
        "policies[].id": "what `tercet inbox revoke` takes",
        "policies[].class": "the class it answers",
        "policies[].each": "credit units that one call may lose",
        "policies[].up_to": "credit units that all calls may lose together",
        "policies[].used": "credit units at risk through calls it let through",
        "policies[].until": "Unix seconds",
        "policies[].count": "asks that it answered",
    },
)
@run_option
@pass_state
def policies(state: State, run: str, as_json: bool) -> None:
    """The answers that hold for a class: what each may cost, how long, how often it was used."""
    folder = find_run(state.settings.home, run).folder
    reader = Reader(folder.name, folder / "journal.db")
    reader.poll()
    found = list(reader.state.policies.values())
    if as_json:
        print_json({"policies": [{**one.to_json(), "used": one.used, "count": one.count} for one in found]})
        return
    columns = ["policy", "answer", "for", "each", "used", "ends in", "asks", "by"]
    print_table(columns, [tell_policy(one, time.time()) for one in found], "There is no policy.")


@command.command(
    "revoke", cls=TercetCommand, examples=("tercet inbox revoke p3f2a91", "tercet inbox revoke p3f --run repair-7")
)
@click.argument("policy")
@run_option
@pass_state
def revoke(state: State, policy: str, run: str) -> None:
    """End POLICY now. What it let through stays done; the next ask of its class comes to you."""
    folder = find_run(state.settings.home, run).folder
    made = asyncio.run(_ask(folder, "revoke", {"policy": policy}))
    say(f"Policy {made['policy']['id']} is revoked.")


def parse_span(text: str) -> float:
    """Seconds in a span such as `90s`, `30min`, `1h` or `2d`.

    Raises:
        UsageError: it is none.

    """
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is no span. Write a number and s, min, h or d, such as 1h.")
    return float(match[1]) * _UNITS[match[2]]


def _reply(said: str | None, option: int | None) -> dict[str, Any]:
    if (said is None) == (option is None):
        raise UsageError(
            'Say one answer: yes, no, "words of your own" to a question, or --option N where it names some.'
        )
    if option is not None:
        return {"choice": "words", "option": option}
    return {"choice": said} if said in {"yes", "no"} else {"choice": "words", "words": said}


def _scope(kind: str, up_to: str | None, each: str | None, until: str | None, node: str) -> dict[str, Any]:
    if up_to is None or until is None:
        raise UsageError("A policy is bounded: say --up-to CREDIT and --until SPAN with --for, such as 2 and 1h.")
    return {
        "kind": kind,
        "up_to": Amount.parse(up_to, CREDIT).units,
        "each": None if each is None else Amount.parse(each, CREDIT).units,
        "until": time.time() + parse_span(until),
        "node": node,
    }


async def _ask(folder: Path, verb: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """What the living run answers.

    Raises:
        RefusedError: it has ended for good, so that no resume brings it back.
        UnreachableError: no process works on it now.

    """
    try:
        return await request(folder, verb, **args)
    except UnreachableError:
        validate_open(find_target(folder.parent.parent, str(folder)))
        raise


def _sender(folder: Path) -> Send:
    async def send(verb: str, args: Mapping[str, Any]) -> Mapping[str, Any]:
        return await _ask(folder, verb, args)

    return send
