"""Contests: asked in one epoch, judged in the next by a sample that nobody knew, whatever dies in between."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.faults.role import Sampled, Skimmer

from tercet.errors import SubnetError
from tercet.market import FULL_ROW, Answer, Task, Usage, Verdict
from tercet.nodes import rounds
from tercet.nodes.buyer import Transcript
from tercet.nodes.response import Response, decode_response, encode_response
from tercet.nodes.rounds import draw_seed
from tercet.nodes.schedule import Phase
from tercet.subnets import Contender, Contest, Piece, Prepared, Submission

from .fakes import COMMIT, World, beacon_of, miner


@dataclass
class Course(Sampled):
    """The contest, with a memory."""

    begun: list[int] = field(default_factory=list)
    assigned: list[tuple[bytes, int]] = field(default_factory=list)
    judged: list[tuple[bytes, tuple[Contender, ...]]] = field(default_factory=list)
    trouble: list[Exception] = field(default_factory=list)
    """Raised by the next judgements."""
    refuses: Exception | None = None
    """Raised by `begin`."""

    async def begin(self, epoch: int) -> None:
        self.begun.append(epoch)
        if self.refuses:
            raise self.refuses

    def assign(self, seed: bytes, uid: int) -> Task:
        self.assigned.append((seed, uid))
        return super().assign(seed, uid)

    async def judge_round(self, seed: bytes, contenders: Sequence[Contender]) -> Sequence[Verdict]:
        self.judged.append((seed, tuple(contenders)))
        if self.trouble:
            raise self.trouble.pop()
        return await super().judge_round(seed, contenders)


def work(uid: int, task: Task) -> Sequence[Piece] | str:
    """1 and 2 are honest; 3 skips a quarter; 4 is silent."""
    kind: Sampled = Skimmer() if uid == 3 else Sampled()

    async def answer() -> list[Piece]:
        return [piece async for piece in kind.answer(task)]

    answering = answer()
    try:
        answering.send(None)
    except StopIteration as done:
        return "refused: busy" if uid == 4 else list(done.value)
    raise AssertionError("the work waits for nothing")


def build(folder: Path, *uids: int) -> World:
    world = World(folder, contest=Course())
    world.listing.entries = [miner(uid) for uid in uids]
    world.asking.answer = work
    return world


def course(world: World) -> Course:
    assert isinstance(world.contest, Course)
    return world.contest


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    built = build(tmp_path, 1, 2, 3, 4)
    yield built
    built.kill()


async def live(world: World, epochs: int) -> None:
    """Until so many epochs are closed since the market opened."""
    while world.seat.epoch < epochs:
        await world.until(world.seat.now + 1)


async def until_asked(world: World, target: int) -> None:
    """Until the answers of a round are on disk."""
    while len(world.book.answered(target)) < len(world.listing.entries):
        assert world.seat.epoch < target
        await world.until(world.seat.now + 1)


def reasons(world: World, epoch: int) -> dict[int, str]:
    return {finding.uid: finding.verdict.reason for finding in world.book.findings(epoch)}


def test_a_contest_is_told_from_other_mechanisms() -> None:
    """By its methods; with nothing to prepare it is one all the same."""
    assert isinstance(Course(), Contest)
    assert isinstance(Course(), Prepared)
    assert isinstance(Sampled(), Contest)
    assert not isinstance(Sampled(), Prepared)


async def test_a_round_is_asked_in_one_epoch_and_judged_in_the_next(world: World) -> None:
    """All in one burst, once; the honest share the row, a skimmer and a silent miner get nothing and hear why."""
    await live(world, 1)
    assert world.seat.committed == {}, "in the first epoch nothing was measured yet"
    assert world.asking.bursts == [[1, 2, 3, 4]]
    await live(world, 2)
    assert list(world.seat.revealed[1].row) == [0, 32_768, 32_767, 0, 0]
    assert reasons(world, 1) == {1: "", 2: "", 3: "a number is wrong", 4: "refused: busy"}
    assert world.asking.bursts == [[1, 2, 3, 4]] * 2
    assert len(course(world).judged) == 1
    await live(world, 3)
    assert [len(world.book.findings(epoch)) for epoch in (0, 1, 2)] == [0, 4, 4]
    assert world.book.spent(1) == 3 * 7


async def test_all_answers_are_signed_before_the_first_reveal(world: World) -> None:
    """In the commit phase, so that nobody knows the sample: its beacon does not exist yet."""
    phases: list[Phase] = []
    asked: dict[str, int] = {}
    """Task to the epoch in which it was answered."""

    def watch(uid: int, task: Task) -> Sequence[Piece] | str:
        phases.append(Phase.COMMIT if world.seat.now - world.seat.started_at < COMMIT else Phase.REVEAL)
        asked[str(task["start"])] = world.seat.epoch
        return work(uid, task)

    world.asking.answer = watch
    await live(world, 4)
    assert set(phases) == {Phase.COMMIT}
    for seed, contenders in course(world).judged:
        (epoch,) = {asked[str(one.task["start"])] for one in contenders}
        assert seed == draw_seed("judge", beacon_of(epoch), world.seat.market, epoch + 1)
        before = beacon_of(epoch - 1) if epoch else bytes(32)
        assert contenders[0].task == Sampled().assign(draw_seed("ask", before, world.seat.market, epoch + 1), 1)


async def test_two_validators_ask_and_judge_alike(tmp_path: Path) -> None:
    """At moments of their own: equal tasks for equal miners, and one sample for all."""
    first, second = (build(tmp_path / name, 1, 2) for name in ("first", "second"))
    for one in (first, second):
        await live(one, 3)
        one.kill()
    assert sorted(set(course(first).assigned)) == sorted(set(course(second).assigned))
    assert [seed for seed, _ in course(first).judged] == [seed for seed, _ in course(second).judged]
    asked, judged = {seed for seed, _ in course(first).assigned}, {seed for seed, _ in course(first).judged}
    assert not asked & judged
    assert (len(asked), len(judged)) == (3, 2)


@pytest.mark.parametrize("audited", [False, True])
async def test_a_validator_killed_between_asking_and_judging_judges(tmp_path: Path, audited: bool) -> None:
    """Answers are on disk; nobody is asked again, and every finding is there once."""
    world = build(tmp_path, 1, 2, 3)
    await until_asked(world, 1)
    world.kill()
    world.start()
    await live(world, 2)
    assert world.asking.bursts[0] == [1, 2, 3]
    assert list(world.seat.revealed[1].row) == [0, 32_768, 32_767, 0]
    assert world.asking.asked.count(1) == 2, "once for each of two epochs"
    world.kill()


async def test_a_validator_killed_while_judging_judges_again(world: World) -> None:
    """Findings come all at once, in the place of the answers."""
    stuck = asyncio.Event()
    honest = world.contest
    assert honest is not None

    @dataclass
    class Stuck(Course):
        async def judge_round(self, seed: bytes, contenders: Sequence[Contender]) -> Sequence[Verdict]:
            await stuck.wait()
            return []

    world.kill()
    world.contest = Stuck()
    world.start()
    await until_asked(world, 1)
    while world.seat.epoch == 0:
        await world.until(world.seat.now + 1)
    world.seat.now += 1
    await world.validator.turn()
    await asyncio.sleep(0.05)
    assert world.book.findings(1) == []
    await world.validator._measuring.errands.close()
    world.kill()
    world.contest = honest
    world.start()
    await live(world, 2)
    assert sorted(reasons(world, 1)) == [1, 2, 3, 4]


async def test_a_commit_waits_for_the_judgement(world: World) -> None:
    """A slow judge is no reason to abstain, as long as the commit phase lasts."""
    ready = asyncio.Event()

    @dataclass
    class Slow(Course):
        async def judge_round(self, seed: bytes, contenders: Sequence[Contender]) -> Sequence[Verdict]:
            await ready.wait()
            return await super().judge_round(seed, contenders)

    world.kill()
    world.contest = Slow()
    world.start()
    await live(world, 1)
    while world.seat.now - world.seat.started_at < 98:
        world.seat.now += 1
        await world.validator.turn()
        await asyncio.sleep(0.002)
    assert 1 not in world.seat.committed
    ready.set()
    await world.validator.quiet()
    await live(world, 2)
    assert list(world.seat.revealed[1].row) == [0, 32_768, 32_767, 0, 0]


async def test_a_judge_that_fails_is_tried_again(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The answers stay; the third failure gives the epoch up, and the next round goes on."""
    course(world).trouble = [SubnetError("the model is gone"), ZeroDivisionError()]
    await live(world, 2)
    assert 1 in world.seat.revealed
    assert "the model is gone" in caplog.text
    course(world).trouble = [SubnetError("again")] * 3
    await live(world, 4)
    assert sorted(world.seat.revealed) == [1, 3]
    assert "epoch.abstained epoch=2" in caplog.text


