"""`tercet fix` on the command line.

The order is: look (do they fail?), put the price aside, ask, test what comes, show it, pay, apply. What was agreed and what
came is in a file before the next step, so that the same command goes on where an interrupted one was.
"""

from __future__ import annotations

import asyncio
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import click

from tercet.chain.keys import Key
from tercet.cli.connection import open_market
from tercet.cli.fix.commission import ask, commission, find_unfinished
from tercet.cli.fix.errand import CHANNEL_DEPOSIT, Done, Order, Saved
from tercet.cli.fix.looking import look, tell_dry_run
from tercet.cli.fix.settlement import finish
from tercet.cli.frame import State, TercetCommand, pass_state
from tercet.cli.options import dispute_options, market_option, spending_options, wallet_option
from tercet.cli.output import print_json
from tercet.cli.plain import visible
from tercet.cli.unlock import unlock
from tercet.client import Client
from tercet.errors import NoMinerError
from tercet.market import CREDIT, Amount
from tercet.nodes.shop import Shop
from tercet.subnets.coding import Bench, Coding
from tercet.subnets.kit import Sandbox

__all__ = ["SCHEMA", "command"]

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
@dispute_options
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
    order = Order(Path(path).resolve(), test, Amount.parse(budget, CREDIT), exclude, yes=yes, dry_run=dry_run, **more)
    done = asyncio.run(_fix(state, order))
    if done is None:
        return
    if as_json:
        print_json(done.row())
    else:
        click.echo(visible(done.saved.diff, kept="\n\t") if sys.stdout.isatty() else done.saved.diff, nl=False)
    if not done.report.good:
        click.get_current_context().exit(1)


async def _fix(state: State, order: Order) -> Done | None:
    bench = Bench(await asyncio.to_thread(Sandbox.find, python_packages=("pytest",)))
    async with open_market(state.settings, Coding.name) as (client, market):
        key = unlock(state.settings)
        place = _place(state, client, key, order)
        saved = await find_unfinished(client, key, Saved.load(place), order)
        packed, before = await look(bench, order) if saved is None else (None, None)
        if order.dry_run:
            tell_dry_run(order, packed)
            return None
        folder = state.folder("fix", None) / "shop"
        async with Shop.open(client, market, Coding(), key, folder, deposit=CHANNEL_DEPOSIT) as shop:
            if saved is None:
                assert packed is not None
                assert before is not None
                saved = await commission(client, market, key, shop, place, order, packed, before)
            elif not saved.diff:
                saved = await ask(client, shop, saved, order)
                if saved is None:
                    raise NoMinerError(
                        "The miner found no fix and gave the price back. Run the command again to ask others."
                    )
        return await finish(client, key, bench, saved, order, before)


def _place(state: State, client: Client, key: Key, order: Order) -> Path:
    """Where this errand is written down: one for each chain, wallet, repository and test."""
    chain = client.ledger.deployment.chain_id
    name = sha256(f"{chain} {key.address} {order.folder} {order.test}".encode()).hexdigest()[:24]
    return state.folder("fix", None) / f"{name}.json"
