"""The demo's result on stdout: who earned what and why, and whether the books balance."""

from __future__ import annotations

import click

from tercet.cli.output import print_table
from tercet.cli.record import AgentsRecord, Books, Flow, MinerRecord, Record
from tercet.cli.report.page import format_units
from tercet.market import CREDIT, STAKE, Amount

__all__ = ["print_books", "print_record"]

COLUMNS = (
    "miner", "requests", "tokens", "quality", "first s", "answer s", "weight", "consensus", "credit", "TCT",
    "credit/req", "TCT/req",
)  # fmt: skip


def print_record(record: Record, *, colour: bool) -> None:
    """The table, the reasons, the books and the report's path."""
    print_table(COLUMNS, [_row(miner) for miner in record.miners], "")
    click.echo()
    for miner in record.miners:
        if miner.why:
            click.echo(f"{miner.name} {miner.story}. {miner.why}.")
    click.echo(f"\n{len(record.requests)} paid requests, {len(record.epochs)} epochs, {record.seconds:.0f} s.")
    if record.agents is not None:
        _print_agents(record.agents)
    print_books(record.books, colour=colour)
    click.echo(f"Report: {record.report}")


def _print_agents(agents: AgentsRecord) -> None:
    """Goal, tasks, and whom the answers were bought from."""
    spent = Amount(agents.spent, CREDIT)
    click.echo(f"\n{agents.goal}: {agents.status}, {len(agents.calls)} answers for {spent}, {agents.seconds:.0f} s.")
    for task in agents.tasks:
        bought = ", ".join(dict.fromkeys(call.miner or "nobody" for call in agents.calls if call.task == task.id))
        words = f" {task.text!r}" if task.text else ""
        click.echo(f"  {task.id} by {task.agent}: {task.state}.{words}" + (f" Bought from {bought}." if bought else ""))
    click.echo("")


def print_books(books: Books, *, colour: bool) -> None:
    """What is off, and whether anything is."""
    for flow in books.flows:
        if not flow.balanced:
            click.echo(f"OFF: {flow.name}: {_amount(flow, flow.left)} against {_amount(flow, flow.right)}.")
    words, tint = (
        ("The books balance to the last unit", "green") if books.balanced else ("THE BOOKS DO NOT BALANCE", "red")
    )
    count = f"{sum(flow.balanced for flow in books.flows)} of {len(books.flows)} sums agree"
    supply = ", ".join(_amount(flow, flow.right) for flow in books.flows if flow.name == "all balances = the supply")
    click.secho(f"{words}: {count}; {supply} in all.", fg=tint if colour else None)


def _amount(flow: Flow, units: int) -> str:
    return str(Amount(units, CREDIT if flow.unit == "credit" else STAKE))


def _row(miner: MinerRecord) -> list[str]:
    def seconds(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    served = str(miner.answered) if miner.answered == miner.requests else f"{miner.answered}/{miner.requests}"
    return [
        miner.name,
        served,
        str(miner.tokens),
        f"{miner.quality:.2f}",
        seconds(miner.first_seconds),
        seconds(miner.seconds),
        f"{100 * miner.weight:.1f}%",
        str(miner.consensus),
        format_units(miner.earned.credit, CREDIT),
        format_units(miner.earned.stake, STAKE, 3),
        f"{100 * miner.ratio[0]:.1f}%",
        f"{100 * miner.ratio[1]:.1f}%",
    ]
