"""A contest in processes: a validator dies between asking and judging, and judges all the same."""

from __future__ import annotations

import asyncio
import re
import signal

import pytest
from tests.faults.town import ANSWER_SECONDS, Resident, Town, until

from tercet.chain.closing import close_epoch
from tercet.market import FULL_ROW

pytestmark = pytest.mark.slow


async def test_a_round_outlives_a_killed_validator(town: Town) -> None:
    """SIGKILL of a judge after it asked; it comes back in the next epoch and judges as the other one does.

    Both check the same sample, which no miner knew: the skimmer, which left out a quarter, earns nothing.
    """
    judges = [await town.add_validator(f"judge-{n}", echo="sampled") for n in (1, 2)]
    miners = [await town.add_miner(name, echo=name) for name in ("sampled", "skimmer")]
    await asyncio.gather(*(resident.until_ready() for resident in town.residents))
    await town.settle_in()

    await until_round_asked(town, judges, miners)
    await judges[0].end(signal.SIGKILL)
    status = await town.market.status()
    await town.jump_to(status.reveal_ends)
    await close_epoch(town.market, await town.passer_by())
    judges[0].start()
    await judges[0].until_ready()
    target = status.epoch + 1

    async def judged() -> bool:
        return all(f"round.judged epoch={target} contenders=2" in judge.log for judge in judges)

    await until(judged, 60, "not both judged")
    assert judges[0].log.count(f"round.answered epoch={target}") == 2, "nobody was asked again"
    honest, skimmer = [await town.uid(miner) for miner in miners]
    found = [{line["uid"]: line for line in judge.reasons() if line["event"] == "verdict"} for judge in judges]
    assert found[0].keys() == found[1].keys() == {honest, skimmer}
    for uid, score, reason in ((honest, 1.0, ""), (skimmer, 0.0, "a number is wrong")):
        assert {(seen[uid]["score"], seen[uid]["reason"]) for seen in found} == {(score, reason)}
        assert len({seen[uid]["measures"]["first_checked"] for seen in found}) == 1, "one sample for all"

    await until_round_asked(town, judges, miners)
    await town.until_committed(judges)
    await town.until_revealed(judges)
    closed = await town.until_closed()
    assert set(closed.miners) == {honest}
    assert closed.consensus == {honest: FULL_ROW}
    assert set(closed.rows) == {0, 1}


async def until_round_asked(
    town: Town, judges: list[Resident], miners: list[Resident], seconds: float = ANSWER_SECONDS
) -> None:
    """Jump to the last moment at which an answer may take `seconds`; every judge has the answers of the next epoch's round on disk."""
    status = await town.market.status()
    uids = {await town.uid(miner) for miner in miners}

    def named(judge: Resident, event: str) -> set[int]:
        return {int(uid) for uid in re.findall(rf"{event} epoch={status.epoch + 1} uid=(\d+) ", judge.log)}

    async def planned() -> bool:
        return all(named(judge, "round.planned") >= uids for judge in judges)

    async def answered() -> bool:
        return all(named(judge, "round.answered") >= uids for judge in judges)

    await until(planned, 60, f"not all of {uids} were seen in epoch {status.epoch}")
    await town.jump_to(status.commit_ends - seconds)
    await until(answered, 90, f"not all of {uids} answered in epoch {status.epoch}")
