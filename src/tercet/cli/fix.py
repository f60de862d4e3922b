"""`tercet fix`: have a repository's failing tests made to pass, paid by a held job.

The order is: look (do they fail?), put the price aside, ask, test what comes, show it, pay, apply. What was agreed and what
came is in a file before the next step, so that the same command goes on where an interrupted one was.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import click

from tercet.chain.files import write_atomic
from tercet.chain.keys import Key, keccak
from tercet.chain.market import MarketContract
from tercet.cli.connection import open_market
from tercet.cli.frame import State, TercetCommand, pass_state
from tercet.cli.options import market_option, spending_options, wallet_option
from tercet.cli.output import confirm, is_terminal, print_json, say
from tercet.cli.unlock import unlock
from tercet.client import Client
from tercet.errors import NoMinerError, RefusedError, TercetError, UnreachableError, UsageError
from tercet.market import CREDIT, Amount, Job, JobState
from tercet.nodes.shop import Quote, Shop
from tercet.subnets.coding import (
    Bench,
    Coding,
    DiffError,
    Packed,
    Report,
    RepositoryTask,
    apply_diff,
    find_tricks,
    is_protected,
    pack_repository,
    parse_task,
    repository_work,
    write_fix,
)
from tercet.subnets.kit import Sandbox

__all__ = ["command"]

CHANNEL_DEPOSIT = 100_000
"""Credit units put into the miner's channel, for the request itself: a tenth of a credit."""
_MINERS = 3
"""How many are asked in turn when each gives the price back."""

SCHEMA = {
    "job": "id of the held job",
    "miner": "uid of who worked",
    "state": "of the job: funded, delivered or ended",
    "passed": "whether the tests pass with the fix",
    "tests": "how many passed",
    "applied[]": "files that were written",
    "diff": "the fix, a unified diff",
    "warnings[]": "what the fix does that a fix needs rarely",
}


@click.command(
    "fix",
    cls=TercetCommand,
    examples=(
        'tercet fix . --test "pytest -q" --budget 5 --wallet buyer',
        'tercet fix ~/project --test "python -m pytest tests/unit" --budget 2 --wallet buyer --apply --yes',
    ),
    schema=SCHEMA,
)
@click.argument("path", type=click.Path(exists=True, file_okay=False))
@click.option("--test", "test", required=True, metavar="COMMAND", help="What must succeed, run in PATH.")
@click.option("--budget", default="5", show_default=True, metavar="CREDIT", help="The price that is put aside.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Tracked files not to send (repeat it).")
@click.option("--apply", "apply", is_flag=True, help="Write the fix into PATH when the tests pass, without asking.")
@click.option("--resume", is_flag=True, help="Go on with what was sent, though PATH has changed since.")
@click.option("--seconds", default=120.0, show_default=True, help="How long to wait for a miner.")
@click.option(
    "--deliver", default=3600, show_default=True, metavar="SECONDS", help="How long a miner has, by the chain."
)
@click.option("--review", default=2 * 86_400, show_default=True, metavar="SECONDS", help="To dispute a delivery.")
@click.option("--dispute", default=2 * 86_400, show_default=True, metavar="SECONDS", help="For validators to judge.")
@spending_options
@market_option
@wallet_option
@pass_state
def command(
    state: State, /, *, path: str, test: str, budget: str, exclude: tuple[str, ...], yes: bool, dry_run: bool, as_json: bool,
    **more: Any,
) -> None:  # fmt: skip
    """Have the failing tests of the repository at PATH made to pass.

    What git tracks there is sent to a miner of the coding market, files that look like secrets left out. The price is put
    aside first, and paid when COMMAND succeeds with the fix, tried in a sandbox here. Run it again to go on after any interruption.
    """
    order = _Order(Path(path).resolve(), test, Amount.parse(budget, CREDIT), exclude, yes=yes, dry_run=dry_run, **more)
    done = asyncio.run(_fix(state, order))
    if done is None:
        return
    if as_json:
        print_json(done.row())
    else:
        click.echo(done.saved.diff, nl=False)
    if not done.report.good:
        click.get_current_context().exit(1)


@dataclass(frozen=True, slots=True)
class _Order:
    """What the command line says."""

    folder: Path
    test: str
    price: Amount
    exclude: Sequence[str]
    yes: bool
    dry_run: bool
    apply: bool
    resume: bool
    seconds: float
    deliver: int
    review: int
    dispute: int


