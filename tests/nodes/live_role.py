"""Runs a miner or a gateway as a process of its own; a test tells it what by one JSON object on stdin."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tercet.chain import Deployment, Key, Ledger, Rpc
from tercet.market import Price, Task, Usage, Verdict
from tercet.nodes.gateway import GatewayConfig, run_gateway
from tercet.nodes.gateway_calls import Terms
from tercet.nodes.miner import MinerConfig, run_miner
from tercet.subnets import Mechanism, Piece, Role, Submission, load_mechanism


class Parrot:
    """A language model's manners without a model: counts as far as it is told, a word every `pause` seconds."""

    name: ClassVar[str] = "parrot"
    version: ClassVar[int] = 1
    model = "polly"

    def __init__(self, pause: float = 0.0) -> None:
        self._pause = pause

    async def open(self, role: Role) -> None:
        pass

    async def close(self) -> None:
        pass

    def price(self) -> Price:
        return Price(per_request=100, prompt_per_1k=1000, completion_per_1k=10_000)

    def limit(self, task: Task) -> Usage:
        if task["kind"] == "embed":
            return Usage(sum(map(len, task["input"])), 0)
        return Usage(sum(len(message["content"]) for message in task["messages"]), task["max_tokens"])

    def challenge(self, beacon: bytes) -> Task:
        return {"kind": "embed", "input": [beacon.hex()]}

    async def answer(self, task: Task) -> AsyncIterator[Piece]:
        prompt = self.limit(task).prompt
        if task["kind"] == "embed":
            usage = {"prompt": prompt, "completion": 0}
            yield {"vectors": [[float(len(text)), 1.0] for text in task["input"]], "usage": usage}
            return
        for word in range(task["max_tokens"]):
            yield {"text": f"{word} ", "tokens": [[word, -0.25]]}
            await asyncio.sleep(self._pause)
        usage = {"prompt": prompt, "completion": task["max_tokens"]}
        yield {"text": "", "tokens": [], "finish": "length", "usage": usage, "model": self.model}

    async def judge(self, task: Task, submissions: Sequence[Submission]) -> Sequence[Verdict]:
        return [Verdict(1.0, "") for _ in submissions]


def build_mechanism(told: dict[str, Any]) -> Mechanism:
    options = told.get("options", {})
    return Parrot(**options) if told["subnet"] == "parrot" else load_mechanism(told["subnet"], **options)


async def run(told: dict[str, Any]) -> int:
    key, state = Key.from_hex(told["key"]), Path(told["state"])
    async with Rpc(told["url"]) as rpc:
        ledger = Ledger(rpc, Deployment.from_json(told["deployment"], "the test's"))
        if told["role"] == "miner":
            return await run_miner(
                MinerConfig(key, ledger, told["market"], build_mechanism(told), state, register=True, poll_seconds=0.5)
            )
        return await run_gateway(
            GatewayConfig(
                key,
                ledger,
                told["market"],
                build_mechanism(told),
                state,
                port=0,
                deposit=told["deposit"],
                terms=Terms(stall_seconds=20, deadline_seconds=60),
                poll_seconds=0.3,
                grace_seconds=5,
            )
        )


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    sys.exit(asyncio.run(run(json.loads(sys.stdin.readline()))))
