"""One role in a process of its own, as `tercet mine` and `tercet validate` run it, with the echo of a test's choice.

python role.py FACTS.json: what is in the facts is in `run` below.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from tercet.chain.keys import Key
from tercet.chain.ledger import Deployment, Ledger
from tercet.chain.rpc import Rpc
from tercet.errors import TercetError
from tercet.market import Price, Task
from tercet.nodes.epochs import Policy
from tercet.nodes.miner import MinerConfig, run_miner
from tercet.nodes.validator import ValidatorConfig, run_validator
from tercet.subnets import Piece
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


ECHOES = {kind.__name__.lower(): kind for kind in (Echo, Liar, Deserter, Brooder, Babbler, Newer)}


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
