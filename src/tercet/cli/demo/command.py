"""The command `tercet demo`: options, the folder of a run, the table, the report."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import click

from tercet import __version__
from tercet.chain.market import MarketContract
from tercet.cli.demo.agents import build_agents_record
from tercet.cli.demo.books import ChannelAccount, audit, name_holders
from tercet.cli.demo.cast import CAST, PACES, measure_crowding, smaller_than
from tercet.cli.demo.director import Director, Play
from tercet.cli.demo.fair import Fair, FairRecord, print_fair, render_fair
from tercet.cli.demo.outcome import Outcome, build_outcome
from tercet.cli.demo.progress import Progress
from tercet.cli.demo.table import print_record
from tercet.cli.frame import State, TercetCommand, pass_state
from tercet.cli.model import pull_progress
from tercet.cli.output import say
from tercet.cli.processes import Crew, stop_recorded
from tercet.cli.record import Books, Record
from tercet.cli.report import render_report
from tercet.cli.stage import Stage
from tercet.client import Client
from tercet.errors import UsageError
from tercet.subnets.inference.hub import find_model
from tercet.subnets.inference.rogues import served_by_liar

__all__ = ["command"]

BUSY = 1.15
"""From this crowding on the epochs are stretched."""


@click.command(
    "demo",
    cls=TercetCommand,
    examples=("tercet demo --model smol --json", "tercet demo --all"),
    schema={
        "format": "tercet-demo/1",
        "version": "of Tercet",
        "started": "ISO 8601, UTC",
        "seconds": "from the command to the table",
        "set_up_seconds": "of these, until the first request",
        "model": "what the market promises",
        "served_by_liar": "what the liar serves instead",
        "cores": "of this machine",
        "chain_id": "of the development chain",
        "market": "address of the market",
        "miners[].*": "name, uid, owner, kind, story, requests, answered, tokens, quality, first_seconds, seconds, weight, consensus, earned, per_request, ratio (credit, stake: over the honest miners' mean), why",
        "validators[].*": "name, vid, owner, challenges, spent (credit units), earned",
        "epochs[].*": "number, seconds, consensus, weights by validator, stake and credit by name, returned",
        "requests[].*": "at, miner, status, stream, attempts, tokens, charged, first_seconds, seconds",
        "latencies.*": "by miner: pairs of seconds to the first piece and to the whole answer",
        "books.*": "accounts and flows; all money is text, in base units",
        "agents.*": "run, goal, status, seconds, budget, spent, returned, tasks and calls of the agents that bought here: each call with its receipt, miner, and what that miner earned and redeemed; null without a sandbox",
        "balanced": "whether every flow adds up; the exit code is 1 when not",
        "folder": "logs, verdicts, wallets and the chain of this run",
        "report": "path of the HTML report",
    },
)
@click.option(
    "--model", type=click.Choice(list(PACES)), default="small", show_default=True, help="What the market promises."
)
@click.option("--epochs", type=click.IntRange(min=3), default=3, show_default=True, help="How many to run.")
@click.option("--dir", "folder", metavar="DIR", help="Where this run is kept (default: a new one under home/demo).")
@click.option("--all", "everything", is_flag=True, help="Every competition side by side instead; takes some minutes.")
@click.option("--keep", is_flag=True, help="Leave the market running.")
@click.option("--stop", metavar="DIR", help="Stop a market that --keep left running there.")
@pass_state
def command(
    state: State,
    model: str,
    epochs: int,
    folder: str | None,
    everything: bool,
    keep: bool,
    stop: str | None,
    as_json: bool,
) -> None:
    """Run a whole market on this machine: real models, real payments, three validators, five miners, two of them cheats.

    Progress goes to stderr, the table (or with --json one object) to stdout, and an HTML report to the run's folder.
    """
    if stop is not None:
        stopped = asyncio.run(stop_recorded(Path(stop) / "logs"))
        say(f"Stopped: {', '.join(stopped)}." if stopped else f"Nothing of {stop} was running.")
        return
    settings = state.settings
    started = datetime.now(UTC)
    place = Path(folder).expanduser() if folder else settings.home / "demo" / started.strftime("%Y-%m-%dT%H-%M-%S")
    models = settings.path("models")
    os.environ["TERCET_MODELS"] = str(models)
    if everything:
        if keep:
            raise UsageError("The fair leaves nothing running. Leave out --keep, or --all.")
        _run_fair(state, epochs, place.absolute(), models, started, as_json=as_json)
        return
    with Progress(colour=state.colour) as progress:
        find_model(model, models, pull_progress(model))
        served_by_liar(model, models, pull_progress("the liar's"))
        stage = Stage(place.absolute(), models, Crew(place.absolute() / "logs", survives=keep))
        crowding = measure_crowding()
        if crowding > BUSY:
            progress.say(f"This machine is busy: everything gets {crowding:.1f} times as long.")
        pace = PACES[model].stretched(crowding if crowding > BUSY else 1.0)
        director = Director(model, epochs, stage, progress, pace, keep)
        record, play = asyncio.run(_run(director, started))
    _keep(record, place / "demo.json", render_report(record))
    if as_json:
        click.echo(record.model_dump_json(indent=1))
    else:
        print_record(record, colour=state.colour)
    if keep:
        say(f"Still running: base_url {play.base_url}/v1, key {play.api_key}. Stop it with: tercet demo --stop {place}")
    click.get_current_context().exit(0 if record.balanced else 1)


def _keep(record: Record | FairRecord, path: Path, page: str) -> None:
    """Leave the record and its page in the run's folder."""
    path.write_text(record.model_dump_json(indent=1))
    Path(record.report).write_text(page)


