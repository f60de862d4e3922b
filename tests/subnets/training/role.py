"""A miner or a validator of a training market, in a process of its own.

python role.py FACTS.json: the ledger, the key, and the options of `Training`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tercet.chain.keys import Key
from tercet.chain.ledger import Deployment, Ledger
from tercet.chain.rpc import Rpc
from tercet.errors import TercetError
from tercet.nodes.epochs import Policy
from tercet.nodes.miner import MinerConfig, run_miner
from tercet.nodes.validator import ValidatorConfig, run_validator
from tercet.subnets.training import Training


async def run(facts: Mapping[str, Any]) -> int:
    """Run the role to its end; its exit code."""
    key, state = Key.from_hex(facts["key"]), Path(facts["state"])
    async with Rpc(facts["url"]) as rpc:
        ledger = Ledger(rpc, Deployment.from_json(facts["deployment"], "of the test"))
        mechanism = Training(**facts["options"])
        if facts["role"] == "miner":
            return await run_miner(
                MinerConfig(key, ledger, facts["market"], mechanism, state, register=True, poll_seconds=0.5)
            )
        payer = Key.from_hex(facts["payer"])
        policy = Policy(poll_seconds=0.25, answer_seconds=facts["answer_seconds"], capacity=3.0)
        return await run_validator(
            ValidatorConfig(key, payer, ledger, facts["market"], mechanism, state, policy=policy)
        )


def main() -> int:
    """Read the facts, run."""
    facts = json.loads(Path(sys.argv[1]).read_text())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        return asyncio.run(run(facts))
    except TercetError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
