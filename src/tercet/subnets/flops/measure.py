"""Measuring one machine on purpose: before it is leased, and again while it is, when nobody can lend it a faster one.

Knows neither network nor keys: the caller asks, by whatever way it reaches the machine, and signs what comes of it.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from tercet.market import Reading, Task
from tercet.subnets.flops.commitment import read_claims
from tercet.subnets.flops.mechanism import Flops
from tercet.subnets.flops.tasks import Kind
from tercet.subnets.mechanism import Contender, Submission

__all__ = ["Ask", "Measured", "remeasure"]

Ask: TypeAlias = Callable[[Task], Awaitable[Submission]]
"""Sends a task to the machine and times the answer: `Submission.first_seconds` must be this side's clock."""


@dataclass(slots=True)
class Measured:
    """What came of it; the fields of a `market.Rating` that a machine fills."""

    readings: list[Reading] = field(default_factory=list)
    failed: int = 0
    reasons: list[str] = field(default_factory=list)
    """Why answers failed, in words."""
    cores: int = 0
    accelerator: str = ""
    load_milli: int = 0
    steal_milli: int = 0


async def remeasure(flops: Flops, ask: Ask, kinds: Sequence[Kind] = (), repeats: int = 5) -> Measured:
    """Ask a machine `repeats` times for each kind, one after the other, with nonces that nobody could foresee.

    Args:
        flops: opened as a validator.
        ask: how the machine is reached.
        kinds: what to measure; all that the mechanism asks for when there are none.
        repeats: of each kind; three are the least from which a figure is steady.

    A machine whose first answer is wrong is not asked for that kind again. The later answers are checked together:
    most of what a check costs is reading one matrix, and it is read once for all of them.

    """
    found = Measured()
    for kind in kinds or flops.kinds:
        if await _ask(flops, ask, kind, 1, found):
            await _ask(flops, ask, kind, repeats - 1, found)
    return found


async def _ask(flops: Flops, ask: Ask, kind: Kind, repeats: int, found: Measured) -> bool:
    """Ask one after the other, judge together, take what came of it; whether no answer was wrong."""
    contenders, times = [], []
    for _ in range(repeats):
        task = flops.probe(kind, os.urandom(32)).task
        submission = await ask(task)
        contenders.append(Contender(submission.uid, 0, task, submission))
        times.append(int(time.time()))
    verdicts = await flops.judge_round(b"", contenders)
    sound = True
    for contender, verdict, taken in zip(contenders, verdicts, times, strict=True):
        submission, measures = contender.submission, verdict.measures or {}
        rate = measures.get(f"rate_{kind}")
        if rate is None:
            found.failed += 1
            found.reasons.append(verdict.reason)
            sound = sound and not (verdict.score == 0 and submission.pieces)
            continue
        link = round(measures.get("link_bytes_per_second", 0))
        evidence = hashlib.sha256(submission.evidence).digest()
        found.readings.append(Reading(kind, round(rate), link, taken, evidence))
        _take_claims(found, read_claims(submission.pieces))
    return sound


def _take_claims(found: Measured, claims: dict[str, float | str]) -> None:
    found.cores = found.cores or int(claims.get("cores", 0))
    found.accelerator = found.accelerator or str(claims.get("accelerator", ""))
    found.load_milli = max(found.load_milli, round(1000 * float(claims.get("load", 0))))
    found.steal_milli = max(found.steal_milli, round(1000 * float(claims.get("steal", 0))))
