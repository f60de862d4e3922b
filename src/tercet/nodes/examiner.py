"""One question: buy an answer as any buyer would, have it judged, say what was found.

Knows the buyer and the mechanism, not the epoch. What goes wrong on our side is held against nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
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
)
from tercet.market import Price, Task, Usage, Verdict
from tercet.nodes.audit_log import build_package
from tercet.nodes.buyer import Buyer
from tercet.nodes.directory import MinerEntry
from tercet.nodes.response import Response
from tercet.nodes.scores import Finding, Kind
from tercet.subnets import Mechanism, Piece, Stocked, Submission

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


class Examiner:
    """Asks and judges; one judgement at a time."""

    def __init__(
        self, mechanism: Mechanism, buyer: Buyer, *, answer_seconds: float, judge_seconds: float, keep: bool = False
    ) -> None:
        """Nothing is asked yet. `keep` keeps with each finding what an auditor needs to run it again."""
        self._keep = keep
        self._mechanism, self._buyer = mechanism, buyer
        self._answer_seconds, self._judge_seconds = answer_seconds, judge_seconds
        # One model, one thread: two judgements at once would only slow each other.
        self._judging = asyncio.Lock()

    async def draw(self, miner: MinerEntry, price: Price) -> Question:
        """A question to `miner` that nobody could have prepared, at the price that any buyer pays it."""
        mechanism = self._mechanism
        if not isinstance(mechanism, Stocked):
            return self.pose(miner, price, mechanism.challenge(os.urandom(32)))
        # Its stock may be sold out, and the work then takes seconds, in which other answers must not wait.
        task = await asyncio.to_thread(lambda: mechanism.challenge(mechanism.beacon()))
        return self.pose(miner, price, task)

    def pose(self, miner: MinerEntry, price: Price, task: Task) -> Question:
        """A given task as a question to `miner`."""
        limit = self._mechanism.limit(task)
        return Question(miner, task, limit, price, price.charge(limit))

    async def meet(self, miner: MinerEntry) -> None:
        """Open the channel to `miner` unless it is open. When that fails, asking fails too, and says why."""
        with contextlib.suppress(ChainError, BudgetError):
            await self._buyer.channels.ready(miner)

    async def ask(self, question: Question, seconds: float | None = None) -> Response | None:
        """Buy the answer; a miner's failure is a response too. None when the fault is ours.

        Args:
            question: whom, what, for how much.
            seconds: for the answer; None gives it as long as an answer may take.

        """
        seconds, began = seconds or self._answer_seconds, time.monotonic()
        try:
            async with asyncio.timeout(seconds * PATIENCE):
                return await self._buy(question, seconds)
        except MinerMisbehaved as error:
            # Without the miner's signature under it, anybody on the way may have done it.
            return _failed(question, "forged" if error.evidence else "missed", str(error), began)
        except MinerRefused as error:
            return _failed(question, "missed", f"refused: {error.code}", began)
        except MinerError as error:
            return _failed(question, "missed", str(error), began)
        except TimeoutError:
            return _failed(question, "missed", f"no answer in {seconds:g} s", began)
        except (BudgetError, ChainError, SubnetError) as error:
            log.warning("challenge.skipped uid=%d why=%r", question.miner.uid, str(error))
            return None

    async def _buy(self, question: Question, seconds: float) -> Response:
        pieces: list[Piece] = []
        async with self._buyer.ask(
            question.miner,
            question.task,
            question.limit,
            deadline_seconds=seconds,
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
        return Response("judged", question.task, submission, exchange.charged, exchange.answer.usage, transcript)

    async def judge(self, miner: MinerEntry, response: Response) -> Finding | None:
        """What the answer is worth, for epoch 0 until the caller says which; None when the fault is ours."""
        verdict = Verdict(0.0, response.submission.failure)
        try:
            if response.kind == "judged":
                async with self._judging, asyncio.timeout(self._judge_seconds):
                    (verdict,) = await self._mechanism.judge(response.task, [response.submission])
        except TimeoutError:
            log.warning("challenge.unjudged uid=%d judge_seconds=%g", miner.uid, self._judge_seconds)
            return None
        except SubnetError as error:
            log.warning("challenge.skipped uid=%d why=%r", miner.uid, str(error))
            return None
        return self.find((miner.uid, miner.generation), response, verdict)

    def find(self, tenant: tuple[int, int], response: Response, verdict: Verdict) -> Finding:
        """A verdict as a finding, for epoch 0 until the caller says which."""
        if response.kind == "judged":
            # What every answer has, whether the judge got as far as measuring it or not.
            bill = {
                "first_seconds": response.submission.first_seconds,
                "total_seconds": response.submission.total_seconds,
                "completion": float(response.usage.completion),
            }
            verdict = replace(verdict, measures={**bill, **(verdict.measures or {})})
        package = build_package(response.transcript, response.submission, verdict) if self._keep else b""
        return Finding(0, *tenant, response.kind, verdict, response.charged, time.time(), package)


def _failed(question: Question, kind: Kind, why: str, began: float) -> Response:
    return Response.failed(kind, question.task, question.miner.uid, why, time.monotonic() - began)
