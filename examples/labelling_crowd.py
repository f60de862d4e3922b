"""Five voters label handwritten digits: three models, one that guesses, one that copies. Who is paid, and how right the result is.

python examples/labelling_crowd.py     (needs: pip install 'tercet[labelling]')
"""

from __future__ import annotations

import asyncio
import time

from tercet.subnets import Contender, Submission
from tercet.subnets.kit import derive
from tercet.subnets.labelling import Labelling

CREW = {
    "knn": {"by": "knn", "seed": 0},
    "logreg": {"by": "logreg", "seed": 1},
    "bayes": {"by": "bayes", "seed": 2},
    "guesser": {"behaviour": "guesser"},
    "copycat of bayes": {"by": "bayes", "seed": 2, "behaviour": "copycat"},
}


async def main() -> None:
    """One round: a seed asks, all answer, a later seed says what was gold."""
    judge = Labelling()
    await judge.open("validator")
    task = judge.assign(derive(b"the beacon before last"), 0)
    contenders, began = [], time.monotonic()
    for uid, (name, options) in enumerate(CREW.items(), start=1):
        miner = Labelling(**options)  # type: ignore[arg-type]  # a table of options
        await miner.open("miner")
        pieces = [piece async for piece in miner.answer(task)]
        took = time.monotonic() - began
        contenders.append(Contender(uid, uid, task, Submission(uid, pieces, took, took, b"")))
        print(f"miner {uid} ({name}): {len(pieces[-1]['answers'])} answers")
    verdicts = await judge.judge_round(derive(b"the beacon that nobody knew"), contenders)
    for name, verdict in zip(CREW, verdicts, strict=True):
        print(f"{name:<17} score {verdict.score:.3f}  {verdict.reason}")
    assert all(verdict.score > 0.8 for verdict in verdicts[:3])
    assert all(verdict.score == 0 for verdict in verdicts[3:])


if __name__ == "__main__":
    asyncio.run(main())
