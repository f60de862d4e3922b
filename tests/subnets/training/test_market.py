"""A whole training market in processes: chain, validator, miners, money."""

from __future__ import annotations

import asyncio
import json
import math
import re
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tests.faults.town import ANSWER_SECONDS, CREDIT, RATE, TCT, Resident, Town, until

from tercet.chain.closing import close_epoch
from tercet.chain.keys import Key
from tercet.chain.registry import MarketParams
from tercet.client import ClosedEpoch
from tercet.subnets.training.data import Corpus
from tercet.subnets.training.setting import build_setting
from tercet.subnets.training.store import parse_checkpoint, read_metadata
from tercet.subnets.training.tasks import Rules

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROLE = Path(__file__).with_name("role.py")
OPTIONS: dict[str, Any] = {"model": "nano", "steps": 8, "batch": 8}


class Academy:
    """A town whose market trains."""

    def __init__(self, town: Town, text: Path) -> None:
        self.town, self.text = town, text

    async def found(self) -> None:
        """Open the market in place of the town's own."""
        params = MarketParams("training", commit_seconds=400, reveal_seconds=80, bond_alpha=TCT // 2)
        address = await self.town.client.open_market(self.town.faucet, "training", params)
        self.town.market = self.town.client.ledger.market(address)
        await self.town.client.sponsor(self.town.faucet, self.town.market, 1_000 * RATE, 1_000)

    async def add_validator(self, name: str) -> Resident:
        key, payer = Key.generate(), Key.generate()
        await self.town.fund(key, stake=10 * TCT)
        await self.town.fund(payer, credit=100 * CREDIT)
        sender = self.town.client.sender(key)
        await self.town.client.join_as_validator(sender, self.town.market, key.address, 10 * TCT)
        folder = self.town.folder / f"{name}-model"
        options = {**OPTIONS, "corpus": str(self.text), "folder": str(folder)}
        return self._move_in("validator", name, key, options, payer=payer.secret.hex())

    async def add_miner(self, name: str, validator: str, behaviour: str = "honest") -> Resident:
        key = Key.generate()
        await self.town.fund(key, stake=10 * TCT)
        store = str(self.town.folder / f"{validator}-model" / "store")
        options = {**OPTIONS, "corpus": str(self.text), "store": store, "behaviour": behaviour}
        options["folder"] = str(self.town.folder / f"{name}-learner")
        return self._move_in("miner", name, key, options)

    def _move_in(self, role: str, name: str, key: Key, options: dict[str, Any], **facts: Any) -> Resident:
        town, path = self.town, self.town.folder / f"{name}.json"
        path.touch(mode=0o600)
        common: dict[str, Any] = {
            "role": role,
            "key": key.secret.hex(),
            "url": town.rpc.url,
            "market": town.market.address,
        }
        deployment, state = asdict(town.client.ledger.deployment), str(town.folder / name)
        common |= {"answer_seconds": ANSWER_SECONDS, "state": state, "deployment": deployment, "options": options}
        path.write_text(json.dumps({**common, **facts}))
        resident = Resident(name, [sys.executable, str(ROLE), str(path)], town.folder, key)
        town.residents.append(resident)
        resident.start()
        return resident

    async def ask(self, judge: Resident, miners: list[Resident]) -> int:
        """Jump to where the round of the next epoch is answered; which epoch that is."""
        status = await self.town.market.status()
        uids = {await self.town.uid(miner) for miner in miners}

        def named(event: str) -> set[int]:
            return {int(uid) for uid in re.findall(rf"{event} epoch={status.epoch + 1} uid=(\d+) ", judge.log)}

        async def planned() -> bool:
            return named("round.planned") >= uids

        async def answered() -> bool:
            return named("round.answered") >= uids

        await until(planned, 90, f"the round of {status.epoch + 1} did not begin")
        await self.town.jump_to(status.commit_ends - ANSWER_SECONDS)
        await until(answered, 90, f"not all answered for epoch {status.epoch + 1}")
        return status.epoch + 1

    async def close(self, judge: Resident) -> ClosedEpoch:
        """Commit, reveal, close."""
        await self.town.until_committed([judge])
        await self.town.until_revealed([judge])
        return await self.town.until_closed()

    def loss(self, judge: str) -> tuple[int, float]:
        """(round, held-out loss) of the model that a validator has on disk."""
        corpus = Corpus.build(self.text.read_bytes())
        setting = build_setting(Rules(**{**OPTIONS, "corpus": corpus.digest}))
        data = (self.town.folder / f"{judge}-model" / "state.safetensors").read_bytes()
        rules = read_metadata(data)["rules_digest"]
        checkpoint = parse_checkpoint(data, setting.trainee.size, rules)
        setting.trainee.load(checkpoint.theta)
        return checkpoint.round, float(setting.trainee.losses(corpus.held_out(64, 64)).mean())


@pytest.fixture
async def academy(tmp_path: Path, text: Path) -> AsyncIterator[Academy]:
    town = await Town.found(tmp_path)
    built = Academy(town, text)
    await built.found()
    yield built
    await town.leave()


async def test_a_market_trains_a_model_and_pays_who_trained_it(academy: Academy) -> None:
    """Three honest miners and a flipper, until one is proven; the validator is killed between asking and judging."""
    town = academy.town
    judge = await academy.add_validator("judge")
    await judge.until_ready(90)
    names = [("one", "honest"), ("two", "honest"), ("three", "honest"), ("cheat", "flipper")]
    miners = [await academy.add_miner(name, "judge", behaviour) for name, behaviour in names]
    await asyncio.gather(*(miner.until_ready(90) for miner in miners))
    await town.settle_in()

    await academy.ask(judge, miners)
    await judge.end(signal.SIGKILL)
    status = await town.market.status()
    await town.jump_to(status.reveal_ends)
    await close_epoch(town.market, await town.passer_by())
    judge.start()
    await judge.until_ready(90)
    honest, paid = {await town.uid(miner) for miner in miners[:3]}, set[int]()
    closed: list[ClosedEpoch] = []
    # Nobody is paid before it is proven. Of three honest miners one soon is, by comparison with the other two; of two
    # that takes many rounds now and then. So there are three, and rounds enough for bad luck.
    while len(closed) < 4 or (not paid and len(closed) < 30):
        target = await academy.ask(judge, miners)
        assert f"round.judged epoch={target - 1} contenders=4" in judge.log
        closed.append(await academy.close(judge))
        paid |= set(closed[-1].miners)

    rounds, loss = await asyncio.to_thread(academy.loss, "judge")
    assert rounds >= 4
    assert loss < math.log(256) - 0.5, "an untrained model says log 256"
    assert paid
    assert paid <= honest
    verdicts = [line for line in judge.reasons() if line["event"] == "verdict"]
    cheat = await town.uid(miners[3])
    assert {line["score"] for line in verdicts if line["uid"] == cheat} == {0.0}
