"""`tercet audit`: what validators found in each other's work, and the steps that a validator may take by hand."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from tercet.chain.audits import Accusation, AccusationState, AuditRound, AuditsContract, AuditSeat, Stage
from tercet.chain.market import MarketContract
from tercet.cli.connection import open_market
from tercet.cli.frame import State, group, pass_state
from tercet.cli.money import reward_unit
from tercet.cli.options import market_option, spending_options, wallet_option
from tercet.cli.output import confirm, print_json, print_table, say
from tercet.cli.settings import Settings
from tercet.cli.unlock import unlock
from tercet.errors import UsageError
from tercet.market import STAKE, Amount
from tercet.market.audit import list_marks
from tercet.nodes.auditor import Auditor

__all__ = ["command"]

_epoch_option = click.option(
    "--epoch", type=click.IntRange(min=0), help="The audited epoch (default: the newest closed one)."
)
_sample_option = click.option(
    "--sample", type=click.IntRange(min=0), required=True, help="Which of the entries that the beacon picked."
)


@group("audit", examples=("tercet audit show --market inference", "tercet audit settle --market inference --yes"))
def command() -> None:
    """Look at audits; accuse, vote and settle. A running validator does all of it by itself."""


@command.command(
    "show",
    examples=("tercet audit show --market inference", "tercet audit show --market inference --epoch 12 --json"),
    schema={
        "epoch": "the audited epoch",
        "stage": "attest, vote or over; closed when nobody opened the round",
        "beacon": "what picked the samples, hex",
        "weight": "of all seats, stake units",
        "seats[].vid": "the validator",
        "seats[].pool": "its pool",
        "seats[].weight": "stake units",
        "seats[].evidence": "whether it published a log",
        "seats[].attested": "whether it said what it found",
        "seats[].vouched_for": "vids that it found in order",
        "seats[].support": "weight of the others that found it in order",
        "seats[].convicted": "whether it was slashed",
        "seats[].settled": "whether its held rewards were released or forfeited",
        "accusations[].vid": "the accused",
        "accusations[].sample": "which sample",
        "accusations[].state": "open, confirmed, rejected or moot",
        "accusations[].accuser": "who put up the bond",
        "accusations[].guilty": "weight that says so, the accuser's included",
        "accusations[].innocent": "weight that says so, the accused's included",
        "accusations[].bond": "TCT base units, as text",
    },
)
@_epoch_option
@market_option
@pass_state
def show(state: State, epoch: int | None, as_json: bool) -> None:
    """One epoch's audit: who vouches for whom, who is accused, what is settled."""
    asyncio.run(_show(state.settings, epoch, as_json))


async def _show(settings: Settings, epoch: int | None, as_json: bool) -> None:
    async with open_market(settings) as (client, market):
        audits, wanted = client.ledger.audits, await _choose_epoch(market, epoch)
        found = await audits.round(market.address, wanted)
        seats = await audits.seats(market.address, wanted) if found else []
        accusations = await _list_accusations(audits, market.address, wanted, seats) if found else []
    if as_json:
        print_json(_to_json(wanted, found, seats, accusations))
        return
    stage = "closed: nobody opened this round" if found is None else _STAGES[found.stage]
    click.echo(f"Audit of epoch {wanted}: {stage}.")
    total = found.weight if found else 0
    rows = [
        [row["vid"], row["weight"], *(("yes" if row[name] else "no") for name in ("evidence", "attested")),
         f"{100 * row['support'] / max(1, total - row['weight']):.0f}%",
         "convicted" if row["convicted"] else "", "settled" if row["settled"] else ""]
        for row in _seat_rows(found, seats)
    ]  # fmt: skip
    titles = ["vid", "weight", "evidence", "attested", "support", "", ""]
    print_table(titles, rows, "No validator had weight in this epoch.")
    for vid, sample, accusation in accusations:
        bond = Amount(accusation.bond, STAKE)
        say(
            f"Validator {vid} is accused of sample {sample} by {accusation.accuser} ({bond}): {accusation.state.name.lower()}, "
            f"guilty {accusation.guilty}, innocent {accusation.innocent} of {total}."
        )


