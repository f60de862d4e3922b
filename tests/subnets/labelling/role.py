"""Labelling miners and validators as processes: `tests.faults.role` with other mechanisms to choose from."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

from tests.faults import role

from tercet.market import Task, Verdict
from tercet.subnets import Contender, Piece
from tercet.subnets.kit.beacon import derive
from tercet.subnets.labelling import Labelling

SENT = Path(sys.argv[1]).with_name("victim-has-answered") if len(sys.argv) > 1 else Path()
"""In the town's folder."""


class Judge(Labelling):
    """Draws the same batch and the same gold on every chain.

    Of a small batch with few errors a copycat is now and then not told from its victim, and two good models are taken
    for copies: with the chain's beacon that were a matter of luck.
    """

    def challenge(self, beacon: bytes) -> Task:
        return super().challenge(derive(b"assignment"))

    async def judge_round(self, seed: bytes, contenders: Sequence[Contender]) -> Sequence[Verdict]:
        return await super().judge_round(derive(b"a later beacon"), contenders)


class Victim(Labelling):
    """Lets the copycat know when its answer is out."""

    async def answer(self, task: Task) -> AsyncIterator[Piece]:
        async for piece in super().answer(task):
            yield piece
        SENT.touch()


class Copycat(Labelling):
    """Answers after its victim, as whoever copies must, however busy the machine is."""

    async def answer(self, task: Task) -> AsyncIterator[Piece]:
        while not SENT.exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.02)
        async for piece in super().answer(task):
            yield piece


KINDS: dict[str, Any] = {
    "judge": Judge,
    "knn": partial(Labelling, by="knn", seed=0),
    "logreg": partial(Labelling, by="logreg", seed=1),
    "bayes": partial(Victim, by="bayes", seed=2),
    "copycat": partial(Copycat, by="bayes", seed=2, behaviour="copycat"),
}

if __name__ == "__main__":
    role.ECHOES |= KINDS
    sys.exit(role.main())
