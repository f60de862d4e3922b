"""`tercet why`: who is responsible for what a run made and paid, back to the person who wanted it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TypeAlias

import click

from tercet.chain.logs import Event
from tercet.cli.connection import open_client
from tercet.cli.frame import State, TercetCommand, pass_state
from tercet.cli.journal import journal_path
from tercet.cli.output import print_json
from tercet.cli.plain import printable
from tercet.cli.settings import Settings
from tercet.cli.targets import NO_RUN, find_runs
from tercet.errors import DamagedJournalError, JournalError, TercetError, UsageError
from tercet.market import CREDIT, Amount
from tercet.nodes.budgets import Budgets
from tercet.nodes.gateway_keys import gateway_db
from tercet.swarm.explanation import Explanation, Verified, render
from tercet.swarm.why import explain

__all__ = ["command"]

_RUNS = 50
"""Newest runs that are looked through where none is named."""
_Passed: TypeAlias = tuple[Path, JournalError]
"""The folder of a run that was passed over, and why."""


@click.command(
    "why",
    cls=TercetCommand,
    examples=("tercet why report.md", "tercet why call-1f3a5c7d9b2e4f60 --run fair-otter --json"),
    schema={
        "run": "where it was found",
        "kind": "artefact, call, payment or seller",
        "subject": "what is explained",
        "tree[].text": "a sentence",
        "tree[].below[]": "what stands behind it, of the same form",
        "verified[].what": "what was checked just now",
        "verified[].ok": "true, false, or null for what could not be checked",
        "verified[].how": "how, or why not",
    },
)
@click.argument("target", metavar="ARTEFACT|TX|RECEIPT")
@click.option("--run", "run", default="", metavar="RUN", help="Look only there (default: the newest that knows it).")
@pass_state
def command(state: State, target: str, run: str, as_json: bool) -> None:
    """Say who is responsible for a file, a receipt, a payment, or a transaction that paid a seller.

    Goal and policies of the person, task, agent, its developer, models, miners, receipts and claims, from the run's
    journal; miners and payouts from the gateway's book and the chain, where they are at hand. Exits with 1 when
    something that was verified does not hold.
    """
    found, verified = asyncio.run(_explain(state, target, run))
    answer = {**found.to_json(), "verified": [{"what": v.what, "ok": v.ok, "how": v.how} for v in verified]}
    if as_json:
        print_json(answer)
    else:
        click.echo(f"Run {found.run}")
        for line in render(found, verified):
            click.echo(printable(line, len(line)))  # names of claims and operators are as the journal has them
    if any(each.ok is False for each in verified):
        raise click.exceptions.Exit(1)


async def _explain(state: State, target: str, run: str) -> tuple[Explanation, Sequence[Verified]]:
    runs = [journal_path(state, run).parent] if run else find_runs(state.settings.home)[:_RUNS]
    found, passed = _first(runs, target, ())
    if found is None and re.fullmatch(r"0x[0-9a-fA-F]{64}", target):
        found, passed = _first(runs, target, await _paid_by(state.settings, bytes.fromhex(target[2:])))
    if found is None:
        if run:
            explain(runs[0], target)  # says what it is that this run does not know
        raise _unknown(len(runs), target, passed)
    verified = [_doubt(*each) for each in passed]
    return found, [*found.verified, *verified, *_booked(state.settings, found), *await _paid_out(state.settings, found)]


def _first(runs: Sequence[Path], target: str, sellers: Collection[str]) -> tuple[Explanation | None, list[_Passed]]:
    """What the newest run that knows it says, and which newer ones may know it too, but cannot be read so far."""
    passed: list[_Passed] = []
    for run in runs:
        try:
            return explain(run, target, sellers=sellers), passed
        except UsageError:
            continue
        except JournalError as error:
            if len(runs) == 1:
                raise  # of the one that was named it is the answer
            passed.append((run, error))
    return None, passed


def _doubt(run: Path, error: JournalError) -> Verified:
    """What is told comes from an older run than this one, which may have made the same file later."""
    if isinstance(error, DamagedJournalError):
        how = f"its journal was changed at event {error.seq}, and what it knew of this may stand behind: tercet journal verify {run.name}"
        return Verified(f"the newer run {run.name}", ok=False, how=how)
    return Verified(f"the newer run {run.name}", ok=None, how=f"its journal cannot be read: {error}")


def _unknown(count: int, target: str, passed: Sequence[_Passed]) -> TercetError:
    if not count:
        return UsageError(NO_RUN)
    words = f"None of the {count} newest runs knows {target[:100]!r}"
    if not passed:
        return UsageError(f"{words}. tercet ps --all shows the runs, their reports name the files.")
    names = ", ".join(run.name for run, _ in passed[:5]) + (" ..." if len(passed) > 5 else "")
    return JournalError(
        f"{words} as far as they can be read, and of {names} not all can. tercet journal verify {passed[0][0].name} says why."
    )


def _booked(settings: Settings, found: Explanation) -> list[Verified]:
    """Each market receipt beside the gateway's own book."""
    path = gateway_db(settings.home / "gateway")
    named = {str(call.upstream["receipt"]): call for call in found.calls if call.upstream.get("receipt")}
    if not named:
        return []
    if not path.is_file():
        return [Verified("the gateway's receipts", ok=None, how=f"there is no gateway's book at {path}")]
    with Budgets(path) as book:
        kept = {name: book.receipt(name) for name in named}
    wrong = [
        name
        for name, receipt in kept.items()
        if receipt is not None
        and (receipt.charged, receipt.operator) != (named[name].charged, named[name].upstream.get("operator", ""))
    ]
    known = sum(receipt is not None for receipt in kept.values())
    if wrong:
        how = f"{wrong[0]} stands there with another charge or operator"
        return [Verified("the gateway's receipts", ok=False, how=how)]
    signed = sum(receipt is not None and receipt.answer is not None for receipt in kept.values())
    how = f"{known} of {len(kept)} stand in its book with the same charge and operator, {signed} with the miner's signature"
    return [Verified("the gateway's receipts", ok=True if known == len(kept) else None, how=how)]


async def _paid_out(settings: Settings, found: Explanation) -> list[Verified]:
    """What the chain has paid to the miners that worked for it."""
    operators = sorted({str(call.upstream["operator"]) for call in found.calls if call.upstream.get("operator")})
    if not operators:
        return []
    try:
        events = await _redemptions(settings)
    except TercetError as error:
        return [Verified("payouts", ok=None, how=f"the ledger is not at hand: {error}")]
    rows = []
    for operator in operators:
        paid = [e for e in events if str(e.fields["receiver"]).lower() == operator.lower()]
        total = Amount(sum(int(e.fields["amount"]) for e in paid), CREDIT)
        last = f", the last in transaction 0x{paid[-1].transaction.hex()}" if paid else ""
        how = f"{total} in {len(paid)} redemptions of all its buyers{last}" if paid else "nothing redeemed yet"
        rows.append(Verified(f"payouts to {operator}", ok=True if paid else None, how=how))
    return rows


async def _paid_by(settings: Settings, transaction: bytes) -> set[str]:
    """Who was paid in a transaction."""
    return {str(e.fields["receiver"]) for e in await _redemptions(settings) if e.transaction == transaction}


async def _redemptions(settings: Settings) -> list[Event]:
    async with open_client(settings) as client:
        return [event async for event in client.events([client.ledger.escrow], names=("Redeemed",))]
