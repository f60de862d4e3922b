"""`tercet top`: a run at one look, live: who needs you first, and a row for each crew, however many agents there are."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click
from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group
from rich.text import Text

from tercet.cli.frame import State, TercetCommand, pass_state
from tercet.cli.glance import Glance
from tercet.cli.inbox.words import crop, pack, tell_span
from tercet.cli.output import print_json, say, tell_credit
from tercet.cli.plain import printable
from tercet.cli.targets import find_run
from tercet.cli.terminal import can_draw, wait_for_key, whole_screen

__all__ = ["command", "tell_head", "tell_need", "watch"]

UPDATES_A_SECOND = 4
_GAP = 2


@click.command(
    "top",
    cls=TercetCommand,
    examples=("tercet top", "tercet top fair-otter --json"),
    schema={
        "run": "its name",
        "state": "as in tercet ps",
        "why": "why, where there is a reason",
        "goal": "what was asked",
        "seconds": "since it began",
        "spent": "credit units, as text",
        "limit": "credit units that it may spend in all, as text; null: no limit",
        "tokens": "of questions and answers",
        "calls_a_minute": "calls of models in the last minute",
        "asks": "decisions before you",
        "held": "decisions that wait behind them, over quota",
        "first": "the decision to take first: id, node, action; null: none",
        "crews[].crew": "name",
        "crews[].agents": "how many",
        "crews[].asks": "decisions that it waits for, before you or held back",
        "crews[].states": "how many agents are in which state",
        "crews[].tasks": "how many",
        "crews[].done": "of these",
        "crews[].failed": "of these",
        "crews[].spent": "credit units, as text",
        "crews[].tokens": "of questions and answers",
        "crews[].calls_a_minute": "in the last minute",
    },
)
@click.argument("run", metavar="[RUN]", required=False)
@pass_state
def command(state: State, run: str | None, *, as_json: bool) -> None:
    """RUN (default: the newest) at one look: who needs you first, then a row for each crew.

    Live on a terminal, at most four times a second, until the run ends or you press q or Ctrl-C; elsewhere it prints once.
    """
    found = find_run(state.settings.home, run)
    glance = Glance(found.folder)
    glance.read()
    console = Console(no_color=not state.colour, highlight=False)
    if as_json:
        print_json(glance.view(time.time()))
    elif not can_draw():
        console.print(Group(*draw(glance.view(time.time()), console.width)))
    elif not watch(glance, console, "q leaves; the run goes on."):
        say(f"Left; {glance.name} goes on.")


def watch(glance: Glance, console: Console, below: str) -> bool:
    """Show it until the run ends or the person leaves; the last look stays on the screen. Whether the run has ended."""
    drawn: object = None
    try:
        with whole_screen(console) as live:
            while True:
                size = console.size
                lines = draw(glance.view(time.time()), size.width, size.height, below)
                if drawn != (size, lines):  # a still picture is not drawn again
                    live.update(Group(*lines), refresh=True)
                    drawn = size, lines
                if glance.ended or wait_for_key(1 / UPDATES_A_SECOND).startswith(("q", "Q")):
                    break
                glance.read()
    except KeyboardInterrupt:
        pass  # as q
    console.print(Group(*draw(glance.view(time.time()), console.width)))
    return glance.ended


def draw(view: Mapping[str, Any], width: int, height: int = 0, below: str = "") -> list[Text]:
    """The screen, a line each, none wider than `width`, at most `height` of them (0: all): a head, who needs you, crews."""
    lines = [_line(row, "bold") for row in pack(tell_head(view), width)]
    lines.append(_line(printable(view["goal"], 400), "dim"))
    lines += [_line(words, style) for words, style in tell_need(view)]
    if view["why"]:
        lines.append(_line(printable(view["why"], 400), "red"))
    rows = list(_rows(view["crews"], width))
    room = height - len(lines) - bool(below) if height else len(rows)
    if len(rows) > room:
        rows = [*rows[: max(0, room - 1)], _line(f"and {len(rows) - max(1, room) + 1} more crews", "dim")]
    lines += rows
    lines += [_line(below, "dim")] if below else []
    for line in lines:
        line.plain = crop(line.plain, width)
    return lines[:height] if height else lines


def tell_head(view: Mapping[str, Any]) -> list[str]:
    """The run, its state, its time, what is done and its money, each with its unit."""
    done, tasks = (sum(crew[name] for crew in view["crews"]) for name in ("done", "tasks"))
    limit = "" if view["limit"] is None else f" of {tell_credit(view['limit'])}"
    return [
        view["run"], view["state"], tell_span(view["seconds"]), f"{done}/{tasks} tasks",
        f"{tell_credit(view['spent'])}{limit} credit", f"{view['tokens']} tokens", f"{view['calls_a_minute']} calls/min",
    ]  # fmt: skip


def tell_need(view: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Who needs the person, and what to type; each line with its style."""
    first = view["first"]
    held = f", {view['held']} held back" if view["held"] else ""
    if first is None:
        yield f"Nobody needs you{held}.", "dim"
        return
    needs = "1 decision needs you" if view["asks"] == 1 else f"{view['asks']} decisions need you"
    yield f"{needs}{held}: tercet inbox {view['run']}", "bold yellow"
    yield f"  {printable(first['node'].removeprefix('run/'), 40)}: {printable(first['action'], 400)}", "yellow"


def _line(words: str, style: str = "") -> Text:
    return Text(words, style=style, no_wrap=True, overflow="ellipsis")


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    cells: Sequence[str]
    right: bool = True

    @property
    def width(self) -> int:
        return max(cell_len(text) for text in (self.name, *self.cells))

    def texts(self, width: int) -> Iterator[str]:
        for text in (self.name, *self.cells):
            pad = " " * (width - cell_len(text))
            yield pad + text if self.right else set_cell_size(text, width)


def _rows(crews: Sequence[Mapping[str, Any]], width: int) -> Iterator[Text]:
    """A header and a line for each crew; on a narrow screen without the columns that matter least."""
    left = [
        _Column("CREW", [printable(crew["crew"], 24) for crew in crews], right=False),
        _Column("AGENTS", [str(crew["agents"]) for crew in crews]),
        _Column("NEED YOU", [str(crew["asks"] or "-") for crew in crews]),
        _Column("TASKS", [_tasks(crew) for crew in crews]),
        _Column("CREDIT", [tell_credit(crew["spent"]) for crew in crews]),
        _Column("CALLS/MIN", [str(crew["calls_a_minute"]) for crew in crews]),
        _Column("TOKENS", [str(crew["tokens"]) for crew in crews]),
    ]
    now = _Column("NOW", [_now(crew) for crew in crews], right=False)
    while len(left) > 3 and sum(column.width + _GAP for column in left) + now.width > width:
        left.pop()
    cells = [list(column.texts(column.width)) for column in left]
    cells.insert(3, list(now.texts(now.width)))
    for number, row in enumerate(zip(*cells, strict=True)):
        yield _line((" " * _GAP).join(row).rstrip(), "" if number else "bold")


def _now(crew: Mapping[str, Any]) -> str:
    return ", ".join(f"{count} {state}" for state, count in crew["states"].items())


def _tasks(crew: Mapping[str, Any]) -> str:
    failed = f", {crew['failed']} failed" if crew["failed"] else ""
    return f"{crew['done']}/{crew['tasks']} done{failed}"