async def test_a_new_tenant_of_a_slot_is_not_judged_for_the_old_one(world: World) -> None:
    """Nor does a miner that came after the burst have a verdict."""
    await until_asked(world, 1)
    world.listing.entries = [miner(1), miner(2, generation=9), miner(5)]
    await live(world, 2)
    assert sorted(reasons(world, 1)) == [1]
    ((_, contenders), *_) = course(world).judged
    assert [(one.uid, one.generation) for one in contenders] == [(1, 1)]
    assert list(world.seat.revealed[1].row) == [0, FULL_ROW, 0, 0, 0, 0]


async def test_it_begins_before_it_asks_and_after_it_judged(world: World) -> None:
    """So a round can start from what the last one found; one that cannot begin asks nobody."""
    await live(world, 2)
    assert course(world).begun[:2] == [1, 2]
    course(world).refuses = SubnetError("no checkpoint")
    await live(world, 3)
    await world.until(world.seat.now + 95)
    assert len(world.book.answered(4)) == 0
    assert course(world).begun[-1] == 4


async def test_a_miner_that_cannot_be_asked_is_a_contender_without_an_answer(world: World) -> None:
    """It has the task that it would have had, and the reason."""
    world.listing.entries = [miner(1), replace(miner(2), price=None)]
    await live(world, 2)
    ((_, contenders), *_) = course(world).judged
    assert contenders[1].task == Sampled().assign(bytes.fromhex(str(contenders[0].task["start"]).split()[0]), 2)
    assert "is silent" in contenders[1].submission.failure
    assert list(world.seat.revealed[1].row) == [0, FULL_ROW, 0]


