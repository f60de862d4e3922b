"""A whole market in low energies on the embedded chain: miners and a validator in processes, paid by what was found."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.faults.test_rounds import until_round_asked
from tests.faults.town import Town

pytest.importorskip("openmm")
pytestmark = pytest.mark.slow
CHEATS = ("mirror", "presser", "boaster")


async def test_folds_are_paid_and_cheats_are_not(tmp_path: Path) -> None:
    """All fold one molecule; the chain pays who searched, and each cheat is told what was wrong."""
    town = await Town.found(tmp_path, "folding", Path(__file__).with_name("role.py"))
    try:
        judge = await town.add_validator("judge", echo="judge", answer_seconds=60.0)
        miners = [await town.add_miner(name, echo=name) for name in ("honest", *CHEATS)]
        await asyncio.gather(*(resident.until_ready(120) for resident in town.residents))
        await town.settle_in()
        await until_round_asked(town, [judge], miners)
        await town.until_closed()
        await town.until_committed([judge])
        await town.until_revealed([judge])
        closed = await town.until_closed()
        honest, *cheats = [await town.uid(miner) for miner in miners]
        assert set(closed.miners) == {honest}
        found = {line["uid"]: line for line in judge.reasons() if line["event"] == "verdict"}
        # How much depends on the luck of its search: a gain below NEAR is worth less than the whole score, never nothing.
        assert found[honest]["score"] > 0
        for uid, words in zip(cheats, ("mirror image", "off its length", "claims"), strict=True):
            assert found[uid]["score"] == 0.0
            assert words in found[uid]["reason"]
    finally:
        await town.leave()
