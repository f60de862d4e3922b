"""One challenge: what counts against a miner, and what does not."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import pytest

from tercet.errors import (
    BudgetError,
    ChainUnreachableError,
    MinerMisbehaved,
    MinerRefused,
    MinerUnreachable,
    SubnetError,
)
from tercet.market import Answer, Price, Task, Usage, Verdict
from tercet.nodes.buyer import Buyer
from tercet.nodes.directory import MinerEntry
from tercet.nodes.examiner import Examiner, Question
from tercet.nodes.scores import Finding
from tercet.subnets import Piece, Submission
from tercet.subnets.echo import Echo

MINER = MinerEntry(
    uid=3,
    generation=8,
    owner="0x" + "1" * 40,
    operator="0x" + "2" * 40,
    endpoint="http://127.0.0.1:1",
    share=1.0,
    proven=True,
    price=Price(per_request=10),
)


class FakeExchange:
    """An answer that is made of `pieces`, or breaks."""

    def __init__(self, pieces: Sequence[Piece], fault: Exception | None) -> None:
        self._pieces, self._fault = pieces, fault
        self.first_seconds, self.total_seconds, self.charged = 0.25, 0.5, 10
        self.answer = Answer(b"", b"", Usage(), 10, 10, MINER.operator, b"signature")

    async def __aiter__(self) -> AsyncIterator[Piece]:
        for piece in self._pieces:
            yield piece
        if self._fault:
            raise self._fault


class FakeBuyer:
    """Buys from a miner that does `behaviour` with the task."""

    def __init__(self, behaviour: Any) -> None:
        self.behaviour = behaviour
        self.in_flight = self.most = 0
        self.terms: list[tuple[Usage, float, Price | None]] = []

    @contextlib.asynccontextmanager
    async def ask(
        self,
        miner: MinerEntry,
        task: Task,
        usage_limit: Usage,
        *,
        deadline_seconds: float,
        price: Price | None,
        keep: bool,
    ) -> AsyncIterator[FakeExchange]:
        self.terms.append((usage_limit, deadline_seconds, price))
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            await asyncio.sleep(0)
            found = self.behaviour(task)
            if asyncio.iscoroutine(found):
                found = await found
            yield FakeExchange(*((), found) if isinstance(found, Exception) else (found, None))
        finally:
            self.in_flight -= 1


def honest(task: Task) -> list[Piece]:
    return [{"text": task["text"], "usage": {"prompt": 64, "completion": 64}}]


class Judge(Echo):
    """Echo, with a judge that may be slow, broken or just busy."""

    def __init__(self, trouble: Exception | None = None, seconds: float = 0.0) -> None:
        self.trouble, self.seconds = trouble, seconds
        self.judging = self.most = 0

    async def judge(self, task: Task, submissions: Sequence[Submission]) -> Sequence[Verdict]:
        self.judging += 1
        self.most = max(self.most, self.judging)
        await asyncio.sleep(self.seconds)
        self.judging -= 1
        if self.trouble:
            raise self.trouble
        return await super().judge(task, submissions)


LONG = 20.0
"""Seconds that only what hangs uses up."""


def build(behaviour: Any, judge: Echo | None = None, *, seconds: float = LONG) -> tuple[Examiner, FakeBuyer]:
    buyer = FakeBuyer(behaviour)
    mechanism = judge or Echo()
    return Examiner(mechanism, cast("Buyer", buyer), answer_seconds=seconds, judge_seconds=seconds), buyer


async def examine(examiner: Examiner, question: Question) -> Finding | None:
    """Ask, then judge."""
    response = await examiner.ask(question)
    return None if response is None else await examiner.judge(question.miner, response)


async def find(behaviour: Any, judge: Echo | None = None, *, seconds: float = LONG) -> Finding | None:
    examiner, _ = build(behaviour, judge, seconds=seconds)
    return await examine(examiner, await examiner.draw(MINER, Price(per_request=10)))


async def test_an_honest_answer_is_judged() -> None:
    """With its charge, for this tenant of the slot."""
    finding = await find(honest)
    assert finding is not None
    assert (finding.uid, finding.generation, finding.kind) == (3, 8, "judged")
    assert (finding.verdict.score, finding.verdict.reason, finding.charged) == (1.0, "", 10)
    assert finding.verdict.measures == {"first_seconds": 0.25, "total_seconds": 0.5, "completion": 0.0}


async def test_a_liar_is_found_out() -> None:
    """An answer that came and is wrong proves the cheat."""
    finding = await find(lambda task: [{"text": "another"}])
    assert finding is not None
    assert finding.wrong
    assert finding.verdict.reason == "the text came back changed"


@pytest.mark.parametrize(
    ("fault", "wrong", "reason"),
    [
        (MinerUnreachable("Nobody answered."), False, "Nobody answered."),
        (MinerRefused("No.", code="busy", retry_after=1), False, "refused: busy"),
        (MinerMisbehaved("No trailer."), False, "No trailer."),
        (MinerMisbehaved("Charged 9, 5 were reserved.", evidence=b"signed"), True, "Charged 9, 5 were reserved."),
    ],
)
async def test_what_goes_wrong_on_the_miners_side_counts(fault: Exception, wrong: bool, reason: str) -> None:
    """A failure scores 0; only what the miner signed proves a cheat, anything else may be the network's doing."""
    finding = await find(lambda task: fault)
    assert finding is not None
    assert (finding.verdict, finding.wrong) == (Verdict(0.0, reason), wrong)


