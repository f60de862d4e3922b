"""One challenge: buy an answer as any buyer would, have it judged, say what was found.

Knows the buyer and the mechanism, not the epoch. What goes wrong on our side is held against nobody.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from dataclasses import dataclass, replace

from tercet.errors import (
    BudgetError,
    ChainError,
    MinerError,
    MinerMisbehaved,
    MinerRefused,
    SubnetError,
    TercetError,
)
from tercet.market import Price, Task, Usage, Verdict
from tercet.nodes.audit_log import build_package
from tercet.nodes.buyer import Buyer, Transcript
from tercet.nodes.directory import MinerEntry
from tercet.nodes.scores import Finding, Kind
from tercet.subnets import Mechanism, Piece, Submission

__all__ = ["Examiner", "Question"]

log = logging.getLogger(__name__)

PATIENCE = 1.1
"""Times the buyer's own deadline: a belt for its braces."""


@dataclass(frozen=True, slots=True)
class Question:
    """A challenge on its way: no different from a buyer's request."""

    miner: MinerEntry
    task: Task
    limit: Usage
    price: Price
    cost: int
    """The most it can cost, credit units."""


@dataclass(frozen=True, slots=True)
class _Reply:
    kind: Kind
    submission: Submission
    charged: int
    usage: Usage = Usage()  # noqa: RUF009 - frozen
    transcript: Transcript | None = None


class Examiner:
    """Asks and judges, at most `concurrency` questions at a time and one judgement at a time."""

    def __init__(
        self,
        mechanism: Mechanism,
        buyer: Buyer,
        *,
        answer_seconds: float,
        judge_seconds: float,
        concurrency: int,
        keep: bool = False,
    ) -> None:
        """Nothing is asked yet. `keep` keeps with each finding what an auditor needs to run it again."""
        self._keep = keep
        self._mechanism, self._buyer = mechanism, buyer
        self._answer_seconds, self._judge_seconds = answer_seconds, judge_seconds
        self._asking = asyncio.Semaphore(concurrency)
        # One model, one thread: two judgements at once would only slow each other.
        self._judging = asyncio.Lock()

    def draw(self, miner: MinerEntry, price: Price) -> Question:
        """A question to `miner` that nobody could have prepared, at the price that any buyer pays it."""
        task = self._mechanism.challenge(os.urandom(32))
        limit = self._mechanism.limit(task)
        return Question(miner, task, limit, price, price.charge(limit))

    async def examine(self, question: Question) -> Finding | None:
        """What the answer is worth, for epoch 0 until the caller says which; None when the fault is ours."""
        miner = question.miner
        try:
            async with self._asking:
                reply = await self._ask(question)
            verdict = await self._judge(question.task, reply)
        except TimeoutError:
            log.warning("challenge.unjudged uid=%d judge_seconds=%g", miner.uid, self._judge_seconds)
            return None
        except (BudgetError, ChainError, SubnetError) as error:
            log.warning("challenge.skipped uid=%d why=%r", miner.uid, str(error))
            return None
        package = build_package(reply.transcript, reply.submission, verdict) if self._keep else b""
        return Finding(0, miner.uid, miner.generation, reply.kind, verdict, reply.charged, time.time(), package)

    async def _ask(self, question: Question) -> _Reply:
        """Buy the answer. A miner's failure is a reply too."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._answer_seconds * PATIENCE):
                return await self._buy(question)
        except MinerMisbehaved as error:
            # Without the miner's signature under it, anybody on the way may have done it.
            return _failed(question, "forged" if error.evidence else "missed", error, began)
        except MinerRefused as error:
            return _failed(question, "missed", error, began, f"refused: {error.code}")
        except MinerError as error:
            return _failed(question, "missed", error, began)
        except TimeoutError as error:
            return _failed(question, "missed", error, began, f"no answer in {self._answer_seconds:g} s")

    async def _buy(self, question: Question) -> _Reply:
        pieces: list[Piece] = []
        async with self._buyer.ask(
            question.miner,
            question.task,
            question.limit,
            deadline_seconds=self._answer_seconds,
            price=question.price,
            keep=self._keep,
        ) as exchange:
            async for piece in exchange:
                pieces.append(piece)  # noqa: PERF401 - what came before a failure is dropped on purpose
        submission = Submission(
            uid=question.miner.uid,
            pieces=pieces,
            first_seconds=exchange.first_seconds,
            total_seconds=exchange.total_seconds,
            evidence=exchange.answer.signature,
        )
        transcript = exchange.transcript if self._keep else None
        return _Reply("judged", submission, exchange.charged, exchange.answer.usage, transcript)

    async def _judge(self, task: Task, reply: _Reply) -> Verdict:
        if reply.kind != "judged":
            return Verdict(0.0, reply.submission.failure)
        async with self._judging, asyncio.timeout(self._judge_seconds):
            (verdict,) = await self._mechanism.judge(task, [reply.submission])
        # What every answer has, whether the judge got as far as measuring it or not.
        bill = {
            "first_seconds": reply.submission.first_seconds,
            "total_seconds": reply.submission.total_seconds,
            "completion": float(reply.usage.completion),
        }
        return replace(verdict, measures={**bill, **(verdict.measures or {})})


def _failed(question: Question, kind: Kind, error: Exception, began: float, failure: str = "") -> _Reply:
    seconds = time.monotonic() - began
    why = failure or (str(error) if isinstance(error, TercetError) else repr(error))
    return _Reply(kind, Submission(question.miner.uid, [], seconds, seconds, b"", why), 0)
