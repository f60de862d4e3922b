"""`tercet label`: have a CSV file or a folder of pictures labelled by a market's miners."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from tercet.cli.connection import open_market
from tercet.cli.frame import State, TercetCommand, pass_state
from tercet.cli.options import market_option, read_options, spending_options, state_option, wallet_option
from tercet.cli.output import confirm, print_json, say
from tercet.cli.unlock import unlock
from tercet.errors import BudgetError, NoMinerError, SubnetError, TercetError
from tercet.market import CREDIT, Amount, Price
from tercet.nodes.shop import Purchase, Quote, Shop
from tercet.subnets import least_price, load_mechanism
from tercet.subnets.labelling.answers import Flaw
from tercet.subnets.labelling.items import read_collection
from tercet.subnets.labelling.order import Order, Row, write_rows
from tercet.subnets.labelling.pay import PEOPLE_FLOOR, check_floor, parse_rate, price_of_rate, rate_of_price
from tercet.subnets.labelling.tasks import task_limit

__all__ = ["command"]

MECHANISM = "tercet.subnets.labelling:Labelling"
SCHEMA = {
    "out": "the file with the result",
    "items": "in the input",
    "given": "of them that were labelled already",
    "labelled": "that have a label now, those given included",
    "missing": "that have none yet: run the same command again",
    "charged": "for this order so far, credit units as text, earlier runs included",
    "miners[].operator": "whose answers came",
    "miners[].accuracy": "the share that it gets right, as gold and the others make it; no miners are listed without gold",
    "miners[].left_out": "why its answers do not count; empty when they do",
}
_IN_FLIGHT = 3
_SILENCE_SECONDS = 45.0
"""After so long without a word a miner is given up; people behind a page are heard of more often."""


@dataclass(frozen=True, slots=True)
class _Terms:
    """What is bought, and for how much."""

    redundancy: int
    budget: int
    rate: int
    """Units an hour of estimated work at which a miner is too dear; 0 is none."""
    seconds: float


@dataclass(slots=True)
class _Run:
    """One run: what it may spend, and why it ended."""

    order: Order
    shop: Shop
    terms: _Terms
    floor: int = 0
    """Credit units for an hour of estimated work that nobody is offered less than."""
    reserved: int = 0
    spurned: set[int] = field(default_factory=set)
    """Uids that answered nonsense."""
    stopped: TercetError | None = None
    """Why not all was bought."""

    @property
    def left(self) -> int:
        """Units that are neither spent nor at risk."""
        return self.terms.budget - self.reserved - self.shop.spent


@click.command(
    "label",
    cls=TercetCommand,
    examples=(
        "tercet label reviews.csv --labels positive,negative --budget 2",
        "tercet label photos/ --question 'Which animal is it?' --redundancy 5 --budget 10 --out animals.json",
    ),
    schema=SCHEMA,
)
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--labels", default="", metavar="A,B,C", help="To choose from (default: those that FILE has already).")
@click.option("--question", default="", help="That is asked of each item.")
@click.option(
    "--redundancy", default=3, show_default=True, type=click.IntRange(1, 64), help="Miners to ask for each item."
)
@click.option("--budget", default="1", show_default=True, metavar="CREDIT", help="The most that this run may spend.")
@click.option("--rate", metavar="CREDIT", help="Pass over miners that ask more for an hour of estimated work.")
@click.option("--floor", default="0", metavar="CREDIT", help="The market's pay floor for such an hour.")
@click.option("--batch", default=100, show_default=True, type=click.IntRange(2, 256), help="Items in a request.")
@click.option(
    "--wait",
    default=1000.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a batch may take; people have 900 unless their miner says otherwise.",
)
@click.option("--deposit", default="1", show_default=True, metavar="CREDIT", help="Put into each miner's channel.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The result, .csv or .json (default: FILE.labelled.csv).",
)
@spending_options
@state_option("label")
@market_option
@wallet_option
@pass_state
def command(
    state: State, /, *, file: Path, labels: str, question: str, redundancy: int, budget: str, rate: str | None, floor: str, batch: int,
    wait: float, deposit: str, out: Path | None, yes: bool, dry_run: bool, folder: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Have each item of FILE labelled by several miners, and write label, confidence and voices of each.

    FILE is a CSV file (columns text, and perhaps id and label) or a folder of PNG and JPEG pictures. Rows that have a
    label already, and pictures in folders named like labels, measure the miners. What was bought is kept beside the
    result: when money or miners run out, the same command goes on where it was.
    """
    mechanism = load_mechanism(MECHANISM, **read_options(None, [f"floor={floor}"]))
    ceiling = 0 if rate is None else parse_rate(rate)
    if rate is not None:
        check_floor(price_of_rate(ceiling), parse_rate(floor))
    target = out or file.with_name(file.name + ".labelled.csv")
    collection = read_collection(file, classes=labels.split(",") if labels else (), question=question)
    order = Order(collection, target.with_name(target.name + ".votes.jsonl"), batch=batch)
    terms = _Terms(redundancy, Amount.parse(budget, CREDIT).units, ceiling, wait)
    units, place, settings = Amount.parse(deposit, CREDIT).units, state.folder("label", folder), state.settings

    async def buy() -> TercetError | None:
        async with (
            open_market(settings, mechanism.name) as (client, market),
            Shop.open(client, market, mechanism, unlock(settings), place, deposit=units) as shop,
        ):
            run = _Run(order, shop, terms, parse_rate(floor))
            if not confirm(_describe(run, least_price(mechanism)), yes=yes, dry_run=dry_run):
                return None
            try:
                await _buy_all(run)
            except BaseException:
                write_rows(target, order.results()[0])
                raise
            _finish(order, target, as_json=as_json)
            return run.stopped

    if not _open_batches(order, redundancy):  # all has been bought before
        _finish(order, target, as_json=as_json)
    elif (stopped := asyncio.run(buy())) is not None:
        raise stopped