async def test_a_miner_that_answers_for_ever_is_cut_off() -> None:
    """Even when the buyer's own deadline fails."""

    async def for_ever(task: Task) -> None:
        await asyncio.Event().wait()

    finding = await find(for_ever, seconds=0.05)
    assert finding is not None
    assert (finding.kind, finding.verdict.reason) == ("missed", "no answer in 0.05 s")


@pytest.mark.parametrize(
    "fault", [BudgetError("The payer is broke."), ChainUnreachableError("gone"), SubnetError("no model")]
)
async def test_our_own_trouble_is_held_against_nobody(fault: Exception) -> None:
    """No credit, no chain, no model: there is no finding."""
    assert await find(lambda task: fault) is None


@pytest.mark.parametrize(
    ("judge", "seconds"), [(Judge(SubnetError("the model is gone")), LONG), (Judge(seconds=60), 0.05)]
)
async def test_a_judge_that_fails_or_hangs_blames_nobody(judge: Judge, seconds: float) -> None:
    """The answer was paid, the verdict is ours to give."""
    assert await find(honest, judge, seconds=seconds) is None


async def test_questions_fly_together_and_are_judged_one_by_one() -> None:
    """Miners are compared in one moment; the judge's machine has one model."""
    judge = Judge(seconds=0.001)
    examiner, buyer = build(honest, judge)
    questions = [await examiner.draw(MINER, Price(per_request=10)) for _ in range(12)]
    found = await asyncio.gather(*(examine(examiner, question) for question in questions))
    assert all(found)
    assert (buyer.most, judge.most) == (12, 1)


class Laborious(Echo):
    """Its stock is sold out, and the next task is made when somebody lets it."""

    def __init__(self) -> None:
        self.let = threading.Event()

    def beacon(self) -> bytes:
        return bytes(32)

    def challenge(self, beacon: bytes) -> Task:
        assert self.let.wait(10), "the loop stood still"
        return super().challenge(beacon)


async def test_while_a_task_is_made_the_rest_goes_on() -> None:
    """Answers that come in meanwhile keep their times."""
    laborious = Laborious()
    examiner, _ = build(honest, laborious)
    making = asyncio.create_task(examiner.draw(MINER, Price(per_request=10)))
    await asyncio.sleep(0)
    laborious.let.set()
    assert (await making).task == Echo().challenge(bytes(32))


async def test_a_question_is_an_ordinary_purchase() -> None:
    """The task is fresh each time; limit, deadline and price are those of any buyer."""
    examiner, buyer = build(honest)
    first, second = [await examiner.draw(MINER, Price(per_request=10, prompt_per_1k=1000)) for _ in range(2)]
    assert first.task != second.task
    assert set(first.task) == {"text"}
    assert first.cost == 10 + 64
    await examine(examiner, first)
    assert buyer.terms == [(Usage(64, 64), LONG, first.price)]
