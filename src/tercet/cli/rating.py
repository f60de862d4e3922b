"""`tercet rating`: what machines were measured to do, signed; made from a validator's log, shown, verified."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path
from typing import Any

import click

from tercet.cli.connection import open_market
from tercet.cli.frame import State, group, pass_state
from tercet.cli.options import market_option, state_option, wallet_option
from tercet.cli.output import print_json, print_table, say
from tercet.cli.unlock import unlock
from tercet.errors import UsageError
from tercet.market import Rating
from tercet.nodes.ratings import load_rating, read_record, save_rating, sign_rating, verify_rating

__all__ = ["command"]

SUBNET = "flops"
_SCHEMA = {
    "operator": "whose machine: the address that signs its answers",
    "market": "the market in which it was asked",
    "measurer": "who measured and signed",
    "lease": "the lease under which it was measured; empty outside one",
    "failed": "answers in the same span that were wrong, late or missing",
    "machine.cores": "as the machine says; 0 when it does not",
    "machine.accelerator": "as the machine says",
    "machine.load_milli": "its highest load average, thousandths, as it says",
    "machine.steal_milli": "processor seconds taken away by its host in one reading at most, thousandths, as it says",
    "readings[][]": "kind, rate, link in bytes a second, Unix seconds, sha256 of the evidence",
    "figures.*": (
        "by kind: the median in operations or bytes a second as text, spread_bps (highest minus lowest, "
        "ten-thousandths of the median), the count of readings, and noisy: more than a tenth apart, or fewer than three"
    ),
    "signature": "65 bytes over the rating's text, EIP-191",
}


@group("rating", examples=("tercet rating make 3 --wallet judge", "tercet rating verify 0x52...json"))
def command() -> None:
    """What machines were measured to do, signed by who measured it."""


@command.command(
    "make",
    examples=("tercet rating make 3 --wallet judge", "tercet rating make 3 --last 10 --json"),
    schema={**_SCHEMA, "path": "where it was written"},
)
@click.argument("uid", type=click.IntRange(1, 255), metavar="UID")
@click.option("--last", default=5, show_default=True, type=click.IntRange(1, 500), help="Readings of each kind.")
@state_option("validator")
@market_option
@wallet_option
@pass_state
def make(state: State, uid: int, last: int, folder: str | None, as_json: bool) -> None:
    """Sign what this validator's log says of the machine of miner UID, and keep it beside the log."""
    home = state.folder("validator", folder)
    rating, path = asyncio.run(_make(state, uid, last, home))
    if as_json:
        print_json({**rating.to_json(), "path": str(path)})
        return
    _print(rating)
    say(f"Signed and written to {path}.")


async def _make(state: State, uid: int, last: int, home: Path) -> tuple[Rating, Path]:
    async with open_market(state.settings, SUBNET) as (_, market):
        slot = next((slot for slot in await market.miners() if slot.uid == uid), None)
        if slot is None:
            raise UsageError(f"The market has no miner {uid}. Look with: tercet market show.")
        record = read_record(home / "verdicts.jsonl", uid, slot.generation, last)
        key = unlock(state.settings)
        rating = Rating(
            operator=slot.operator,
            market=market.address,
            measurer=key.address,
            lease="",
            readings=tuple(record.readings),
            failed=record.failed,
            cores=record.cores,
            load_milli=record.load_milli,
            steal_milli=record.steal_milli,
        )
    signed = sign_rating(key, rating)
    return signed, save_rating(home, signed)


@command.command(
    "show",
    examples=("tercet rating show rating.json", "tercet rating show rating.json --json"),
    schema=_SCHEMA,
)
@click.argument("file", metavar="FILE")
def show(file: str, as_json: bool) -> None:
    """The figures of a rating. Whether it is signed, `verify` tells."""
    _tell(load_rating(Path(file).expanduser()), as_json=as_json)


@command.command(
    "verify",
    examples=("tercet rating verify rating.json", "tercet rating verify rating.json --json"),
    schema=_SCHEMA,
)
@click.argument("file", metavar="FILE")
def verify(file: str, as_json: bool) -> None:
    """Check that the measurer whom a rating names signed it; exits with 1 when not."""
    rating = load_rating(Path(file).expanduser())
    verify_rating(rating)
    _tell(rating, as_json=as_json)
    say(f"Signed by {rating.measurer}.")


def _tell(rating: Rating, *, as_json: bool) -> None:
    if as_json:
        print_json(rating.to_json())
    else:
        _print(rating)


def _print(rating: Rating) -> None:
    rows: list[list[Any]] = [
        [f.kind, f"{f.median / 1e9:.3f}", f"{f.spread_bps / 100:.1f}%", f.count, "noisy" if f.noisy else "steady"]
        for f in rating.figures
    ]
    print_table(["kind", "billions a second", "spread", "readings", "label"], rows, "It has no readings.")
    when = dt.datetime.fromtimestamp(rating.measured_at, dt.UTC)
    says = f"{rating.cores or '?'} cores, {rating.accelerator or 'no accelerator'}, load {rating.load_milli / 1000:g}"
    say(f"{rating.operator}, measured until {when:%Y-%m-%d %H:%M} UTC by {rating.measurer}.")
    say(f"The machine says: {says}. Its answers were wrong, late or missing {rating.failed} times.")
