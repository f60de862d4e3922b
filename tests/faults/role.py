"""One role in a process of its own, as `tercet mine` and `tercet validate` run it, with the echo of a test's choice.

python role.py FACTS.json: what is in the facts is in `run` below.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tercet.chain.keys import Key
from tercet.chain.ledger import Deployment, Ledger
from tercet.chain.rpc import Rpc
from tercet.errors import SubnetError, TercetError
from tercet.market import Price, Task, Usage, Verdict
from tercet.nodes.epochs import Policy
from tercet.nodes.miner import MinerConfig, run_miner
from tercet.nodes.validator import ValidatorConfig, run_validator
from tercet.subnets import Contender, Piece, Recheck, Submission
from tercet.subnets.echo import Echo


class Liar(Echo):
    """Answers at once, with something else."""

    async def answer(self, task: Task) -> AsyncIterator[Piece]:
        async for piece in super().answer(task):
            yield {**piece, "text": task["text"][::-1]}


class Deserter(Echo):
    """Honest twice; dies in the middle of its third answer."""

    answers = 0

    async def answer(self, task: Task) -> AsyncIterator[Piece]:
        self.answers += 1
        async for piece in super().answer(task):
            yield piece
            if self.answers == 3:
                os._exit(9)


class Brooder(Echo):
    """Takes the work and never answers."""

    async def answer(self, task: Task) -> AsyncIterator[Piece]:
        await asyncio.Event().wait()
        yield {}


class Babbler(Echo):
    """Answers with pieces that make no sense, and claims no usage."""

    async def answer(self, task: Task) -> AsyncIterator[Piece]:
        yield {"text": 7, "tokens": [None], "usage": {"prompt": 0, "completion": 0}}


class Newer(Echo):
    """Another version of the rules."""

    version = 2


class Sampled(Echo):
    """A contest: so many numbers are worked out, a part of them is checked. Its market is an echo's all the same."""

    COUNT, CHECKED = 64, 32
    """So many that a quarter of wrong numbers is seen whatever is drawn."""

    def limit(self, task: Task) -> Usage:
        if not isinstance(task.get("start"), str):
            raise SubnetError('A task is {"start": "..."}.')
        return Usage()

    def challenge(self, beacon: bytes) -> Task:
        return {"start": beacon.hex()}

    def assign(self, seed: bytes, uid: int) -> Task:
        return {"start": f"{seed.hex()} {uid}"}

    def is_assigned(self, seed: bytes, uid: int, task: Task) -> bool:
        return task == Sampled.assign(self, seed, uid)

    def number(self, task: Task, index: int) -> int:
        """The work."""
        return int.from_bytes(hashlib.sha256(f"{task['start']} {index}".encode()).digest()[:4], "big")

    async def answer(self, task: Task) -> AsyncIterator[Piece]:
        numbers = [self.number(task, index) for index in range(self.COUNT)]
        yield {"numbers": numbers, "usage": {"prompt": 0, "completion": 0}}

    async def judge(self, task: Task, submissions: Sequence[Submission]) -> Sequence[Verdict]:
        return [self._check(task, submission, range(self.COUNT), "") for submission in submissions]

    async def judge_round(self, seed: bytes, contenders: Sequence[Contender]) -> Sequence[Verdict]:
        indices = self.sample(seed)
        return [self._check(one.task, one.submission, indices, seed.hex()) for one in contenders]

    def sample(self, seed: bytes) -> list[int]:
        """What is checked in a round."""
        return random.Random(seed).sample(range(self.COUNT), self.CHECKED)

    async def recheck(self, task: Task, submission: Submission, claimed: Verdict) -> Recheck:
        found = self._check(task, submission, self.sample(bytes.fromhex(claimed.opening)), claimed.opening)
        agrees = found.score == claimed.score
        return Recheck(agrees=agrees, certain=not agrees, reason=found.reason)

    def _check(self, task: Task, submission: Submission, indices: Sequence[int], opening: str) -> Verdict:
        if submission.failure:
            return Verdict(0.0, submission.failure)
        numbers = submission.pieces[0].get("numbers") if submission.pieces else None
        if not isinstance(numbers, list) or len(numbers) != self.COUNT:
            return Verdict(0.0, f"not {self.COUNT} numbers", opening=opening)
        right = all(numbers[index] == self.number(task, index) for index in indices)
        measures = {"first_checked": float(indices[0])}
        return Verdict(float(right), "" if right else "a number is wrong", measures, opening)


class Skimmer(Sampled):
    """Works out three of four numbers, and hopes that the others are not checked."""

    async def answer(self, task: Task) -> AsyncIterator[Piece]:
        async for piece in super().answer(task):
            yield {**piece, "numbers": [number if index % 4 else 0 for index, number in enumerate(piece["numbers"])]}


ECHOES = {kind.__name__.lower(): kind for kind in (Echo, Liar, Deserter, Brooder, Babbler, Newer, Sampled, Skimmer)}


async def run(facts: Mapping[str, Any]) -> int:
    """Run the role to its end; its exit code."""
    key, state = Key.from_hex(facts["key"]), Path(facts["state"])
    async with Rpc(facts["url"]) as rpc:
        ledger = Ledger(rpc, Deployment.from_json(facts["deployment"], "of the test"))
        mechanism = ECHOES[facts["echo"]]()
        if facts["role"] == "miner":
            return await run_miner(
                MinerConfig(
                    key,
                    ledger,
                    facts["market"],
                    mechanism,
                    state,
                    register=True,
                    price=Price(per_request=1_000),
                    poll_seconds=0.5,
                    grace_seconds=1.0,
                )
            )
        return await run_validator(
            ValidatorConfig(
                key,
                Key.from_hex(facts["payer"]),
                ledger,
                facts["market"],
                mechanism,
                state,
                policy=Policy(challenges_per_miner=3, poll_seconds=0.25, answer_seconds=facts["answer_seconds"]),
            )
        )


def main() -> int:
    """Read the facts, shift the clock if they say so, run."""
    facts = json.loads(Path(sys.argv[1]).read_text())
    real, skew = time.time, float(facts["skew"])
    time.time = lambda: real() + skew
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        return asyncio.run(run(facts))
    except TercetError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
