"""From a record to one HTML file."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tercet.cli.record import EpochRecord, Record
from tercet.cli.report.charts import Series, draw_bars, draw_latency, draw_weights
from tercet.market import CREDIT, STAKE, Amount, Token

__all__ = ["build_environment", "format_units", "render_report"]

FULL = 65_535


def format_units(units: int, token: Token, decimals: int = 6) -> str:
    """A short decimal for people: `units` rounded down to `decimals` places, without the token's name."""
    shown = min(decimals, token.decimals)
    whole = units // 10 ** (token.decimals - shown)
    return str(Amount(whole, Token("", shown))).strip()


def build_environment() -> Environment:
    """The templates of this folder, with filters for money; every text is escaped."""
    environment = Environment(
        loader=PackageLoader("tercet.cli.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["credit"] = lambda units: format_units(units, CREDIT)
    environment.filters["stake"] = lambda units: format_units(units, STAKE, 3)
    environment.filters["exact"] = lambda flow: str(Amount(flow[0], CREDIT if flow[1] == "credit" else STAKE))
    return environment


def render_report(record: Record) -> str:
    """The page of one market's demo."""
    page = build_environment().get_template("report.html.j2")
    return page.render(
        record=record,
        colours=_colours(record),
        earnings=_earnings(record),
        weights=_weights(record),
        latency=_latency(record),
    )


def _colours(record: Record) -> dict[str, str]:
    return {miner.name: f"s{i + 1}" for i, miner in enumerate(record.miners)}


def _earnings(record: Record) -> Sequence[Markup]:
    columns = [f"epoch {epoch.number}" for epoch in record.epochs]
    credit = [
        Series(name, colour, [float(e.credit.get(name, 0)) / 10**CREDIT.decimals for e in record.epochs])
        for name, colour in _colours(record).items()
    ]
    stake = [
        Series(name, colour, [float(e.stake.get(name, 0)) / 10**STAKE.decimals for e in record.epochs])
        for name, colour in _colours(record).items()
    ]
    return [
        draw_bars("Paid by buyers", CREDIT.symbol, columns, credit),
        draw_bars("Paid by the epoch", STAKE.symbol, columns, stake),
    ]


def _weights(record: Record) -> Sequence[Markup]:
    columns = [miner.name for miner in record.miners] + ["unspent"]
    panels = [
        draw_weights(
            f"{validator.name} gave (%)",
            columns,
            {f"epoch {e.number}": _row(e, validator.name, columns) for e in record.epochs},
        )
        for validator in record.validators
    ]
    agreed = {f"epoch {e.number}": [e.consensus.get(column, 0) / FULL for column in columns] for e in record.epochs}
    return [*panels, draw_weights("Consensus (%)", columns, agreed)]


def _row(epoch: EpochRecord, validator: str, columns: Sequence[str]) -> Sequence[float | None]:
    row = epoch.weights.get(validator)
    return [None if row is None else row.get(column, 0.0) for column in columns]


def _latency(record: Record) -> Sequence[Markup]:
    return [
        draw_latency(
            title,
            [Series(n, c, [pair[i] for pair in record.latencies.get(n, [])]) for n, c in _colours(record).items()],
        )
        for i, title in enumerate(("To the first piece", "To the whole answer"))
    ]