def _open_batches(order: Order, redundancy: int) -> list[int]:
    return [number for number in range(order.count) if len(order.voices(number)) < redundancy]


def _describe(run: _Run, floor: Price) -> str:
    """What is going to be bought, for how much; refuses what cannot be had for the budget."""
    order, terms = run.order, run.terms
    numbers = _open_batches(order, terms.redundancy)
    costs, seconds = [], 0
    for number in numbers:
        task = order.task(number)
        costs.append(_expected(run, number, _quotes(run, number, run.shop.quotes(task, avoid=run.spurned))))
        seconds += task_limit(task).prompt
    hours = seconds / 3600
    cost = Amount(sum(costs), CREDIT)
    if terms.budget < min(costs):
        raise BudgetError(
            f"The first batch costs {Amount(min(costs), CREDIT)}, the budget is {Amount(terms.budget, CREDIT)}. Raise --budget, or make --batch smaller."
        )
    least = f", at {Amount(rate_of_price(floor), CREDIT)} an hour at the least" if floor.prompt_per_1k else ""
    return (
        f"buy {terms.redundancy} voices on {len(numbers)} batches ({hours:.2f} hours of estimated work each time{least}) "
        f"for about {cost}, at most {Amount(terms.budget, CREDIT)}"
    )


def _quotes(run: _Run, number: int, offered: Sequence[Quote]) -> list[Quote]:
    """Who may still be asked about a batch, of all that offer to."""
    have, terms = run.order.voices(number), run.terms
    dearest = price_of_rate(terms.rate).prompt_per_1k
    return [
        quote
        for quote in offered
        if quote.miner.operator not in have and not (terms.rate and quote.price.prompt_per_1k > dearest)
    ]


def _expected(run: _Run, number: int, quotes: Sequence[Quote]) -> int:
    """What the voices that a batch lacks cost; raises `NoMinerError` when nobody is there."""
    lacking = run.terms.redundancy - len(run.order.voices(number))
    if not quotes:
        dear = " at this --rate" if run.terms.rate else ""
        raise NoMinerError(f"No further miner labels this{dear}. Come back later; what was bought is kept.")
    return sum(sorted(quote.most for quote in quotes)[:lacking])


