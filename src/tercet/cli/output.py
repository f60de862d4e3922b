"""How commands speak: results on stdout, everything else on stderr, colour only on a terminal."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click
from rich.cells import cell_len, set_cell_size

from tercet.cli.plain import printable, printable_lines
from tercet.errors import RefusedError
from tercet.market import CREDIT, Amount

__all__ = ["confirm", "fit_table", "is_terminal", "print_json", "print_table", "say", "show_credit", "tell_credit"]

_LEAST_LAST = 8
"""Columns that are left to the last, which is words."""


def is_terminal() -> bool:
    """Whether a person reads stderr and can answer on stdin."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def say(text: str) -> None:
    """A line about progress, on stderr. It may have a stranger's words in it."""
    click.echo(printable_lines(text), err=True)


def show_credit(units: int) -> str:
    """Credit units as credit, with its symbol."""
    return str(Amount(units, CREDIT))


def tell_credit(units: int | str | None) -> str:
    """Credit units as credit, for a place that says so itself; empty where there is no sum."""
    return "" if units is None else str(Amount(int(units), CREDIT)).removesuffix(f" {CREDIT.symbol}")


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object on stdout; integers beyond 2^53 are written as strings by the caller."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    click.echo("".join(each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text))


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], empty: str, *, spare: Sequence[str] = ()
) -> None:
    """Columns padded to their widest cell; numbers to the right. Prints `empty` on stderr when there is nothing.

    On a terminal that is too narrow the columns of `spare` go, the first of them first, and then the last column is cut.
    """
    if not rows:
        say(empty)
        return
    texts = [[_cell(cell) for cell in row] for row in rows]
    if spare and sys.stdout.isatty():
        columns, texts = fit_table(columns, texts, shutil.get_terminal_size().columns, spare)
    widths = [max(len(column), *(len(row[i]) for row in texts)) for i, column in enumerate(columns)]
    right = [all(_is_number(row[i]) for row in texts) for i in range(len(columns))]
    for line in [[column.upper() for column in columns], *texts]:
        cells = [t.rjust(w) if r else t.ljust(w) for t, w, r in zip(line, widths, right, strict=True)]
        click.echo("  ".join(cells).rstrip())


def fit_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], width: int, spare: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """The table as it fits into `width` columns, as far as leaving out those of `spare` and cutting the last allows."""
    kept = list(columns)

    def taken(names: Sequence[str]) -> int:
        return sum(2 + max(cell_len(name), *(cell_len(row[columns.index(name)]) for row in rows)) for name in names)

    for name in (each for each in spare if each in columns):
        if taken(kept[:-1]) + _LEAST_LAST <= width:
            break
        kept.remove(name)
    room = max(_LEAST_LAST, width - taken(kept[:-1]))
    cells = [[row[columns.index(name)] for name in kept] for row in rows]
    return kept, [
        [*row[:-1], row[-1] if cell_len(row[-1]) <= room else f"{set_cell_size(row[-1], room - 1)}…"] for row in cells
    ]


def _cell(value: object) -> str:
    """Words of a journal or a chain are a stranger's."""
    text = str(value)
    return printable(text, len(text))


def _is_number(text: str) -> bool:
    return text.replace(",", "").replace(".", "").replace("%", "").replace("-", "").strip().isdigit() or text in {
        "",
        "-",
    }


def confirm(what: str, *, yes: bool, dry_run: bool) -> bool:
    """Ask before spending: `what` shows the amount and the effect.

    Returns:
        Whether to go on; False in a dry run, which only shows.

    Raises:
        RefusedError: the person said no, or nobody is there to ask and `--yes` was not given.

    """
    what = printable(what, len(what))  # names on a chain are a stranger's
    if dry_run:
        say(f"Dry run: would {what}. Nothing was sent.")
        return False
    if yes:
        say(f"Going to {what}.")
        return True
    if not is_terminal():
        raise RefusedError(f"This would {what}, and nobody is there to agree. Say --yes, or --dry-run to look first.")
    if not click.confirm(f"This will {what}. Go on?", err=True):
        raise RefusedError("Nothing was sent, because you said no.")
    return True
