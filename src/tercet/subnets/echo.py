"""The smallest subnet: a miner returns what it was sent. An example to copy, and the benchmarks' load."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import ClassVar

from tercet.errors import SubnetError
from tercet.market import Price, Task, Usage, Verdict
from tercet.subnets.mechanism import Piece, Recheck, Role, Submission

__all__ = ["Echo"]


class Echo:
    """Task: `{"text": str}`. Answer: one piece with the same text."""

    name: ClassVar[str] = "echo"
    version: ClassVar[int] = 1

    async def open(self, role: Role) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to give back."""

    def price(self) -> Price:
        """One credit for a million requests."""
        return Price(per_request=1)

    def limit(self, task: Task) -> Usage:
        """Characters in, the same out."""
        if not isinstance(task.get("text"), str):
            raise SubnetError('An echo task is {"text": "..."}; this one has no text.')
        return Usage(len(task["text"]), len(task["text"]))

    def challenge(self, beacon: bytes) -> Task:
        """A text nobody could have prepared."""
        return {"text": hashlib.sha256(beacon).hexdigest()}

    async def answer(self, task: Task) -> AsyncIterator[Piece]:
        """The text again."""
        size = self.limit(task).prompt
        yield {"text": task["text"], "usage": {"prompt": size, "completion": size}}

    async def judge(self, task: Task, submissions: Sequence[Submission]) -> Sequence[Verdict]:
        """All or nothing."""
        return [self._verdict(task, submission) for submission in submissions]

    async def recheck(self, task: Task, submission: Submission, claimed: Verdict) -> Recheck:
        """Exactly: the text came back or it did not."""
        if not isinstance(task.get("text"), str):
            return Recheck(agrees=False, certain=True, reason="the task has no text")
        found = self._verdict(task, submission)
        if found.score == claimed.score:
            return Recheck(agrees=True)
        why = found.reason or "the text came back"
        return Recheck(agrees=False, certain=True, reason=f"claims {claimed.score:g}, found {found.score:g}: {why}")

    def _verdict(self, task: Task, submission: Submission) -> Verdict:
        if submission.failure:
            return Verdict(0.0, submission.failure)
        right = [piece.get("text") for piece in submission.pieces] == [task["text"]]
        return Verdict(1.0, "") if right else Verdict(0.0, "the text came back changed")
