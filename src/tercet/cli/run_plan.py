"""How a plan reads before anybody agrees to it: a narrow table, and below it what each task is and when it is done."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence

from rich.cells import cell_len

from tercet.cli.inbox.words import crop, pack
from tercet.cli.output import show_credit
from tercet.cli.plain import printable, visible
from tercet.swarm.plan import Plan, Task, money_of, slots_of

__all__ = ["tell_plan", "tell_plan_briefly"]

_COLUMNS = ("TASK", "ROLE", "NEEDS", "BUDGET", "DEADLINE")
_NEEDS = _COLUMNS.index("NEEDS")
_GAP = "  "


def tell_plan(plan: Plan, by: str, width: int, *, wrap: bool) -> list[str]:
    """All of a plan, in lines for a screen of `width` columns; no word is cut.

    Args:
        plan: what is shown.
        by: who made it.
        width: columns of the screen; what is wider than it all the same is one word.
        wrap: whether a command takes as many rows as it needs; False keeps each on one line, for files and pipes.

    """
    head, below = f"Plan, made by {printable(by)}", "A task is done when its test ends with 0:"
    lines = [head, "", *_table(plan, width), "", below]
    for task in plan.tasks:
        told = [f"{task.id}: {printable(task.title)}", *map(printable, _reach(task))]
        rows = [("  ", "    ", told[0]), *(("    ", "      ", each) for each in (*told[1:], _test(task)))]
        for first, later, words in rows:
            lines += _wrapped(words, width, first, later) if wrap else [first + words]
    return [*lines, ""]


def tell_plan_briefly(plan: Plan, by: str, width: int) -> list[str]:
    """A long plan, a row for each task."""
    rows = [(task.id, task.role, show_credit(task.budget), task.title) for task in plan.tasks]
    named, roles, budgets = (max(len(row[column]) for row in rows) for column in range(3))
    lines = [f"{name:<{named}}  {role:<{roles}}  {budget:>{budgets}}  {title}" for name, role, budget, title in rows]
    return [crop(line, width) for line in (f"Plan, made by {by}: {len(plan.tasks)} tasks.", *lines)]


def _table(plan: Plan, width: int) -> list[str]:
    """The needs of a task take several rows where one is too narrow for them."""
    rows = [
        (task.id, task.role, ", ".join(task.needs) or "-", show_credit(task.budget), f"{task.seconds:g} s")
        for task in plan.tasks
    ]
    widths = [max(len(row[column]) for row in (_COLUMNS, *rows)) for column in range(len(_COLUMNS))]
    taken = sum(widths) - widths[_NEEDS] + len(_GAP) * (len(_COLUMNS) - 1)
    needs = [_listed(task.needs, width - taken) for task in plan.tasks]
    widths[_NEEDS] = max(len(_COLUMNS[_NEEDS]), *(len(line) for lines in needs for line in lines))
    lines = [_row(_COLUMNS, widths)]
    for row, (first, *more) in zip(rows, needs, strict=True):
        lines.append(_row((*row[:_NEEDS], first, *row[_NEEDS + 1 :]), widths))
        lines += [_row(("", "", each, "", ""), widths) for each in more]
    return lines


def _listed(names: Sequence[str], room: int) -> list[str]:
    """Names with commas between them, as many to a row as fit."""
    words = [f"{name}," for name in names[:-1]] + list(names[-1:])
    return pack(words, room, gap=" ") if words else ["-"]


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    texts = [
        cell.ljust(width) if column <= _NEEDS else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return _GAP.join(texts).rstrip()


def _test(task: Task) -> str:
    """As a shell would take it; what would move the cursor, such as the lines of a short program, is written as an escape."""
    if task.done.hidden:
        return "a hidden test"
    return visible(" ".join(map(_quoted, task.done.command)))


def _quoted(word: str) -> str:
    """A short program with quotes of its own is easier to read in the other kind."""
    return f'"{word}"' if "'" in word and not set(word) & set('"$`\\!') else shlex.quote(word)


def _wrapped(words: str, width: int, first: str, later: str) -> list[str]:
    if cell_len(first + words) <= width:
        return [first + words]
    return textwrap.wrap(
        words, width, initial_indent=first, subsequent_indent=later, break_long_words=False, break_on_hyphens=False
    )


def _reach(task: Task) -> list[str]:
    """Who else may do the task, and what of the world outside its sandbox its agent may use: the person agrees to it with the plan."""
    others = [slot.role + (f"@{slot.model}" if slot.model else "") for slot in slots_of(task)[1:]]
    named, payees = task.options.get("tools", ()), task.options.get("payees", ())
    money = f"may pay {show_credit(money_of(task))} to {', '.join(payees) or 'nobody'}"
    asked = [f"or by {', '.join(others)}, whose offer is the better"] if others else []
    return [*asked, *([f"uses {', '.join(named)}"] if named else []), *([money] if money_of(task) else [])]