_STAGES = {
    Stage.ATTEST: "validators attest, accuse and vote",
    Stage.VOTE: "votes on what is accused; the rest can be settled",
    Stage.OVER: "over",
}


def _seat_rows(found: AuditRound | None, seats: list[AuditSeat]) -> list[dict[str, Any]]:
    if found is None:
        return []
    maps = {"evidence": found.evidence, "attested": found.attested, "convicted": found.convicted}
    return [
        {
            "vid": seat.vid,
            "pool": seat.pool,
            "weight": seat.weight,
            "vouched_for": list_marks(seat.marks),
            "support": seat.support,
            "settled": bool(found.settled >> seat.vid & 1),
            **{name: bool(bits >> seat.vid & 1) for name, bits in maps.items()},
        }
        for seat in seats
    ]


def _to_json(
    epoch: int, found: AuditRound | None, seats: list[AuditSeat], accusations: list[tuple[int, int, Accusation]]
) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "stage": found.stage.name.lower() if found else "closed",
        "beacon": found.beacon.hex() if found else "",
        "weight": found.weight if found else 0,
        "seats": _seat_rows(found, seats),
        "accusations": [
            {
                "vid": vid,
                "sample": sample,
                "state": accusation.state.name.lower(),
                "accuser": accusation.accuser,
                "guilty": accusation.guilty,
                "innocent": accusation.innocent,
                "bond": str(accusation.bond),
            }
            for vid, sample, accusation in accusations
        ],
    }


async def _list_accusations(
    audits: AuditsContract, market: str, epoch: int, seats: list[AuditSeat]
) -> list[tuple[int, int, Accusation]]:
    places = [(seat.vid, sample) for seat in seats for sample in range(await audits.samples())]
    found = await asyncio.gather(*(audits.accusation(market, epoch, vid, sample) for vid, sample in places))
    return [(*place, accusation) for place, accusation in zip(places, found, strict=True) if accusation is not None]


async def _choose_epoch(market: MarketContract, epoch: int | None) -> int:
    if epoch is not None:
        return epoch
    running = (await market.status()).epoch
    if not running:
        raise UsageError("No epoch of this market was closed yet, so nothing is audited. Wait for the first closing.")
    return running - 1


@command.command(
    "accuse",
    examples=(
        "tercet audit accuse 3 --sample 0 --market inference --dry-run",
        "tercet audit accuse 3 --sample 0 --market inference --yes",
    ),
)
@click.argument("vid", type=click.IntRange(0, 63))
@_sample_option
@_epoch_option
@spending_options
@market_option
@wallet_option
@pass_state
def accuse(state: State, vid: int, sample: int, epoch: int | None, yes: bool, dry_run: bool) -> None:
    """Claim that an entry of validator VID does not reproduce. The wallet must be a validator's operator."""
    asyncio.run(_accuse(state.settings, vid, sample, epoch, yes=yes, dry_run=dry_run))


async def _accuse(settings: Settings, vid: int, sample: int, epoch: int | None, *, yes: bool, dry_run: bool) -> None:
    async with open_market(settings) as (client, market):
        wanted = await _choose_epoch(market, epoch)
        bond = Amount(await client.ledger.audits.bond(market.address), STAKE)
        what = (
            f"accuse validator {vid} of sample {sample} in epoch {wanted} under a bond of {bond}, "
            "which is burned unless more than half of all weight agrees"
        )
        if not confirm(what, yes=yes, dry_run=dry_run):
            return
        auditor = Auditor(client.ledger, market, client.sender(unlock(settings)))
        try:
            await auditor.accuse(wanted, vid, sample)
        finally:
            await auditor.close()
        say(f"Validator {vid} is accused. The others vote until the end of epoch {wanted + 2}.")