def _run_fair(state: State, epochs: int, place: Path, models: Path, started: datetime, *, as_json: bool) -> None:
    """Every competition on this machine, and what it came to."""
    with Progress(colour=state.colour) as progress:
        fair = Fair(epochs, Stage(place, models, Crew(place / "logs")), progress)
        fair.check()
        find_model("smol", models, pull_progress("smol"))
        record = asyncio.run(_hold_fair(fair, started))
    _keep(record, place / "fair.json", render_fair(record))
    if as_json:
        click.echo(record.model_dump_json(indent=1))
    else:
        print_fair(record, colour=state.colour)
    click.get_current_context().exit(0 if record.balanced else 1)


def _end_on_sigterm() -> None:
    """Let SIGTERM end this task as Ctrl-C does, so that nothing is left running."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


async def _hold_fair(fair: Fair, started: datetime) -> FairRecord:
    _end_on_sigterm()
    return await fair.run(started.isoformat(timespec="seconds"))


async def _run(director: Director, started: datetime) -> tuple[Record, Play]:
    """Perform, and leave nothing running unless that was asked for and went well."""
    crew, kept = director.stage.crew, False
    _end_on_sigterm()
    try:
        async with director.open() as (client, market):
            play = await director.perform(client, market)
            if not director.keep:
                await director.dismiss(client, market)
            record = await _write_down(director, client, market, play, started)
        kept = director.keep
        return record, play
    finally:
        if not kept:
            await crew.stop_all(seconds=10)
            crew.kill_all()


async def _write_down(
    director: Director, client: Client, market: MarketContract, play: Play, started: datetime
) -> Record:
    keys = director.stage.keys
    owners = {name: key.address for name, key in keys.items()}
    accounts = await director.accounts(client)
    charged = _by_miner(accounts, "earned")
    stories = {actor.name: director.story(actor) for actor in CAST}
    outcome = build_outcome(play, stories, owners, charged)
    books = await audit(client, [market], await name_holders(client, director.stage, [market]), accounts)
    record = _build_record(director, play, outcome, books, client.ledger.deployment.chain_id, started)
    if play.agents is None:
        return record
    names = {uid: name for name, uid in play.uids.items()}
    agents = build_agents_record(play.agents, names, charged, _by_miner(accounts, "redeemed"))
    return record.model_copy(update={"agents": agents})


def _by_miner(accounts: Sequence[ChannelAccount], what: Literal["earned", "redeemed"]) -> dict[str, int]:
    """Credit units of all of a miner's channels."""
    found: dict[str, int] = {}
    for account in accounts:
        found[account.miner] = found.get(account.miner, 0) + (account.earned if what == "earned" else account.redeemed)
    return found


def _build_record(
    director: Director, play: Play, outcome: Outcome, books: Books, chain_id: int, started: datetime
) -> Record:
    home = director.stage.home
    return Record(
        version=__version__,
        started=started.isoformat(timespec="seconds"),
        seconds=director.progress.seconds,
        set_up_seconds=play.set_up_seconds,
        model=play.model,
        served_by_liar=smaller_than(play.model),
        cores=os.cpu_count() or 1,
        chain_id=chain_id,
        market=play.market.address,
        miners=outcome.miners,
        validators=outcome.validators,
        epochs=outcome.epochs,
        requests=outcome.requests,
        latencies=outcome.latencies,
        books=books,
        balanced=books.balanced,
        folder=str(home),
        report=str(home / "report.html"),
    )
