"""A whole market in labels on the embedded chain: miners and a validator in processes, paid by what the round found."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.faults.town import RATE
from tests.subnets.market_round import play_round

from tercet.market import FULL_ROW

pytestmark = pytest.mark.slow
KINDS = ("knn", "logreg", "bayes", "copycat")


async def test_models_are_paid_and_a_copycat_is_not(tmp_path: Path) -> None:
    """All four label one batch; gold comes from a later beacon; the chain pays three of them alike and one nothing."""
    played = await play_round(tmp_path, "labelling", Path(__file__).with_name("role.py"), KINDS)
    uids, closed = played.uids, played.closed
    shares = [closed.consensus.get(uid, 0) / FULL_ROW for uid in uids]
    assert all(0.2 < share < 0.5 for share in shares[:3])
    assert shares[3] == 0
    assert set(closed.miners) == set(uids[:3])
    assert closed.to_miners > 0.6 * RATE
    assert f"repeats the errors of miner {uids[2]}" in played.verdicts[uids[3]]["reason"]
