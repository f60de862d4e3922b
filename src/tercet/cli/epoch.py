"""`tercet epoch`: look at epochs, close them, replay published vectors."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from tercet.chain.closing import close_epoch
from tercet.cli.connection import open_market
from tercet.cli.frame import State, group, pass_state
from tercet.cli.market import status_row
from tercet.cli.money import reward_unit
from tercet.cli.options import market_option, wallet_option
from tercet.cli.output import print_json, print_table, say
from tercet.cli.plain import printable
from tercet.cli.settings import Settings
from tercet.cli.unlock import unlock
from tercet.client import ClosedEpoch
from tercet.market import Amount
from tercet.market.replay import CaseReport, ReplayReport, replay_file

__all__ = ["command"]

SHOWN_MISMATCHES = 5


@group("epoch", examples=("tercet epoch show --market inference", "tercet epoch replay vectors/yuma.json"))
def command() -> None:
    """Look at epochs, close them, replay published vectors."""


@command.command(
    "replay",
    examples=("tercet epoch replay yuma.json", "tercet epoch replay yuma.json --json"),
    schema={
        "path": "the file",
        "source": "where its vectors come from",
        "asserted": "values that the source asserts",
        "matched": "how many of them came out",
        "mentioned": "values that the source mentions without asserting them",
        "mentioned_matched": "how many of those came out",
        "ok": "whether every asserted value came out",
        "cases[].name": "the case",
        "cases[].asserted": "as above, for this case",
        "cases[].matched": "as above, for this case",
        "cases[].mentioned": "as above, for this case",
        "cases[].mentioned_matched": "as above, for this case",
        "cases[].mismatches[].where": "step and place",
        "cases[].mismatches[].expected": "the asserted value",
        "cases[].mismatches[].got": "what came out",
    },
)
@click.argument("file", metavar="FILE")
def replay(file: str, as_json: bool) -> None:
    """Run the epochs of a vectors file (tercet-yuma-vectors/1) and compare every asserted value.

    Exits with 1 when a value differs, with 2 when the file is refused.
    """
    report = replay_file(file)
    if as_json:
        print_json(_replay_json(report))
    else:
        _print_replay(report)
    click.get_current_context().exit(0 if report.ok else 1)


def _replay_json(report: ReplayReport) -> dict[str, object]:
    return {
        "path": report.path,
        "source": report.source,
        "asserted": report.asserted,
        "matched": report.matched,
        "mentioned": report.mentioned,
        "mentioned_matched": report.mentioned_matched,
        "ok": report.ok,
        "cases": [_case_json(case) for case in report.cases],
    }


def _case_json(case: CaseReport) -> dict[str, object]:
    return {
        "name": case.name,
        "asserted": case.asserted,
        "matched": case.matched,
        "mentioned": case.mentioned,
        "mentioned_matched": case.mentioned_matched,
        "mismatches": [{"where": m.where, "expected": m.expected, "got": m.got} for m in case.mismatches],
    }


def _print_replay(report: ReplayReport) -> None:
    rows = [
        [
            c.name,
            c.asserted,
            c.matched,
            c.mentioned,
            c.mentioned_matched,
            "ok" if c.matched == c.asserted else "DIFFERS",
        ]
        for c in report.cases
    ]
    print_table(["case", "asserted", "match", "mentioned", "match", ""], rows, "The file has no cases.")
    for case in report.cases:
        for mismatch in case.mismatches[:SHOWN_MISMATCHES]:
            say(f"{case.name}, {mismatch.where}: expected {mismatch.expected}, got {mismatch.got}")
        if len(case.mismatches) > SHOWN_MISMATCHES:
            say(f"{case.name}: and {len(case.mismatches) - SHOWN_MISMATCHES} more")
    click.echo(f"{report.matched} of {report.asserted} asserted values match exactly.")


@command.command(
    "show",
    examples=("tercet epoch show --market inference", "tercet epoch show --market inference --last 1 --json"),
    schema={
        "now.*": "the running epoch, as in `tercet market show`",
        "closed[].epoch": "number",
        "closed[].block": "in which it was closed",
        "closed[].reward": "base units of the token it pays in, as text, as are all amounts here",
        "closed[].to_miners": "paid to miners",
        "closed[].to_validators": "paid to validators",
        "closed[].pokes": "paid to whoever closed it",
        "closed[].refunded": "went back to the sponsors",
        "closed[].emission": "on top, stake token",
        "closed[].burned": "of the emission: earned by nobody",
        "closed[].consensus.*": "by uid (0 is unspent): agreed weight, 0 to 65535; zeros left out",
        "closed[].miners.*": "by uid: reward",
        "closed[].validators.*": "by vid: reward",
    },
)
@click.option("--last", default=5, show_default=True, help="Only the newest so many closed epochs.")
@market_option
@pass_state
def show(state: State, last: int, as_json: bool) -> None:
    """The running epoch, and what the last closed ones agreed on and paid."""
    asyncio.run(_show(state.settings, last, as_json))


async def _show(settings: Settings, last: int, as_json: bool) -> None:
    async with open_market(settings) as (client, market):
        now = await status_row(market)
        closed, unit = (await client.closed_epochs(market))[-last:], await reward_unit(client, market)
    if as_json:
        print_json({"now": now, "closed": [_epoch_row(epoch) for epoch in closed]})
        return
    click.echo(f"{printable(now['name'])}: epoch {now['epoch']} is in its {now['phase']} phase.")
    rows = [
        [
            e.number,
            *(Amount(units, unit) for units in (e.to_miners, e.to_validators, e.pokes, e.refunded)),
            _weights(e),
        ]
        for e in closed
    ]
    print_table(
        ["epoch", "to miners", "to validators", "closing", "back", "consensus"], rows, "No epoch was closed yet."
    )


def _weights(epoch: ClosedEpoch) -> str:
    return " ".join(f"{uid or 'unspent'}:{weight}" for uid, weight in epoch.consensus.items())


def _epoch_row(epoch: ClosedEpoch) -> dict[str, Any]:
    return {
        "epoch": epoch.number,
        "block": epoch.block,
        "reward": str(epoch.reward),
        "to_miners": str(epoch.to_miners),
        "to_validators": str(epoch.to_validators),
        "pokes": str(epoch.pokes),
        "refunded": str(epoch.refunded),
        "emission": str(epoch.emission),
        "burned": str(epoch.burned),
        "consensus": {str(uid): weight for uid, weight in epoch.consensus.items()},
        "miners": {str(uid): str(units) for uid, units in epoch.miners.items()},
        "validators": {str(vid): str(units) for vid, units in epoch.validators.items()},
    }


@command.command(
    "close", examples=("tercet epoch close --market inference", "tercet epoch close --market inference --wallet anyone")
)
@market_option
@wallet_option
@pass_state
def close(state: State) -> None:
    """Close the epoch that is over. Anyone may; it costs the wallet gas only, and harms nobody who does the same."""
    asyncio.run(_close(state.settings))


async def _close(settings: Settings) -> None:
    async with open_market(settings) as (client, market):
        done = await close_epoch(market, client.sender(unlock(settings)))
    how = f"{done.transactions} transactions, {done.gas_used} gas" if done.transactions else "others did it all"
    say(f"Epoch {done.epoch} is closed: {how}.")
