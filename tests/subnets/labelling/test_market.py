"""A whole market in labels on the embedded chain: miners and a validator in processes, paid by what the round found."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.faults.test_rounds import until_round_asked
from tests.faults.town import RATE, Town

from tercet.market import FULL_ROW

pytestmark = pytest.mark.slow
KINDS = ("knn", "logreg", "bayes", "copycat")


async def test_models_are_paid_and_a_copycat_is_not(tmp_path: Path) -> None:
    """All four label one batch; gold comes from a later beacon; the chain pays three of them alike and one nothing."""
    town = await Town.found(tmp_path, "labelling", Path(__file__).with_name("role.py"))
    try:
        judge = await town.add_validator("judge", echo="judge")
        miners = [await town.add_miner(name, echo=name) for name in KINDS]
        await asyncio.gather(*(resident.until_ready(60) for resident in town.residents))
        await town.settle_in()
        await until_round_asked(town, [judge], miners)
        await town.until_closed()
        await town.until_committed([judge])
        await town.until_revealed([judge])
        closed = await town.until_closed()
        uids = [await town.uid(miner) for miner in miners]
        shares = [closed.consensus.get(uid, 0) / FULL_ROW for uid in uids]
        assert all(0.2 < share < 0.5 for share in shares[:3])
        assert shares[3] == 0
        assert set(closed.miners) == set(uids[:3])
        assert closed.to_miners > 0.6 * RATE
        why = {line["uid"]: line["reason"] for line in judge.reasons() if line["event"] == "verdict"}
        assert f"repeats the errors of miner {uids[2]}" in why[uids[3]]
    finally:
        await town.leave()
