"""The rounds of a validator, turn by turn, on a market whose time the test moves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tercet.errors import AlreadyDoneError, ChainUnreachableError
from tercet.market import FULL_ROW, Price, Verdict
from tercet.nodes.epochs import Policy
from tercet.nodes.schedule import Step

from .fakes import POLICY, World, miner


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    built = World(tmp_path)
    yield built
    built.kill()


async def test_an_epoch_is_measured_committed_revealed_and_closed(world: World) -> None:
    """Each step once, and what stands on chain is what was pledged."""
    steps = await world.until(145)
    assert [step for step in steps if step is not Step.WAIT] == [Step.COMMIT, Step.REVEAL, Step.CLOSE]
    assert list(world.seat.revealed[0].row) == [0, 32_768, 32_767]
    assert world.seat.closed == [0]
    assert world.book.taken(0) == {(1, 1): 4, (2, 1): 4}


async def test_a_liar_gets_no_weight_and_the_file_says_why(world: World) -> None:
    """The reason reaches `verdicts.jsonl`."""
    world.asking.verdict = lambda uid: Verdict(0.0, "the text came back changed") if uid == 2 else Verdict(1.0, "")
    await world.until(145)
    assert list(world.seat.revealed[0].row) == [0, FULL_ROW, 0]
    lines = [json.loads(line) for line in (world.folder / "verdicts.jsonl").read_text().splitlines()]
    scores = {line["uid"]: line for line in lines if line["event"] == "score" and line["epoch"] == 0}
    assert (scores[1]["reason"], scores[1]["weight"]) == ("", FULL_ROW)
    assert (scores[2]["reason"], scores[2]["weight"]) == ("the text came back changed", 0)


async def test_after_the_commit_answers_count_for_the_next_epoch(world: World) -> None:
    """So a miner is watched in every phase, and three epochs ask three times four questions."""
    await world.until(100)
    before = world.book.taken(1).total()
    await world.until(138)
    assert before <= world.book.taken(1).total()
    assert world.seat.epoch == 0
    await world.until(3 * 145)
    assert [world.book.taken(epoch).total() for epoch in (0, 1, 2)] == [8, 8, 8]


@pytest.mark.parametrize("killed_at", [40.0, 99.0, 120.0])
async def test_a_killed_validator_goes_on_with_what_it_had(world: World, killed_at: float) -> None:
    """While measuring, right after the commit, in the reveal phase: no question twice, no salt lost."""
    await world.until(killed_at)
    world.kill()
    world.start()
    await world.until(145)
    assert 0 in world.seat.revealed
    assert world.seat.closed == [0]
    assert world.book.taken(0) == {(1, 1): 4, (2, 1): 4}


async def test_a_lost_commit_is_sent_again_with_the_same_salt(world: World) -> None:
    """The row is decided once; only its transaction may be sent twice, by another process if need be."""
    world.seat.faults["commit"] = ChainUnreachableError("gone")
    with pytest.raises(ChainUnreachableError):
        await world.until(100)
    pledged = world.book.pledged(0)
    world.kill()
    world.start()
    await world.until(105)
    assert world.seat.committed[0] == pledged


async def test_being_slower_than_another_poker_is_no_failure(world: World) -> None:
    """Two close at once: the loser looks again and goes on."""
    world.seat.faults["close"] = AlreadyDoneError("closed", reason="market: page already settled")
    steps = await world.until(150)
    assert steps.count(Step.CLOSE) == 2
    assert world.seat.closed == [0]


async def test_a_missed_epoch_is_skipped(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Asleep for an epoch: it is logged, and the next one is like any other."""
    await world.until(20)
    world.seat.epoch, world.seat.started_at, world.seat.now = 1, 200.0, 201.0
    await world.until(345)
    assert "epoch.missed epoch=0" in caplog.text
    assert sorted(world.seat.revealed) == [1]


