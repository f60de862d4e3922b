"""The first step of `tercet fix`: does the repository have tests, and do they fail?"""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Iterable
from pathlib import PurePosixPath

from tercet.cli.fix.errand import Order
from tercet.cli.output import say
from tercet.errors import UsageError
from tercet.subnets.coding import Bench, Packed, Report, pack_repository

__all__ = ["find_missing", "look", "tell_dry_run"]

_MISSING = re.compile(r"(?:^|\| )(?:E +)?ModuleNotFoundError: No module named '(\w+)", re.MULTILINE)
"""In a line of output, or of a message, whose lines a report joins by ` | `."""


async def look(bench: Bench, order: Order) -> tuple[Packed, Report]:
    """The repository and how its tests fail.

    Raises:
        UsageError: it has no tests, they pass already, they cannot be run, or they need what is not there.

    """
    packed = await asyncio.to_thread(pack_repository, order.folder, order.exclude)
    if packed.withheld:
        say(f"Stays at home: {', '.join(packed.withheld[:8])}{' ...' if len(packed.withheld) > 8 else ''}")
    words = _command(order.test)
    say(f"Running {order.test!r} on {len(packed.files) + len(packed.binary)} files in the sandbox ...")
    report = await bench.run_command(packed.files, packed.binary, words)
    if report.good:
        raise UsageError(f"The tests pass already: {order.test!r} succeeds here. There is nothing to fix.")
    if missing := find_missing(report, packed.files):
        names = ", ".join(missing)
        raise UsageError(
            f"The tests need {names}: not among the files that are sent, and the sandbox has only Python's standard library and "
            "pytest, so no fix could make them pass. Name tests that do without it with --test, or have git track it. "
            "If the name is a slip, correct it."
        )
    if report.exit == 5 or (not report.tests and not report.errors):
        why = report.problem or report.output.strip()[-300:] or "nothing was collected"
        raise UsageError(
            f"{order.test!r} runs no tests in {str(order.folder)!r}, so nobody could know when it is fixed ({why}). "
            "Name the command that runs them with --test; it has Python's standard library and pytest."
        )
    if not report.failed:
        raise UsageError(f"{order.test!r} exits with {report.exit}, but no test fails: {report.output.strip()[-300:]}")
    say(f"{len(report.failed)} fail, {sum(how == 'passed' for how in report.tests.values())} pass.")
    return packed, report


def find_missing(report: Report, files: Iterable[str]) -> list[str]:
    """Modules that a failing run did not find, by their first name, and that `files` do not have, wherever they lie."""
    said = [*report.errors.values(), *report.messages.values()]
    wanted = {name for text in said or [report.output] for name in _MISSING.findall(text)}
    there = {part.removesuffix(".py") for path in files for part in PurePosixPath(path).parts}
    return sorted(wanted - there)


def _command(test: str) -> list[str]:
    try:
        words = shlex.split(test)
    except ValueError as error:
        raise UsageError(f"The test command {test!r} cannot be read: {error}.") from None
    if not words:
        raise UsageError('The test command is empty. Give one: --test "pytest -q"')
    return words


def tell_dry_run(order: Order, packed: Packed | None) -> None:
    """What would happen, had it been no dry run; without `packed` an errand is under way."""
    if packed is None:
        say("Dry run: would go on with the job that is under way. Nothing was sent.")
        return
    say(
        f"Dry run: would send {len(packed.files) + len(packed.binary)} files, and put {order.price} aside. Nothing was sent."
    )