async def test_a_task_that_cannot_be_made_blames_nobody(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """All tasks are made before the first is sent; the others are asked."""

    @dataclass
    class Picky(Course):
        def assign(self, seed: bytes, uid: int) -> Task:
            if uid == 1:
                raise ZeroDivisionError
            assert world.asking.asked.count(2) == world.seat.epoch, "a task was made when others were asked already"
            return super().assign(seed, uid)

    world.kill()
    world.contest = Picky()
    world.start()
    await live(world, 2)
    assert "round.not_assigned epoch=1 uid=1" in caplog.text
    assert sorted(reasons(world, 1)) == [2, 3, 4]


async def test_an_answer_takes_its_share_of_the_disk(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Larger ones are dropped with a reason; others keep their place."""
    monkeypatch.setattr(rounds, "ROUND_BYTES", 4 * 4_000)
    noise = "".join(chr(33 + (n * n * 7919) % 90) + f"{n:x}" for n in range(9_000))
    world.asking.answer = lambda uid, task: [{"junk": noise}] if uid == 2 else work(uid, task)
    await live(world, 2)
    assert reasons(world, 1)[1] == ""
    assert "a validator keeps 4,000 of each" in reasons(world, 1)[2]


async def test_no_opening_is_too_large_for_an_auditor(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A mechanism's bug, so nobody is blamed."""

    @dataclass
    class Wordy(Course):
        async def judge_round(self, seed: bytes, contenders: Sequence[Contender]) -> Sequence[Verdict]:
            return [Verdict(1.0, "", None, "x" * (rounds.OPENING_BYTES + 1)) for _ in contenders]

    world.kill()
    world.contest = Wordy()
    world.start()
    await live(world, 2)
    assert world.book.findings(1) == []
    assert "opening" in caplog.text


def test_seeds_differ_by_purpose_market_epoch_and_beacon() -> None:
    """Equal places, equal seeds; anything else, another one."""
    markets = ("0x" + "11" * 20, "0x" + "22" * 20)
    beacons = (bytes(32), b"\1" * 32)
    places = list(itertools.product(("ask", "judge"), beacons, markets, (1, 2)))
    assert len({draw_seed(*place) for place in places}) == len(places)  # type: ignore[arg-type]  # product forgets literals
    assert all(len(draw_seed(*place)) == 32 for place in places)  # type: ignore[arg-type]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
_PIECES = st.lists(st.dictionaries(st.text(max_size=4), _JSON, max_size=3), max_size=3)


@given(_PIECES, st.text(max_size=20), st.binary(max_size=65))
def test_a_response_comes_back_from_disk_as_it_was(pieces: list[Piece], failure: str, evidence: bytes) -> None:
    """Whatever a stranger put into it."""
    submission = Submission(7, pieces, 0.25, 1.5, evidence, failure)
    response = Response("judged", {"start": "x"}, submission, 12, Usage(3, 4))
    assert decode_response(encode_response(response)) == response


def test_a_kept_exchange_comes_back_byte_by_byte() -> None:
    """Bytes that are no text at all included; the pieces are those of the lines."""
    lines = b'{"numbers":[1,2]}\n{"usage":{}}\n'
    answer = Answer(b"r" * 32, b"b" * 32, Usage(1, 2), 3, 4, "0x" + "1" * 40, b"s" * 65)
    transcript = Transcript(b"head\xff\x00", b"body\xfe", lines, answer)
    pieces: list[Piece] = [{"numbers": [1, 2]}, {"usage": {}}]
    response = Response("judged", {}, Submission(7, pieces, 0.1, 0.2, b"s" * 65), 3, Usage(1, 2), transcript)
    assert decode_response(encode_response(response)) == response
