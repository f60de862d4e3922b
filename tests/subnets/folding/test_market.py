"""A whole market in low energies on the embedded chain: miners and a validator in processes, paid by what was found."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.subnets.market_round import play_round

pytest.importorskip("openmm")
pytestmark = pytest.mark.slow
CHEATS = ("mirror", "presser", "boaster")


async def test_folds_are_paid_and_cheats_are_not(tmp_path: Path) -> None:
    """All fold one molecule; the chain pays who searched, and each cheat is told what was wrong."""
    played = await play_round(
        tmp_path, "folding", Path(__file__).with_name("role.py"), ("honest", *CHEATS), answer_seconds=60.0
    )
    honest, *cheats = played.uids
    assert set(played.closed.miners) == {honest}
    # How much depends on the luck of its search: a gain below NEAR is worth less than the whole score, never nothing.
    assert played.verdicts[honest]["score"] > 0
    for uid, words in zip(cheats, ("mirror image", "off its length", "claims"), strict=True):
        assert played.verdicts[uid]["score"] == 0.0
        assert words in played.verdicts[uid]["reason"]