async def test_who_measured_nothing_abstains(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Our own fault is held against nobody: no row of zeros, no vote for unspent."""
    world.asking.verdict = lambda uid: None
    await world.until(141)
    assert world.seat.committed == {}
    assert caplog.text.count("epoch.abstained") == 1


async def test_an_empty_market_is_a_vote_for_unspent(world: World) -> None:
    """Nobody to measure is knowledge, not ignorance."""
    world.listing.entries = []
    await world.until(141)
    assert list(world.seat.revealed[0].row) == [FULL_ROW]


async def test_a_newcomer_of_a_slot_inherits_nothing(world: World) -> None:
    """The row counts for those registered when it was decided, by generation."""
    await world.until(70)
    world.listing.entries = [miner(1), miner(2, generation=5)]
    await world.until(141)
    assert world.seat.revealed[0].as_of == 5
    world.listing.entries = [miner(1), miner(2, generation=6)]
    assert world.seat.revealed[0].as_of < 6


async def test_the_money_for_questions_is_bounded(world: World) -> None:
    """A greedy miner is told so and asked nothing; the others are not starved."""
    world.kill()
    world.policy = Policy(budget=80, poll_seconds=0.001)
    world.start()
    world.listing.entries = [miner(1), replace(miner(2), price=Price(per_request=11))]
    await world.until(100)
    assert set(world.asking.asked) == {1}
    assert world.book.spent(0) == 4 * 7
    reasons = {finding.verdict.reason for finding in world.book.findings(0) if finding.uid == 2}
    assert reasons == {"asks up to 0.000011 credit, a validator may spend 0.00001 credit on a question"}


async def test_everybody_is_asked_in_the_same_moment(world: World) -> None:
    """Channels first, then all questions at once: three names of one machine share it."""
    world.listing.entries = [miner(uid) for uid in range(1, 6)]
    await world.until(100)
    assert world.asking.bursts[:4] == [[1, 2, 3, 4, 5]] * 4
    assert world.asking.met[:20] == [1, 2, 3, 4, 5] * 4


async def test_a_newcomer_joins_the_moments_that_are_left(world: World) -> None:
    """It is never asked alone, and never more often than the others from then on."""
    while not world.asking.bursts:
        await world.until(world.seat.now + 1)
    world.listing.entries.append(miner(3))
    await world.until(100)
    assert world.asking.bursts[:4] == [[1, 2], *[[1, 2, 3]] * 3]
    assert world.book.taken(0) == {(1, 1): 4, (2, 1): 4, (3, 1): 3}


async def test_more_miners_than_questions_in_flight_take_turns(world: World) -> None:
    """The bound holds; nobody is left out."""
    world.kill()
    world.policy = replace(POLICY, concurrency=2)
    world.start()
    world.listing.entries = [miner(uid) for uid in range(1, 6)]
    await world.until(100)
    assert max(len(burst) for burst in world.asking.bursts) == 2
    assert world.book.taken(0) == {(uid, 1): 4 for uid in range(1, 6)}


async def test_the_budget_of_an_epoch_outlives_a_restart(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Questions lost with a killed process were paid for all the same."""
    world.book.spend(0, POLICY.budget - 15)
    await world.until(74)
    assert len(world.asking.asked) == 1
    assert "budget.spent epoch=0" in caplog.text


async def test_a_miner_without_terms_misses(world: World) -> None:
    """No answer at /info is no answer."""
    world.listing.entries = [miner(1), replace(miner(2), price=None)]
    await world.until(145)
    assert list(world.seat.revealed[0].row) == [0, FULL_ROW, 0]


async def test_a_broken_plugin_ends_no_rounds(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The traceback is logged, the miner is not blamed."""

    def explode(uid: int) -> Verdict:
        raise ZeroDivisionError

    world.asking.verdict = explode
    await world.until(145)
    assert "challenge.failed" in caplog.text
    assert world.seat.closed == [0]


async def test_an_unreachable_chain_is_waited_for(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Logged with the reason, retried, and the rounds go on."""
    world.seat.faults["look"] = ChainUnreachableError("The chain cannot be reached.")
    rounds = asyncio.create_task(world.validator.run())
    async with asyncio.timeout(5):
        while world.book.taken(0).total() == 0:
            world.seat.now = min(80.0, world.seat.now + 1)
            await asyncio.sleep(0.002)
    rounds.cancel()
    await asyncio.gather(rounds, return_exceptions=True)
    assert "chain.unreachable failures=1 why='The chain cannot be reached.'" in caplog.text
