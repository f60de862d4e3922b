"""From what happened to the record: who did what, earned what, and why. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from tercet.cli.demo.cast import CAST, VALIDATORS
from tercet.cli.demo.director import Play
from tercet.cli.demo.findings import Dealing, explain, from_receipt, median_or_none, quality
from tercet.cli.record import Earned, EpochRecord, MinerRecord, RequestRecord, ValidatorRecord
from tercet.client import ClosedEpoch

__all__ = ["Outcome", "build_outcome"]

FULL = 65_535


@dataclass(frozen=True, slots=True)
class Outcome:
    """The play in records."""

    miners: list[MinerRecord]
    validators: list[ValidatorRecord]
    epochs: list[EpochRecord]
    requests: list[RequestRecord]
    latencies: dict[str, list[tuple[float, float]]]


def build_outcome(
    play: Play, stories: Mapping[str, str], owners: Mapping[str, str], credit: Mapping[str, int]
) -> Outcome:
    """Everything about the actors.

    Args:
        play: what happened.
        stories: actor to what it does.
        owners: actor or validator to its address.
        credit: actor to credit units charged; the books show that they were redeemed, or still can be.

    """
    names = {uid: name for name, uid in play.uids.items()}
    dealings = [from_receipt(receipt) for receipt in play.receipts if receipt.uid]
    dealings += [dealing for found in play.verdicts.values() for dealing in found]
    by_name: dict[str, list[Dealing]] = {name: [] for name in play.uids}
    for dealing in sorted(dealings, key=lambda one: one.at):
        if dealing.uid in names:
            by_name[names[dealing.uid]].append(dealing)
    epochs = [_build_epoch(play, epoch, names, by_name) for epoch in play.epochs]
    earned = {
        name: Earned(credit=credit.get(name, 0), stake=sum(e.miners.get(uid, 0) for e in play.epochs))
        for name, uid in play.uids.items()
    }
    honest = [_each(earned[actor.name], len(by_name[actor.name])) for actor in CAST if actor.kind == "honest"]
    usual = fmean(one.credit for one in honest), fmean(one.stake for one in honest)
    miners = [_build_miner(name, by_name[name], earned[name], usual, epochs, stories, owners, play) for name in by_name]
    return Outcome(miners, _build_validators(play, owners), epochs, _build_requests(play, names), _latencies(by_name))


def _each(earned: Earned, requests: int) -> Earned:
    return Earned(credit=earned.credit // max(1, requests), stake=earned.stake // max(1, requests))


def _build_miner(
    name: str, own: Sequence[Dealing], earned: Earned, usual: tuple[float, float], epochs: Sequence[EpochRecord],
    stories: Mapping[str, str], owners: Mapping[str, str], play: Play,
) -> MinerRecord:  # fmt: skip
    actor = next(actor for actor in CAST if actor.name == name)
    each = _each(earned, len(own))
    rows = [row[name] for row in epochs[-1].weights.values() if name in row] if epochs else []
    return MinerRecord(
        name=name,
        uid=play.uids[name],
        owner=owners[name],
        kind=actor.kind,
        story=stories[name],
        requests=len(own),
        answered=sum(dealing.answered for dealing in own),
        tokens=sum(dealing.tokens for dealing in own),
        quality=quality(own),
        first_seconds=median_or_none([dealing.first_seconds for dealing in own]),
        seconds=median_or_none([dealing.seconds for dealing in own]),
        weight=fmean(rows) if rows else 0.0,
        consensus=epochs[-1].consensus.get(name, 0) if epochs else 0,
        earned=earned,
        per_request=each,
        ratio=(each.credit / usual[0] if usual[0] else 0.0, each.stake / usual[1] if usual[1] else 0.0),
        why=explain(own),
    )


def _build_epoch(
    play: Play, epoch: ClosedEpoch, names: Mapping[int, str], by_name: Mapping[str, Sequence[Dealing]]
) -> EpochRecord:
    ends = _closing_times(play)
    start, end = ends[epoch.number - 1], ends[epoch.number]
    columns = {0: "unspent", **names}
    validators = {vid: name for name, vid in play.vids.items()}
    stake = {names[uid]: units for uid, units in epoch.miners.items() if uid in names}
    stake |= {validators[vid]: units for vid, units in epoch.validators.items() if vid in validators}
    return EpochRecord(
        number=epoch.number,
        seconds=end - start,
        consensus={columns[uid]: weight for uid, weight in epoch.consensus.items() if uid in columns},
        weights={
            validators[vid]: {columns[uid]: weight / FULL for uid, weight in enumerate(row) if uid in columns}
            for vid, row in epoch.rows.items()
            if vid in validators
        },
        stake=stake,
        credit={
            name: sum(dealing.charged for dealing in own if start < dealing.at <= end) for name, own in by_name.items()
        },
        returned=epoch.refunded,
    )


def _closing_times(play: Play) -> dict[int, float]:
    """Epoch to this machine's time of its close. The chain's clock was wound ahead by the same span for all of them."""
    last = max(play.first_block_times)
    drift = play.first_block_times[last] - play.ended
    times = {number: at - drift for number, at in play.first_block_times.items()}
    return {min(times) - 1: play.began, **times}


def _build_validators(play: Play, owners: Mapping[str, str]) -> list[ValidatorRecord]:
    return [
        ValidatorRecord(
            name=name,
            vid=play.vids[name],
            owner=owners[name],
            challenges=len(play.verdicts[name]),
            spent=sum(dealing.charged for dealing in play.verdicts[name]),
            earned=Earned(stake=sum(epoch.validators.get(play.vids[name], 0) for epoch in play.epochs)),
        )
        for name in VALIDATORS
    ]


def _build_requests(play: Play, names: Mapping[int, str]) -> list[RequestRecord]:
    streamed = {call.id: call.stream for call in play.calls if call.id}
    return [
        RequestRecord(
            at=receipt.time_ms / 1000 - play.began,
            miner=names.get(receipt.uid, ""),
            status=receipt.status,
            stream=streamed.get(receipt.id, False),
            attempts=receipt.attempts,
            tokens=receipt.usage.completion,
            charged=receipt.charged,
            first_seconds=receipt.first_seconds,
            seconds=receipt.total_seconds,
        )
        for receipt in play.receipts
    ]


def _latencies(by_name: Mapping[str, Sequence[Dealing]]) -> dict[str, list[tuple[float, float]]]:
    return {
        name: [
            (one.first_seconds, one.seconds) for one in own if one.first_seconds is not None and one.seconds is not None
        ]
        for name, own in by_name.items()
    }