@command.command(
    "vote",
    examples=(
        "tercet audit vote 3 --sample 0 --guilty --market inference",
        "tercet audit vote 3 --sample 0 --innocent --market inference --yes",
    ),
)
@click.argument("vid", type=click.IntRange(0, 63))
@_sample_option
@click.option("--guilty/--innocent", "guilty", default=None, required=True, help="What you found.")
@_epoch_option
@spending_options
@market_option
@wallet_option
@pass_state
def vote(state: State, vid: int, sample: int, guilty: bool, epoch: int | None, yes: bool, dry_run: bool) -> None:
    """Vote on an accusation of validator VID. The wallet must be a validator's operator."""
    asyncio.run(_vote(state.settings, vid, sample, epoch, guilty=guilty, yes=yes, dry_run=dry_run))


async def _vote(
    settings: Settings, vid: int, sample: int, epoch: int | None, *, guilty: bool, yes: bool, dry_run: bool
) -> None:
    async with open_market(settings) as (client, market):
        audits, wanted = client.ledger.audits, await _choose_epoch(market, epoch)
        accusation = await audits.accusation(market.address, wanted, vid, sample)
        if accusation is None or accusation.state is not AccusationState.OPEN:
            raise UsageError(
                f"Nobody accuses validator {vid} of sample {sample} in epoch {wanted}. See tercet audit show."
            )
        effect = (
            f"a majority costs it {accusation.slash_bps / 100:g}% of its pool"
            if guilty
            else f"half of the weight costs {accusation.accuser} its bond of {Amount(accusation.bond, STAKE)}"
        )
        what = f"vote that validator {vid} is {'guilty' if guilty else 'innocent'}: {effect}"
        if confirm(what, yes=yes, dry_run=dry_run):
            sender = client.sender(unlock(settings))
            await audits.vote(sender, market.address, wanted, vid, sample, guilty=guilty)
            say("Voted.")


@command.command(
    "settle",
    examples=(
        "tercet audit settle --market inference --yes",
        "tercet audit settle --market inference --epoch 12 --dry-run",
    ),
)
@click.option("--epoch", type=click.IntRange(min=0), help="The audited epoch (default: the one before the newest).")
@spending_options
@market_option
@wallet_option
@pass_state
def settle(state: State, epoch: int | None, yes: bool, dry_run: bool) -> None:
    """Release or forfeit what was held in an epoch. Anyone may; it costs the wallet gas only."""
    asyncio.run(_settle(state.settings, epoch, yes=yes, dry_run=dry_run))


async def _settle(settings: Settings, epoch: int | None, *, yes: bool, dry_run: bool) -> None:
    async with open_market(settings) as (client, market):
        audits = client.ledger.audits
        wanted = max(0, await _choose_epoch(market, None) - 1) if epoch is None else epoch
        found = await audits.round(market.address, wanted)
        if found is None:
            raise UsageError(f"Nobody opened the audit of epoch {wanted}, so there is nothing to settle seat by seat.")
        seats = await audits.seats(market.address, wanted)
        stakes = await market.stakes()
        held = [await stakes.read("get_held", seat.pool, wanted) for seat in seats]
        units = await reward_unit(client, market), STAKE
        reward, minted = (Amount(sum(pair[kind] for pair in held), unit) for kind, unit in enumerate(units))
        what = f"settle {reward} and {minted} of emission held in epoch {wanted} of {await market.title()!r}"
        if not confirm(what, yes=yes, dry_run=dry_run):
            return
        sender = client.sender(unlock(settings))
        for vid, sample, accusation in await _list_accusations(audits, market.address, wanted, seats):
            moot = found.convicted >> vid & 1 or found.stage is Stage.OVER
            if accusation.state is AccusationState.OPEN and moot:
                await audits.resolve(sender, market.address, wanted, vid, sample)
        receipt = await audits.settle(sender, market.address, wanted)
        say(f"Epoch {wanted} is settled: {receipt.gas_used} gas.")
