"""The fair's result: a table on stdout, and one HTML file."""

from __future__ import annotations

import click

from tercet.cli.demo.fair.record import FairRecord
from tercet.cli.demo.table import print_books
from tercet.cli.output import print_table
from tercet.cli.report import build_environment
from tercet.cli.report.charts import Series, draw_bars, draw_curve
from tercet.cli.report.page import format_units
from tercet.market import CREDIT, STAKE

__all__ = ["print_fair", "render_fair"]

COLUMNS = ("market", "miner", "good", "units", "unit", "quality", "credit", "TCT", "TCT/unit")


def print_fair(record: FairRecord, *, colour: bool) -> None:
    """The table, what came of each market, the books and the report's path."""
    rows = [
        [
            market.subnet,
            miner.name if miner.kind == "honest" else f"{miner.name} ({miner.kind})",
            f"{miner.good} of {miner.answers}",
            _short(miner.units),
            market.unit,
            f"{miner.quality:.2f}",
            format_units(miner.earned.credit, CREDIT),
            format_units(miner.earned.stake, STAKE, 3),
            _each((miner.earned.stake, miner.units)),
        ]
        for market in record.markets
        for miner in market.miners
    ]
    print_table(COLUMNS, rows, "")
    click.echo()
    for market in record.markets:
        click.echo(f"{market.subnet}: {market.told}.")
        for miner in market.miners:
            if miner.why:
                click.echo(f"  {miner.name} {miner.story}: {miner.why}.")
    click.echo()
    print_books(record.books, colour=colour)
    click.echo(f"Report: {record.report}")


def render_fair(record: FairRecord) -> str:
    """The page; every text in it is escaped."""
    environment = build_environment()
    environment.filters["short"] = _short
    environment.filters["each"] = _each
    cheats = [miner.share for market in record.markets for miner in market.miners if miner.kind == "cheat"]
    return environment.get_template("fair.html.j2").render(
        record=record,
        answers=sum(miner.answers for market in record.markets for miner in market.miners),
        cheats=max(cheats, default=0.0),
        curves=[
            draw_curve(f"{market.subnet}: held-out loss", "nats a byte, by round", market.losses, f"s{place % 8 + 1}")
            for place, market in enumerate(record.markets)
            if market.losses
        ],
        pictures=[
            draw_bars(
                market.subnet,
                market.unit,
                [f"epoch {number + 1}" for number in range(len(market.units))],
                [Series("all miners", f"s{place % 8 + 1}", market.units)],
            )
            for place, market in enumerate(record.markets)
        ],
    )


def _short(value: float) -> str:
    """Three or four digits that matter."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _each(pair: tuple[int, float]) -> str:
    """Stake token for one unit."""
    units, count = pair
    return _short(units / 10**STAKE.decimals / count) if count else "-"
