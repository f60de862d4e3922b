"""The last step of `tercet fix`: test what came, pay for it when it is good, and write it where it belongs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from tercet.chain.keys import Key
from tercet.cli.fix.errand import Done, Order, Saved, money, when
from tercet.cli.output import is_terminal, say
from tercet.cli.plain import visible
from tercet.client import Client
from tercet.errors import RefusedError, UsageError
from tercet.market import JobState
from tercet.subnets.coding import (
    Bench,
    DiffError,
    Report,
    RepositoryTask,
    apply_diff,
    find_tricks,
    is_protected,
    parse_task,
    write_fix,
)

__all__ = ["finish"]


async def finish(client: Client, key: Key, bench: Bench, saved: Saved, order: Order, before: Report | None) -> Done:
    """Test the fix; pay for it when it is good, and write it where it belongs. `before`: how the tests ended without."""
    task = parse_task(saved.task)
    assert isinstance(task, RepositoryTask)
    files = task.files
    tests = [path for path in files if is_protected(path)]
    try:
        after = apply_diff(files, saved.diff, protected=tests)
    except DiffError as error:
        return await _refuse(client, saved, Report({}, {}, {}, None, f"the fix cannot be applied: {error}"), [])
    warnings = find_tricks(files, after)
    say("Running the tests with the fix ...")
    if before is None:  # we go on with what an earlier command sent
        before = await bench.run_command(files, task.binary, task.command)
    report = await bench.run_command(after, task.binary, task.command)
    lost = sorted(set(before.tests) - set(report.tests))
    if report.good and lost:
        why = f"{len(lost)} tests do not run any more, first {lost[0]}"
        return await _refuse(client, saved, Report(report.tests, {}, {}, report.exit, why), warnings)
    if not report.good:
        return await _refuse(client, saved, report, warnings)
    passed = sum(how == "passed" for how in report.tests.values())
    say(f"All {passed} tests pass with the fix of miner {saved.uid}.")
    if warnings:
        say("Read it before you use it. A fix needs this rarely:\n  " + "\n  ".join(warnings[:8]))
        await _agree_to_pay(saved, order)
    state = await _release(client, key, saved)
    kept = _keep(saved)
    applied = _apply(order, files, after, kept, careful=bool(warnings))
    if state is JobState.ENDED:
        saved.place.unlink(missing_ok=True)
    return Done(saved, report, state, applied, warnings)


async def _agree_to_pay(saved: Saved, order: Order) -> None:
    """Such a fix is paid only by somebody who has read it."""
    if not is_terminal() or order.yes:
        raise RefusedError(
            f"Nothing was paid and nothing written. The fix is in {str(_keep(saved))!r}; pay for it with: tercet job release "
            f"{saved.task['job'][:12]}, or dispute it with: tercet job dispute {saved.task['job'][:12]}"
        )
    click.echo(visible(saved.diff, kept="\n\t"), err=True)
    if not click.confirm(f"Pay {money(saved)} for it?", err=True):
        raise RefusedError(f"Nothing was paid. Dispute it with: tercet job dispute {saved.task['job'][:12]}")


def _keep(saved: Saved) -> Path:
    path = saved.place.with_suffix(".diff")
    path.write_text(saved.diff)
    return path


async def _release(client: Client, key: Key, saved: Saved) -> JobState:
    """Pay; once, whatever an interrupted command did before."""
    jobs = client.ledger.jobs
    if (await jobs.record(saved.id)).state is JobState.DELIVERED:
        await jobs.release(client.sender(key), saved.terms, saved.terms.amount)
        say(f"Paid {money(saved)} to {saved.terms.worker}.")
    return (await jobs.record(saved.id)).state


def _apply(
    order: Order, before: Mapping[str, str], after: Mapping[str, str], kept: Path, *, careful: bool
) -> list[str]:
    """Write the fix, when that is wanted and nothing stands in its way."""
    wanted = order.apply and not careful
    if not wanted and is_terminal():
        wanted = click.confirm(f"Write it into {order.folder}?", err=True)
    if not wanted:
        say(f"Not written. Do it with: git apply {kept}")
        return []
    try:
        applied = write_fix(order.folder, before, after)
    except UsageError as error:
        say(f"{error} The fix is in {str(kept)!r}.")
        return []
    say(f"Written: {', '.join(applied)}")
    return applied


async def _refuse(client: Client, saved: Saved, report: Report, warnings: Sequence[str]) -> Done:
    """A delivery that does not do: say what can be done about it. The money stays where it is."""
    record = await client.ledger.jobs.record(saved.id)
    job = saved.task["job"][:12]
    say(f"The tests do not pass with the fix of miner {saved.uid}: {report.words(5)}")
    if record.state is JobState.ENDED:
        saved.place.unlink(missing_ok=True)
        say(f"The job has ended: tercet job show {job}")
        return Done(saved, report, record.state, [], warnings)
    say(
        f"Nothing was paid. Until {when(record.deadline)} you can ask the market's validators (tercet job dispute {job}) or offer a part "
        f"(tercet job release {job} --amount CREDIT). If you do neither, the miner is paid then. The fix is in {str(_keep(saved))!r}."
    )
    return Done(saved, report, record.state, [], warnings)