async def _buy_all(run: _Run) -> None:
    """Batch after batch, some at a time, until all is bought or something ran out."""
    turns = asyncio.Semaphore(_IN_FLIGHT)

    async def one(number: int) -> None:
        async with turns:
            if run.stopped is None:
                try:
                    await _buy(run, number)
                except (BudgetError, NoMinerError, SubnetError) as error:
                    run.stopped = run.stopped or name_the_floor(error, run.floor)

    await asyncio.gather(*(one(number) for number in _open_batches(run.order, run.terms.redundancy)))


def name_the_floor(error: TercetError, floor: int) -> TercetError:
    """Who is refused for its price offered a new miner less than the pay floor, which the buyer has to name."""
    if not isinstance(error, NoMinerError) or "price_too_low" not in error.refusals:
        return error
    named = f"is above the {Amount(floor, CREDIT)} that --floor names" if floor else "has to be named"
    return NoMinerError(
        f"New miners of this market work for no less than its pay floor, which {named}: run it again with --floor CREDIT, "
        f"the floor that the market's owner tells; where people label it is {PEOPLE_FLOOR} unless told otherwise. ({error})"
    )


async def _buy(run: _Run, number: int) -> None:
    """The voices that a batch lacks."""
    order, terms = run.order, run.terms
    task, lacking = order.task(number), terms.redundancy - len(order.voices(number))
    offered = run.shop.quotes(task, avoid=run.spurned)
    quotes = _quotes(run, number, offered)
    cheapest = _expected(run, number, quotes)
    reserve = min(run.left, max(cheapest, sum(sorted(quote.most for quote in quotes)[-lacking:])))
    spent = BudgetError(
        f"The budget of {Amount(terms.budget, CREDIT)} is spent, or at risk, before all was bought. Run the same command again to go on."
    )
    if reserve < min(quote.most for quote in quotes):
        raise spent
    welcome = {quote.miner.uid for quote in quotes}
    avoid = {quote.miner.uid for quote in offered} - welcome | run.spurned
    run.reserved += reserve
    try:
        purchases = await run.shop.buy_many(
            task,
            lacking,
            budget=reserve,
            deadline_seconds=terms.seconds,
            avoid=avoid,
            patience_seconds=_SILENCE_SECONDS,
        )
    finally:
        run.reserved -= reserve
    _take_in(run, number, purchases)
    if len(purchases) < lacking:
        say(f"Batch {number + 1} of {order.count}: {len(purchases)} voices, {lacking} were wanted.")
        few = NoMinerError("Too few miners answered. Run the same command again to go on; what was bought is kept.")
        run.stopped = run.stopped or (spent if reserve < cheapest else few)
    else:
        say(f"Batch {number + 1} of {order.count}: {terms.redundancy} voices.")


def _take_in(run: _Run, number: int, purchases: Sequence[Purchase]) -> None:
    for purchase in purchases:
        try:
            run.order.add(number, purchase.operator, purchase.pieces, purchase.charged)
        except Flaw as flaw:
            say(f"Miner {purchase.uid} answered nonsense: {flaw}.")
            run.spurned.add(purchase.uid)
            run.shop.reject(purchase)


def _finish(order: Order, target: Path, *, as_json: bool) -> None:
    """Write the result, and say what came of it."""
    rows, findings = order.results()
    write_rows(target, rows)
    summary = _summary(order, rows, target)
    if as_json:
        miners = [
            {
                "operator": operator,
                "accuracy": round(finding.measures.get("accuracy", 0.0), 4),
                "left_out": finding.reason if finding.fault else "",
            }
            for operator, finding in findings.items()
        ]
        print_json({**summary, "miners": miners})
        return
    for operator, finding in findings.items():
        if finding.fault:
            say(f"Left out {operator}: {finding.reason}.")
    click.echo(
        f"{summary['labelled']} of {summary['items']} items have a label, for {Amount(order.charged, CREDIT)}: {target}"
    )


def _summary(order: Order, rows: Sequence[Row], target: Path) -> Mapping[str, Any]:
    return {
        "out": str(target),
        "items": len(rows),
        "given": sum(row.source == "given" for row in rows),
        "labelled": sum(row.source != "missing" for row in rows),
        "missing": sum(row.source == "missing" for row in rows),
        "charged": str(order.charged),
    }
