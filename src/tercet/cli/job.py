"""`tercet job`: hold a price until work is accepted, or until a market's validators have judged it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from tercet.chain.jobs import HeldJob, JobEnd, JobRecord
from tercet.chain.keys import checksum_address, keccak, parse_address
from tercet.chain.sender import Sender
from tercet.cli.connection import open_client
from tercet.cli.frame import State, group, pass_state
from tercet.cli.options import dispute_options, market_option, spending_options, wallet_option
from tercet.cli.output import confirm, print_json, print_table, say, show_credit
from tercet.cli.pools import find_address
from tercet.cli.settings import Settings
from tercet.cli.unlock import unlock
from tercet.client import Client
from tercet.errors import UsageError
from tercet.market import CREDIT, Amount, Job, JobState
from tercet.market.job import FULL_BPS, bond_of

__all__ = ["command"]

JOB_SCHEMA = {
    "id": "names the job: the typed hash of its terms",
    "state": "funded, delivered, disputed or ended",
    "deadline": "Unix seconds by the chain's clock: the last one of this state, or of its end",
    "buyer": "whose money",
    "worker": "who is paid",
    "market": "whose validators judge a dispute",
    "token": "what the amounts are in",
    "amount": "base units, as text",
    "work_hash": "of what was agreed on",
    "result_hash": "of what was delivered; zeros before",
    "deliver_by": "Unix seconds",
    "review_seconds": "for the buyer to dispute, after the delivery",
    "dispute_seconds": "for validators to judge, after a dispute",
    "salt": "makes equal jobs different",
    "offer": "what the buyer offers to end it at, base units as text, or null",
    "bond": "of the dispute, base units as text",
    "voted": "weight of all verdicts, as text",
    "electorate": "weight of which more than half must vote, as text",
    "end": "null while it runs",
    "end.cause": "released, agreed, silence, refunded, judged or no_quorum",
    "end.paid": "to the worker, the fee included, base units as text, as the rest of `end`",
    "end.fee": "of it, to the network",
    "end.returned": "to the buyer",
    "end.bond_lost": "of the bond, to the worker",
    "end.bond_returned": "of the bond, to the buyer",
}


@group(
    "job",
    examples=("tercet job fund --worker 0x7E5F... --amount 25 --market inference --work brief.md", "tercet job list"),
)
def command() -> None:
    """Hold a price until work is accepted, or judged."""


@command.command(
    "fund",
    examples=(
        "tercet job fund --worker 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf --amount 25 --market inference --work brief.md",
        "tercet job fund --worker 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf --amount 25 --market inference --work brief.md --dry-run",
    ),
    schema=JOB_SCHEMA,
)
@click.option("--worker", required=True, metavar="ADDRESS", help="Who does the work and is paid.")
@click.option("--amount", required=True, metavar="CREDIT", help="The price that is put aside.")
@click.option(
    "--work",
    required=True,
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="What is agreed on; its hash is recorded.",
)
@click.option("--deliver", default=7 * 86_400, show_default=True, metavar="SECONDS", help="How long the worker has.")
@dispute_options
@spending_options
@market_option
@wallet_option
@pass_state
def fund(
    state: State, /, *, worker: str, amount: str, work: str, yes: bool, dry_run: bool, as_json: bool, **periods: int
) -> None:
    """Put a price aside for WORKER, and print the job's id. It comes back if nothing is delivered in time."""
    price, digest = Amount.parse(amount, CREDIT), keccak(Path(work).read_bytes())
    terms = checksum_address(parse_address(worker)), price, digest
    asyncio.run(_fund(state.settings, *terms, periods, yes=yes, dry_run=dry_run, as_json=as_json))