@dataclass(slots=True)
class _Saved:
    """What an interrupted command needs to go on. Written before each step that cannot be taken back."""

    place: Path
    task: dict[str, Any]
    """With its job's id."""
    terms: Job
    uid: int
    diff: str = ""

    @property
    def id(self) -> bytes:
        return bytes.fromhex(self.task["job"][2:])

    def save(self) -> None:
        terms = asdict(self.terms) | {"work_hash": self.terms.work_hash.hex(), "salt": self.terms.salt.hex()}
        content = {"task": self.task, "terms": terms, "uid": self.uid, "diff": self.diff}
        self.place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomic(self.place, json.dumps(content).encode(), mode=0o600)

    @classmethod
    def load(cls, place: Path) -> _Saved | None:
        try:
            content = json.loads(place.read_text())
            raw = content["terms"]
            terms = Job(**{**raw, "work_hash": bytes.fromhex(raw["work_hash"]), "salt": bytes.fromhex(raw["salt"])})
            return cls(place, content["task"], terms, content["uid"], content["diff"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{str(place)!r} cannot be read ({error}). See what is held with: tercet job list; then delete that file."
            ) from error


@dataclass(frozen=True, slots=True)
class _Done:
    saved: _Saved
    report: Report
    state: JobState
    applied: Sequence[str]
    warnings: Sequence[str]

    def row(self) -> dict[str, Any]:
        return {
            "job": self.saved.task["job"],
            "miner": self.saved.uid,
            "state": self.state.name.lower(),
            "passed": self.report.good,
            "tests": sum(how == "passed" for how in self.report.tests.values()),
            "applied": list(self.applied),
            "diff": self.saved.diff,
            "warnings": list(self.warnings),
        }


async def _fix(state: State, order: _Order) -> _Done | None:
    bench = Bench(await asyncio.to_thread(Sandbox.find, python_packages=("pytest",)))
    async with open_market(state.settings, Coding.name) as (client, market):
        key = unlock(state.settings)
        place = _place(state, client, key, order)
        saved = await _unfinished(client, key, _Saved.load(place), order)
        packed, before = await _look(bench, order) if saved is None else (None, None)
        if order.dry_run:
            _tell_dry_run(order, packed)
            return None
        folder = state.folder("fix", None) / "shop"
        async with Shop.open(client, market, Coding(), key, folder, deposit=CHANNEL_DEPOSIT) as shop:
            if saved is None:
                assert packed is not None
                assert before is not None
                saved = await _commission(client, market, key, shop, place, order, packed, before)
            elif not saved.diff:
                saved = await _ask(client, shop, saved, order)
                if saved is None:
                    raise NoMinerError(
                        "The miner found no fix and gave the price back. Run the command again to ask others."
                    )
        return await _finish(client, key, bench, saved, order, before)


def _place(state: State, client: Client, key: Key, order: _Order) -> Path:
    """Where this errand is written down: one for each chain, wallet, repository and test."""
    chain = client.ledger.deployment.chain_id
    name = sha256(f"{chain} {key.address} {order.folder} {order.test}".encode()).hexdigest()[:24]
    return state.folder("fix", None) / f"{name}.json"


# looking


async def _look(bench: Bench, order: _Order) -> tuple[Packed, Report]:
    """The repository and how its tests fail.

    Raises:
        UsageError: it has no tests, they pass already, or they cannot be run.

    """
    packed = await asyncio.to_thread(pack_repository, order.folder, order.exclude)
    if packed.withheld:
        say(f"Stays at home: {', '.join(packed.withheld[:8])}{' ...' if len(packed.withheld) > 8 else ''}")
    words = _command(order.test)
    say(f"Running {order.test!r} on {len(packed.files) + len(packed.binary)} files in the sandbox ...")
    report = await bench.run_command(packed.files, packed.binary, words)
    if report.good:
        raise UsageError(f"The tests pass already: {order.test!r} succeeds here. There is nothing to fix.")
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


def _command(test: str) -> list[str]:
    try:
        words = shlex.split(test)
    except ValueError as error:
        raise UsageError(f"The test command {test!r} cannot be read: {error}.") from None
    if not words:
        raise UsageError('The test command is empty. Give one: --test "pytest -q"')
    return words


def _tell_dry_run(order: _Order, packed: Packed | None) -> None:
    if packed is None:
        say("Dry run: would go on with the job that is under way. Nothing was sent.")
        return
    say(
        f"Dry run: would send {len(packed.files) + len(packed.binary)} files, and put {order.price} aside. Nothing was sent."
    )


# agreeing


async def _commission(
    client: Client,
    market: MarketContract,
    key: Key,
    shop: Shop,
    place: Path,
    order: _Order,
    packed: Packed,
    before: Report,
) -> _Saved:
    """A miner's answer under a held job; the next miner when one gives the price back."""
    task = packed.task(order.test, before.words())
    asked: list[int] = []
    while len(asked) < _MINERS:
        quotes = shop.quotes({**task, "job": "0x" + "00" * 32}, asked)
        if not quotes:
            break
        saved = await _fund(client, market, key, place, order, task, quotes[0], again=bool(asked))
        asked.append(quotes[0].miner.uid)
        answered = await _ask(client, shop, saved, order)
        if answered is not None:
            return answered
        say(f"Miner {quotes[0].miner.uid} found no fix and gave the price back.")
    if not asked:
        raise NoMinerError("No miner of this market has told its price. Look at it with: tercet market show")
    raise NoMinerError(f"{len(asked)} miners were asked and found no fix. Your money is back.")


async def _fund(
    client: Client,
    market: MarketContract,
    key: Key,
    place: Path,
    order: _Order,
    task: Mapping[str, Any],
    quote: Quote,
    *,
    again: bool,
) -> _Saved:
    """Put the price aside for one miner."""
    ledger, miner = client.ledger, quote.miner
    what = (
        f"send {len(task['files']) + len(task['binary'])} files to miner {miner.uid} ({miner.operator}), and put {order.price} aside: "
        f"it is paid when {order.test!r} succeeds with the fix, or when you say nothing for {order.review} s after a delivery; "
        f"without one it comes back after {order.deliver} s"
    )
    if not again:
        confirm(what, yes=order.yes, dry_run=False)
    now = (await ledger.rpc.head()).timestamp
    terms = Job(
        key.address,
        miner.operator,
        market.address,
        ledger.credit.address,
        order.price.units,
        keccak(repository_work(task)),
        now + order.deliver,
        order.review,
        order.dispute,
        os.urandom(32),
    )
    identity = await ledger.jobs.id_of(terms)
    saved = _Saved(place, {**task, "job": f"0x{identity.hex()}"}, terms, miner.uid)
    saved.save()
    sender = client.sender(key)
    await ledger.credit.ensure_allowance(sender, ledger.jobs.address, terms.amount)
    await ledger.jobs.fund(sender, terms)
    say(f"Job 0x{identity.hex()}: {order.price} are put aside for miner {miner.uid}. It works now ...")
    return saved


async def _unfinished(client: Client, key: Key, saved: _Saved | None, order: _Order) -> _Saved | None:
    """The errand that an earlier command left, if there is something to go on with."""
    if saved is None:
        return None
    record = await client.ledger.jobs.record(saved.id)
    if record.state in {JobState.UNKNOWN, JobState.ENDED} and not saved.diff:
        saved.place.unlink()
        return None
    now = (await client.ledger.rpc.head()).timestamp
    if record.state is JobState.FUNDED and now > record.deadline and not order.dry_run:
        say(f"Nothing was delivered in time for the job {saved.task['job']}: taking {_money(saved)} back.")
        await client.ledger.jobs.refund(client.sender(key), saved.terms)
        saved.place.unlink()
        return None
    if record.state is JobState.ENDED:
        return saved  # paid for, and perhaps not written yet
    if not order.resume and not _is_as_sent(saved, order):
        raise UsageError(
            f"The job {saved.task['job']} is under way for this repository, which has changed since. Go on with what was sent: "
            f"--resume; or look at it: tercet job show {saved.task['job'][:12]}"
        )
    say(f"Going on with the job {saved.task['job']} ({record.state.name.lower()}).")
    return saved


def _is_as_sent(saved: _Saved, order: _Order) -> bool:
    sent = saved.task["files"]
    for path, text in sent.items():
        try:
            if (order.folder / path).read_bytes().decode(errors="replace") != text:
                return False
        except OSError:
            return False
    return True


# asking


async def _ask(client: Client, shop: Shop, saved: _Saved, order: _Order) -> _Saved | None:
    """The job's miner's fix, written down; None when the miner gave the price back.

    Raises:
        UnreachableError: it does not answer; the job goes on.

    """
    others = [quote.miner.uid for quote in shop.quotes(saved.task) if quote.miner.operator != saved.terms.worker]
    try:
        purchase = await shop.buy(
            saved.task,
            budget=CHANNEL_DEPOSIT,
            deadline_seconds=order.seconds,
            avoid=others,
            patience_seconds=order.seconds,
        )
    except TercetError as error:
        if await _is_over(client, saved):
            return None
        raise UnreachableError(
            f"Miner {saved.uid} gave no answer: {error} {_money(saved)} stay put aside in the job {saved.task['job']}. Run the same "
            f"command again to go on; after {_when(saved.terms.deliver_by)} it takes the money back."
        ) from error
    if await _is_over(client, saved):
        return None
    diff = Coding().delivery(purchase.pieces)
    record = await client.ledger.jobs.record(saved.id)
    if diff is None or record.result_hash != keccak(diff):
        shop.reject(purchase)
        raise UnreachableError(
            f"Miner {saved.uid} sent something else than it delivered for the job {saved.task['job']}. Dispute it with: "
            f"tercet job dispute {saved.task['job'][:12]}"
        )
    saved.diff = diff.decode()
    saved.save()
    return saved


async def _is_over(client: Client, saved: _Saved) -> bool:
    """Whether the miner gave the price back; forgets the errand then."""
    if (await client.ledger.jobs.record(saved.id)).state is not JobState.ENDED:
        return False
    saved.place.unlink(missing_ok=True)
    return True


# testing, paying, applying


async def _finish(client: Client, key: Key, bench: Bench, saved: _Saved, order: _Order, before: Report | None) -> _Done:
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
    return _Done(saved, report, state, applied, warnings)


async def _agree_to_pay(saved: _Saved, order: _Order) -> None:
    """Such a fix is paid only by somebody who has read it."""
    if not is_terminal() or order.yes:
        raise RefusedError(
            f"Nothing was paid and nothing written. The fix is in {str(_keep(saved))!r}; pay for it with: tercet job release "
            f"{saved.task['job'][:12]}, or dispute it with: tercet job dispute {saved.task['job'][:12]}"
        )
    click.echo(saved.diff, err=True)
    if not click.confirm(f"Pay {_money(saved)} for it?", err=True):
        raise RefusedError(f"Nothing was paid. Dispute it with: tercet job dispute {saved.task['job'][:12]}")


def _keep(saved: _Saved) -> Path:
    path = saved.place.with_suffix(".diff")
    path.write_text(saved.diff)
    return path


async def _release(client: Client, key: Key, saved: _Saved) -> JobState:
    """Pay; once, whatever an interrupted command did before."""
    jobs = client.ledger.jobs
    if (await jobs.record(saved.id)).state is JobState.DELIVERED:
        await jobs.release(client.sender(key), saved.terms, saved.terms.amount)
        say(f"Paid {_money(saved)} to {saved.terms.worker}.")
    return (await jobs.record(saved.id)).state


def _apply(
    order: _Order, before: Mapping[str, str], after: Mapping[str, str], kept: Path, *, careful: bool
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


async def _refuse(client: Client, saved: _Saved, report: Report, warnings: Sequence[str]) -> _Done:
    """A delivery that does not do: say what can be done about it. The money stays where it is."""
    record = await client.ledger.jobs.record(saved.id)
    job = saved.task["job"][:12]
    say(f"The tests do not pass with the fix of miner {saved.uid}: {report.words(5)}")
    if record.state is JobState.ENDED:
        saved.place.unlink(missing_ok=True)
        say(f"The job has ended: tercet job show {job}")
        return _Done(saved, report, record.state, [], warnings)
    say(
        f"Nothing was paid. Until {_when(record.deadline)} you can ask the market's validators (tercet job dispute {job}) or offer a part "
        f"(tercet job release {job} --amount CREDIT). If you do neither, the miner is paid then. The fix is in {str(_keep(saved))!r}."
    )
    return _Done(saved, report, record.state, [], warnings)


def _money(saved: _Saved) -> str:
    return str(Amount(saved.terms.amount, CREDIT))


def _when(seconds: int) -> str:
    return f"{time.strftime('%F %T', time.gmtime(seconds))} UTC"
