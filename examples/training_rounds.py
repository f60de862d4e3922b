"""Three miners and a cheat train one small model for some rounds, without a market round them.

    python examples/training_rounds.py

A validator hands out shares of a round, miners train on them, the validator pays and moves the model: the same class
that `tercet mine training` and `tercet validate training` run. Needs `pip install 'tercet[training]'`.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

from tercet.subnets import Contender, Submission
from tercet.subnets.training import Behaviour, Training

ROUNDS = 9
BEHAVIOURS: tuple[Behaviour, ...] = ("honest", "honest", "honest", "hoarder")


async def main() -> None:
    """Play the rounds, print who earned what."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        text = folder / "text.txt"
        text.write_text("\n\n".join(topics[name] for name in sorted(topics)))
        options: dict[str, Any] = {"model": "nano", "corpus": str(text), "steps": 8, "batch": 8}
        validator = Training(folder=folder / "validator", **options)
        await validator.open("validator")
        stack.push_async_callback(validator.close)
        miners = [Training(store=str(folder / "validator/store"), behaviour=each, **options) for each in BEHAVIOURS]
        for miner in miners:
            await miner.open("miner")
        print("round  " + "  ".join(f"{each:>8}" for each in BEHAVIOURS) + "   gain of the round's best, nats/byte")
        for number in range(ROUNDS):
            # On a chain both seeds come from beacons: the second one after the answers are signed.
            ask, judge = (hashlib.sha256(f"{what} {number}".encode()).digest() for what in ("ask", "judge"))
            await validator.begin(number)
            contenders = []
            for uid, miner in enumerate(miners, start=1):
                task = validator.assign(ask, uid)
                pieces = [piece async for piece in miner.answer(task)]
                contenders.append(Contender(uid, 1, task, Submission(uid, pieces, 0.0, 0.0, b"")))
            verdicts = await validator.judge_round(judge, contenders)
            best = max((verdict.measures or {}).get("gain", 0.0) for verdict in verdicts)
            print(f"{number:>5}  " + "  ".join(f"{verdict.score:>8.2f}" for verdict in verdicts) + f"   {best:.3f}")


if __name__ == "__main__":
    asyncio.run(main())
