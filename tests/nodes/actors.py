"""Buyer and miner as processes, for tests that kill them: `python actors.py ROLE JSON`."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from pathlib import Path
from typing import Any

from tercet.chain import Deployment, Key, Ledger, Rpc
from tercet.client import Client
from tercet.market import Price, Usage
from tercet.nodes.admission import Limits
from tercet.nodes.buyer import Buyer
from tercet.nodes.directory import MinerEntry
from tercet.nodes.miner import MinerConfig, run_miner
from tercet.nodes.shop import Shop
from tercet.subnets.echo import Echo


def load_ledger(config: dict[str, Any]) -> Ledger:
    """The chain that the test runs."""
    return Ledger(Rpc(config["url"]), Deployment.from_json(config["deployment"], "argument"))


async def mine(config: dict[str, Any]) -> int:
    """An echo miner until told to stop."""
    ledger = load_ledger(config)
    options = config.get("options", {})
    try:
        return await run_miner(
            MinerConfig(
                Key.from_hex(config["key"]),
                ledger,
                config["market"],
                Echo(),
                Path(config["state"]),
                price=Price(*config["price"]),
                limits=Limits(stranger_rate=10_000),
                **options,
            )
        )
    finally:
        await ledger.rpc.close()


async def buy(config: dict[str, Any]) -> int:
    """Ask one miner again and again, telling of each answer, until killed."""
    ledger = load_ledger(config)
    facts = {name: value for name, value in config["entry"].items() if name != "floor"}
    entry = MinerEntry(**{**facts, "price": Price(*config["price"])})
    buyer = Buyer(
        Key.from_hex(config["key"]), ledger, config["market"], Path(config["state"]), deposit=config["deposit"]
    )

    async def one(number: int) -> None:
        text = f"{number:08d}"
        async with buyer.ask(entry, {"text": text}, Usage(8, 8), deadline_seconds=20) as exchange:
            async for _ in exchange:
                pass
        print(json.dumps({"charged": exchange.charged, "total": exchange.answer.charged_total}), flush=True)

    async def many(lane: int) -> None:
        for number in itertools.count(lane, 4):
            await one(number)

    await one(99_999_999)
    await asyncio.gather(*(many(lane) for lane in range(4)))
    return 0


async def shop(config: dict[str, Any]) -> int:
    """Buy one echo after the other, telling of each, until killed."""
    ledger = load_ledger(config)
    key, market = Key.from_hex(config["key"]), ledger.market(config["market"])
    state, deposit = Path(config["state"]), config["deposit"]
    async with Shop.open(Client(ledger), market, Echo(), key, state, deposit=deposit) as opened:
        while True:
            bought = await opened.buy({"text": "hello"}, budget=10_000, deadline_seconds=60, avoid=config["avoid"])
            print(json.dumps({"charged": bought.charged}), flush=True)


if __name__ == "__main__":
    role = {"miner": mine, "buyer": buy, "shop": shop}[sys.argv[1]]
    sys.exit(asyncio.run(role(json.loads(sys.argv[2]))))