async def _fund(
    settings: Settings,
    worker: str,
    price: Amount,
    digest: bytes,
    periods: dict[str, int],
    *,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    name = settings.text("market")
    if not name:
        raise UsageError("Who judges a dispute? Name the market with --market NAME|ADDRESS, or set TERCET_MARKET.")
    async with open_client(settings) as client:
        market, key, ledger = await client.find_market(name), unlock(settings), client.ledger
        fee = await ledger.escrow.fee()
        what = (
            f"put {price} aside for {worker}, who gets it less {fee.bps / 100:g} % when you release it, stay silent for "
            f"{periods['review']} s after the delivery, or {market.name!r} says so"
        )
        if not confirm(what, yes=yes, dry_run=dry_run):
            return
        sender, credit = client.sender(key), ledger.credit
        by = (await ledger.rpc.head()).timestamp + periods["deliver"]
        job = Job(
            key.address,
            worker,
            market.market,
            credit.address,
            price.units,
            digest,
            by,
            periods["review"],
            periods["dispute"],
            os.urandom(32),
        )
        await credit.ensure_allowance(sender, ledger.jobs.address, price.units)
        identity = await ledger.jobs.fund(sender, job)
        await _tell(client, identity, as_json=as_json)


# what either side does with a job that is held

Act = Callable[[Client, Sender, HeldJob], Awaitable[object]]


async def _act(
    settings: Settings, name: str, what: Callable[[Client, HeldJob], Awaitable[str]], act: Act, **how: bool
) -> None:
    """Find the job, say what would happen, do it, and print where the job stands."""
    async with _open_job(settings, name) as (client, held):
        words = await what(client, held)
        if confirm(words, yes=how["yes"], dry_run=how["dry_run"]):
            await act(client, client.sender(unlock(settings)), held)
            await _tell(client, held.id, as_json=how["as_json"])


def _acts(name: str, wallet: str, *more: str) -> Callable[[Callable[..., None]], click.Command]:
    """A verb that changes a job: its examples, options and schema."""
    example = " ".join(("tercet job", name, "0x5e1f", *more))

    def make(function: Callable[..., None]) -> click.Command:
        function = spending_options(wallet_option(pass_state(function)))
        made = command.command(
            name, examples=(f"{example} --wallet {wallet}", f"{example} --dry-run"), schema=JOB_SCHEMA
        )
        return made(click.argument("job", metavar="ID")(function))

    return make


@_acts("deliver", "worker", "result.zip")
@click.argument("result", metavar="FILE", type=click.Path(exists=True, dir_okay=False))
def deliver(state: State, job: str, result: str, **how: bool) -> None:
    """Say that the work is done; the hash of FILE is recorded. The worker does it, and sends FILE to the buyer by other means."""
    digest = keccak(Path(result).read_bytes())

    async def what(_: Client, held: HeldJob) -> str:
        return f"deliver {result} (0x{digest.hex()[:8]}...) for {show_credit(held.terms.amount)}"

    async def act(client: Client, sender: Sender, held: HeldJob) -> None:
        await client.ledger.jobs.deliver(sender, held.terms, digest)

    asyncio.run(_act(state.settings, job, what, act, **how))


@_acts("release", "buyer", "--amount", "15")
@click.option("--amount", metavar="CREDIT", help="Less than the price: an offer that the worker may accept.")
def release(state: State, job: str, amount: str | None, **how: bool) -> None:
    """Pay the worker, or offer to end the job at a part of the price. The buyer does it."""

    def units(held: HeldJob) -> int:
        return held.terms.amount if amount is None else Amount.parse(amount, CREDIT).units

    async def what(_: Client, held: HeldJob) -> str:
        given = units(held)
        if given == held.terms.amount:
            return f"pay {show_credit(given)} to {held.terms.worker}"
        return f"offer {held.terms.worker} {show_credit(given)}; when it accepts, {show_credit(held.terms.amount - given)} come back"

    async def act(client: Client, sender: Sender, held: HeldJob) -> None:
        await client.ledger.jobs.release(sender, held.terms, units(held))

    asyncio.run(_act(state.settings, job, what, act, **how))


@_acts("accept", "worker")
def accept(state: State, job: str, **how: bool) -> None:
    """Take the part of the price that the buyer offers, and end the job. The worker does it."""
    seen: list[int] = []

    async def what(client: Client, held: HeldJob) -> str:
        offer = (await client.ledger.jobs.record(held.id)).offer
        if offer is None:
            raise UsageError(
                f"Nothing is offered for the job {job}. The buyer does it with: tercet job release ID --amount CREDIT"
            )
        seen.append(offer)
        return f"end the job at {show_credit(offer)} of {show_credit(held.terms.amount)}"

    async def act(client: Client, sender: Sender, held: HeldJob) -> None:
        await client.ledger.jobs.accept(sender, held.terms, seen[0])

    asyncio.run(_act(state.settings, job, what, act, **how))


@_acts("refund", "worker")
def refund(state: State, job: str, **how: bool) -> None:
    """Return the price to the buyer: the worker gives the job back, or it delivered nothing in time."""

    async def what(_: Client, held: HeldJob) -> str:
        return f"return {show_credit(held.terms.amount)} to {held.terms.buyer}"

    async def act(client: Client, sender: Sender, held: HeldJob) -> None:
        await client.ledger.jobs.refund(sender, held.terms)

    asyncio.run(_act(state.settings, job, what, act, **how))


@_acts("dispute", "buyer")
def dispute(state: State, job: str, **how: bool) -> None:
    """Ask the market's validators to judge a delivery, against a bond. The buyer does it during the review."""

    async def what(_: Client, held: HeldJob) -> str:
        bond = show_credit(bond_of(held.terms.amount))
        return f"dispute the delivery against a bond of {bond}, of which you lose what part of the price the worker is found to deserve"

    async def act(client: Client, sender: Sender, held: HeldJob) -> None:
        ledger = client.ledger
        await ledger.credit.ensure_allowance(sender, ledger.jobs.address, bond_of(held.terms.amount))
        await ledger.jobs.dispute(sender, held.terms)

    asyncio.run(_act(state.settings, job, what, act, **how))


@_acts("vote", "judge", "40")
@click.argument("percent", type=click.FloatRange(0, 100))
def vote(state: State, job: str, percent: float, **how: bool) -> None:
    """Judge a disputed job: PERCENT of the price is what the worker deserves. A validator's operator does it, once."""
    bps = round(percent * FULL_BPS / 100)

    async def what(_: Client, held: HeldJob) -> str:
        part = show_credit(held.terms.amount * bps // FULL_BPS)
        return f"say, for good, that {held.terms.worker} deserves {part} of {show_credit(held.terms.amount)}"

    async def act(client: Client, sender: Sender, held: HeldJob) -> None:
        weight = await client.ledger.jobs.vote(sender, held.terms, bps)
        say(f"Your verdict weighs {weight}.")

    asyncio.run(_act(state.settings, job, what, act, **how))


@_acts("settle", "anybody")
def settle(state: State, job: str, **how: bool) -> None:
    """End a job whose deadline has passed: pay after a silent review, count the verdicts, or refund. Anybody may."""

    async def what(client: Client, held: HeldJob) -> str:
        ends = {
            JobState.FUNDED: f"return {show_credit(held.terms.amount)} to {held.terms.buyer}: nothing was delivered",
            JobState.DELIVERED: f"pay {show_credit(held.terms.amount)} to {held.terms.worker}: nobody disputed it",
            JobState.DISPUTED: "end the dispute by the verdicts that were given",
        }
        record = await client.ledger.jobs.record(held.id)
        if record.state not in ends:
            raise UsageError(f"The job {job} has ended. See how: tercet job show {job}")
        return ends[record.state]

    async def act(client: Client, sender: Sender, held: HeldJob) -> None:
        jobs = client.ledger.jobs
        ends = {JobState.FUNDED: jobs.refund, JobState.DELIVERED: jobs.claim, JobState.DISPUTED: jobs.settle}
        await ends[(await jobs.record(held.id)).state](sender, held.terms)

    asyncio.run(_act(state.settings, job, what, act, **how))


# looking


@command.command(
    "show",
    examples=("tercet job show 0x5e1f", "tercet job show 0x5e1f --json"),
    schema=JOB_SCHEMA
    | {
        "verdicts[].vid": "seat of the validator",
        "verdicts[].weight": "in the market's newest closed epoch when it voted, as text",
        "verdicts[].bps": "ten-thousandths of the price that the worker deserves",
    },
)
@click.argument("job", metavar="ID")
@pass_state
def show(state: State, job: str, as_json: bool) -> None:
    """Where a job stands. ID may be its first digits."""
    asyncio.run(_show(state.settings, job, as_json))


async def _show(settings: Settings, name: str, as_json: bool) -> None:
    async with _open_job(settings, name) as (client, held):
        record, verdicts = await client.ledger.jobs.record(held.id), await client.ledger.jobs.verdicts(held.id)
        now = (await client.ledger.rpc.head()).timestamp
    if as_json:
        rows = [{**asdict(verdict), "weight": str(verdict.weight)} for verdict in verdicts]
        print_json({**_job_row(held, record), "verdicts": rows})
        return
    terms = held.terms
    click.echo(f"0x{held.id.hex()}: {record.state.name.lower()}, {show_credit(terms.amount)}")
    for word, value in (("buyer", terms.buyer), ("worker", terms.worker), ("market", terms.market)):
        click.echo(f"{word:<9} {value}")
    click.echo(f"{'next':<9} {_next_words(record, held.end, now)}")
    if record.offer is not None and held.end is None:
        click.echo(f"{'offered':<9} {show_credit(record.offer)}")
    if verdicts:
        click.echo()
        print_table(["vid", "weight", "percent"], [[v.vid, v.weight, f"{v.bps / 100:g}"] for v in verdicts], "")


@command.command(
    "list",
    examples=("tercet job list", "tercet job list --of worker --json"),
    schema={f"jobs[].{field}": meaning for field, meaning in JOB_SCHEMA.items()},
)
@click.option("--of", "owner", metavar="NAME|ADDRESS", help="Only those that it buys or works on.")
@pass_state
def list_jobs(state: State, owner: str | None, as_json: bool) -> None:
    """All jobs in credit that were ever held, the oldest first."""
    asyncio.run(_list(state.settings, owner, as_json))


async def _list(settings: Settings, owner: str | None, as_json: bool) -> None:
    who = "" if owner is None else find_address(settings, owner)
    async with open_client(settings) as client:
        jobs = client.ledger.jobs
        found = [one for one in await _read_jobs(client) if not who or who in (one.terms.buyer, one.terms.worker)]
        records = [await jobs.record(one.id) for one in found]
        now = (await client.ledger.rpc.head()).timestamp
    pairs = list(zip(found, records, strict=True))
    if as_json:
        print_json({"jobs": [_job_row(held, record) for held, record in pairs]})
        return
    rows = [
        [
            f"0x{held.id.hex()[:8]}",
            record.state.name.lower(),
            show_credit(held.terms.amount),
            _next_words(record, held.end, now),
        ]
        for held, record in pairs
    ]
    print_table(["id", "state", "price", "next"], rows, "No job yet. Hold one: tercet job fund --help")


@contextlib.asynccontextmanager
async def _open_job(settings: Settings, name: str) -> AsyncIterator[tuple[Client, HeldJob]]:
    """A client, and the job whose id is `name` or begins with it.

    Raises:
        UsageError: no job's id does, or several do.

    """
    digits = name.removeprefix("0x").lower()
    async with open_client(settings) as client:
        found = [held for held in await _read_jobs(client) if digits and held.id.hex().startswith(digits)]
        if len(found) != 1:
            many = "No job" if not found else f"{len(found)} jobs"
            raise UsageError(f"{many} on this chain go by {name!r}. List them with: tercet job list")
        yield client, found[0]


async def _read_jobs(client: Client) -> list[HeldJob]:
    """All jobs in credit; those in other tokens are for programs."""
    ledger = client.ledger
    return [
        held for held in await ledger.jobs.jobs(ledger.deployment.block) if held.terms.token == ledger.credit.address
    ]


async def _tell(client: Client, identity: bytes, *, as_json: bool) -> None:
    """Print where a job stands after a command: its id alone, or everything."""
    jobs = client.ledger.jobs
    held, record = await jobs.find(identity, client.ledger.deployment.block), await jobs.record(identity)
    if as_json:
        print_json(_job_row(held, record))
        return
    click.echo(f"0x{identity.hex()}")
    say(_next_words(record, held.end, (await client.ledger.rpc.head()).timestamp))


def _next_words(record: JobRecord, end: JobEnd | None, now: int) -> str:
    """What happens next, in a few words."""
    if end is not None:
        return _end_words(end)
    rest = record.deadline - now
    when = (
        f"for {rest} s more"
        if rest >= 0
        else f"no longer: {time.strftime('%F %T', time.gmtime(record.deadline))} UTC has passed"
    )
    words = {
        JobState.FUNDED: "The worker can deliver",
        JobState.DELIVERED: "The buyer can dispute",
        JobState.DISPUTED: "Validators can judge",
    }
    return f"{words[record.state]} {when}."


def _end_words(end: JobEnd) -> str:
    split = end.split
    words = f"Ended ({end.cause.name.lower().replace('_', ' ')}): {show_credit(split.paid - split.fee + split.bond_lost)} to the worker"
    return f"{words}, {show_credit(split.returned + split.bond_returned)} to the buyer, {show_credit(split.fee)} to the network."


def _job_row(held: HeldJob, record: JobRecord) -> dict[str, Any]:
    terms, end = held.terms, held.end
    return {
        "id": f"0x{held.id.hex()}",
        "state": record.state.name.lower(),
        "deadline": record.deadline,
        **{name: getattr(terms, name) for name in ("buyer", "worker", "market", "token")},
        "amount": str(terms.amount),
        "work_hash": f"0x{terms.work_hash.hex()}",
        "result_hash": f"0x{record.result_hash.hex()}",
        **{name: getattr(terms, name) for name in ("deliver_by", "review_seconds", "dispute_seconds")},
        "salt": f"0x{terms.salt.hex()}",
        "offer": None if record.offer is None else str(record.offer),
        "bond": str(record.bond),
        "voted": str(record.voted),
        "electorate": str(record.electorate),
        "end": None
        if end is None
        else {"cause": end.cause.name.lower(), **{name: str(units) for name, units in asdict(end.split).items()}},
    }
