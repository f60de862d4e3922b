"""One round of a contest's market, from the first question to the payment, in processes on the embedded chain."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.test_rounds import until_round_asked
from tests.faults.town import ANSWER_SECONDS, Town

from tercet.client import ClosedEpoch


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a round."""

    uids: Sequence[int]
    """Of the miners, in the order of their names."""
    closed: ClosedEpoch
    """What the chain paid."""
    verdicts: Mapping[int, Mapping[str, Any]]
    """By uid, as they stand in the judge's log."""


async def play_round(folder: Path, mechanism: str, role: Path, names: Sequence[str], **judge: Any) -> Played:
    """Play one.

    Args:
        folder: for the town.
        mechanism: of its market.
        role: the script whose `ECHOES` know `judge` and the names.
        names: what each miner is.
        judge: options of the validator.

    """
    town = await Town.found(folder, mechanism, role)
    try:
        validator = await town.add_validator("judge", echo="judge", **judge)
        miners = [await town.add_miner(name, echo=name) for name in names]
        await asyncio.gather(*(resident.until_ready(120) for resident in town.residents))
        await town.settle_in()
        await until_round_asked(town, [validator], miners, judge.get("answer_seconds", ANSWER_SECONDS))
        await town.until_closed()
        await town.until_committed([validator])
        await town.until_revealed([validator])
        closed = await town.until_closed()
        verdicts = {line["uid"]: line for line in validator.reasons() if line["event"] == "verdict"}
        return Played([await town.uid(miner) for miner in miners], closed, verdicts)
    finally:
        await town.leave()
