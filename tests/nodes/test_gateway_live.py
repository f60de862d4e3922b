"""Gateway and miners as processes, vouchers on the embedded chain, and what is left after a kill -9."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest

from tercet.chain import Key, Ledger, MarketParams, Rpc, Sender, deploy, read_events, serve
from tercet.market import Receipt, Usage
from tercet.nodes.budgets import Budgets
from tercet.nodes.gateway_keys import create_key, gateway_db

ROLE = Path(__file__).with_name("live_role.py")
READY_SECONDS = 60.0


@dataclass
class Child:
    """A role in a process of its own."""

    process: asyncio.subprocess.Process
    ready: dict[str, Any]
    log: Path

    async def end(self, how: signal.Signals) -> int:
        """Send a signal, wait for the end, return its code."""
        if self.process.returncode is None:
            self.process.send_signal(how)
        async with asyncio.timeout(40):
            return await self.process.wait()


@dataclass
class Town:
    """A chain with one market, and the processes that were started in it."""

    folder: Path
    url: str
    ledger: Ledger
    market: str
    opener: Sender
    subnet: str
    children: list[Child] = field(default_factory=list)

    async def funded(self, credit: int = 0) -> Key:
        """A fresh key with gas, stake token for a slot, and credit."""
        key = Key.generate()
        await self.opener.send(key.address, value=10**18, gas=21_000)
        await self.ledger.token.transfer(self.opener, key.address, 10**18)
        if credit:
            await self.ledger.credit.mint(self.opener, key.address, credit)
        return key

    async def start(self, role: str, key: Key, state: str, **options: Any) -> Child:
        """Start a role and wait until it serves."""
        told = {
            "role": role,
            "key": key.secret.hex(),
            "url": self.url,
            "deployment": asdict(self.ledger.deployment),
            "market": self.market,
            "subnet": self.subnet,
            "state": str(self.folder / state),
            "deposit": 100_000,
            "options": options,
        }
        log = self.folder / f"{state}.log"
        with log.open("ab") as stderr:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, str(ROLE)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
            )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(told).encode() + b"\n")
        async with asyncio.timeout(READY_SECONDS):
            line = await process.stdout.readline()
        assert line, log.read_text()
        child = Child(process, json.loads(line), log)
        self.children.append(child)
        return child

    async def redeemed(self) -> int:
        """Credit units that miners have taken from channels so far."""
        batches = read_events(self.ledger.rpc, [self.ledger.escrow], self.ledger.deployment.block)
        events = [event async for batch in batches for event in batch.events]
        return sum(int(event.fields["amount"]) for event in events if event.name == "Redeemed")


@contextlib.asynccontextmanager
async def town_of(folder: Path, subnet: str) -> AsyncIterator[Town]:
    """A new chain, its contracts and a market; ends everything that was started."""
    async with serve(folder / "chain") as server, Rpc(server.url) as rpc:
        opener = Sender(rpc, Key.from_hex((folder / "chain" / "faucet.key").read_text()), deadline=20)
        ledger = Ledger(rpc, await deploy(opener))
        await ledger.token.approve(opener, ledger.registry.address)
        params = MarketParams(subnet, commit_seconds=3600, reveal_seconds=3600, max_price=10**18)
        market = await ledger.registry.open_market(opener, ledger.token.address, "Live", params)
        town = Town(folder, server.url, ledger, market, opener, subnet)
        try:
            yield town
        finally:
            for child in town.children:
                if child.process.returncode is None:
                    child.process.kill()
                    await child.process.wait()


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    async with town_of(tmp_path, "parrot") as opened:
        yield opened


def client(gateway: Child, secret: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=gateway.ready["endpoint"] + "/v1", api_key=secret, max_retries=0, timeout=60)


async def served(ai: openai.AsyncOpenAI, **more: Any) -> Any:
    """One chat; waits for miners that the gateway does not know yet."""
    asked = {"model": "polly", "messages": [{"role": "user", "content": "count"}], "max_tokens": 6, **more}
    async with asyncio.timeout(30):
        while True:
            try:
                return await ai.chat.completions.create(**asked)
            except openai.InternalServerError as error:
                if error.code != "no_miner":
                    raise
                await asyncio.sleep(0.2)


@pytest.mark.slow
async def test_real_miners_are_paid_what_the_receipts_say(town: Town) -> None:
    """Chats, streams and embeddings over two miner processes; after all left, the chain paid each unit charged."""
    miners = [await town.start("miner", await town.funded(), f"miner{n}") for n in range(2)]
    gateway = await town.start("gateway", await town.funded(credit=10**7), "gateway")
    secret, key = create_key(town.folder / "gateway", "agent", 10**6)
    async with client(gateway, secret) as ai:
        whole = await served(ai)
        assert whole.choices[0].message.content == "0 1 2 3 4 5 "
        assert whole.usage.completion_tokens == 6
        stream = await served(ai, stream=True, stream_options={"include_usage": True})
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "0 1 2 3 4 5 "
        assert chunks[-1].usage.completion_tokens == 6
        vectors = await ai.embeddings.create(model="minilm", input=["a", "four"])
        assert [item.embedding[0] for item in vectors.data] == [1.0, 4.0]
        answers = await asyncio.gather(*(served(ai) for _ in range(12)))
        assert len({answer.id for answer in answers}) == 12
    assert await gateway.end(signal.SIGTERM) == 0
    assert [await miner.end(signal.SIGTERM) for miner in miners] == [0, 0]
    with Budgets(gateway_db(town.folder / "gateway")) as books:
        receipts = books.receipts(key.id, limit=100)
        assert books.check() == []
        assert len(receipts) == 15
        assert all(receipt.status == "complete" and receipt.probation for receipt in receipts)
        assert {receipt.uid for receipt in receipts} == {1, 2}
        assert books.key(key.id).spent == sum(receipt.charged for receipt in receipts) == await town.redeemed()


@pytest.mark.slow
async def test_kill_9_of_the_gateway_loses_at_most_the_answer_in_flight(town: Town) -> None:
    """After the restart the budget is free, the lost call has a receipt, vouchers go on, and no unit is paid twice."""
    payer = await town.funded(credit=10**7)
    miner = await town.start("miner", await town.funded(), "miner", pause=0.05)
    gateway = await town.start("gateway", payer, "gateway")
    secret, key = create_key(town.folder / "gateway", "agent", 10**6)
    async with client(gateway, secret) as ai:
        await served(ai)
        stream = await served(ai, stream=True, max_tokens=400)
        for _ in range(5):
            await anext(stream)
        assert await gateway.end(signal.SIGKILL) == -signal.SIGKILL
        with pytest.raises((openai.APIError, openai.APIConnectionError)):
            [chunk async for chunk in stream]
    with Budgets(gateway_db(town.folder / "gateway")) as books:
        held = books.key(key.id).reserved
        assert held > 0
    gateway = await town.start("gateway", payer, "gateway")
    with Budgets(gateway_db(town.folder / "gateway")) as books:
        lost, first = books.receipts(key.id)
        assert (lost.status, lost.charged, first.status) == ("lost", 0, "complete")
        assert books.key(key.id).reserved == 0
    async with client(gateway, secret) as ai:
        for _ in range(3):
            await served(ai)
    assert await gateway.end(signal.SIGTERM) == 0
    assert await miner.end(signal.SIGTERM) == 0
    with Budgets(gateway_db(town.folder / "gateway")) as books:
        assert books.check() == []
        spent = books.key(key.id).spent
        assert [receipt.status for receipt in books.receipts(key.id)] == ["complete"] * 3 + ["lost", "complete"]
    assert spent <= await town.redeemed() <= spent + held


@pytest.mark.slow
async def test_a_client_that_hangs_up_stops_the_miner_and_the_bill(town: Town) -> None:
    """Of 400 words a few were said: the key pays for those, the miner is owed as much, give or take what was on its way."""
    miner = await town.start("miner", await town.funded(), "miner", pause=0.2)
    gateway = await town.start("gateway", await town.funded(credit=10**7), "gateway")
    secret, key = create_key(town.folder / "gateway", "agent", 10**6)
    async with client(gateway, secret) as ai:
        stream = await served(ai, stream=True, max_tokens=400)
        for _ in range(6):
            await anext(stream)
        await stream.close()
    assert await gateway.end(signal.SIGTERM) == 0
    assert await miner.end(signal.SIGTERM) == 0
    with Budgets(gateway_db(town.folder / "gateway")) as books:
        (receipt,) = books.receipts(key.id)
    assert receipt.status == "client_gone"
    assert 4 <= receipt.usage.completion <= 60
    few_words = receipt.price.charge(Usage(0, 20))
    assert abs(await town.redeemed() - receipt.charged) <= few_words


@pytest.mark.slow
async def test_a_miner_that_dies_in_a_stream_ends_it_and_the_next_call_goes_elsewhere(town: Town) -> None:
    """An error event, a receipt that charges nothing; the other miner serves."""
    miners = {}
    for n in range(2):
        child = await town.start("miner", await town.funded(), f"miner{n}", pause=0.05)
        miners[child.ready["address"]] = child
    gateway = await town.start("gateway", await town.funded(credit=10**7), "gateway")
    secret, key = create_key(town.folder / "gateway", "agent", 10**6)
    async with client(gateway, secret) as ai:
        stream = await served(ai, stream=True, max_tokens=400)
        for _ in range(4):
            await anext(stream)
        victim = stream.response.headers["x-tercet-miner"].split()[1]
        await miners[victim].end(signal.SIGKILL)
        with pytest.raises(openai.APIError):
            [chunk async for chunk in stream]
        after = [await served(ai) for _ in range(3)]
        assert all(answer.tercet["operator"] != victim for answer in after)
    assert await gateway.end(signal.SIGINT) == 130
    with Budgets(gateway_db(town.folder / "gateway")) as books:
        receipts = books.receipts(key.id)
    assert [receipt.status for receipt in receipts] == ["complete"] * 3 + ["failed"]
    assert (receipts[-1].charged, receipts[-1].operator) == (0, victim)


@pytest.mark.slow
async def test_the_state_and_the_port_belong_to_one_gateway(town: Town) -> None:
    """A second gateway on the same state is refused in words, and the first goes on."""
    payer = await town.funded(credit=10**7)
    await town.start("gateway", payer, "gateway")
    with pytest.raises(AssertionError, match="Another gateway works with"):
        await town.start("gateway", payer, "gateway")


@pytest.mark.slow
@pytest.mark.model
async def test_a_real_model_answers_through_the_market(tmp_path: Path) -> None:
    """SmolLM2 behind a miner process: text, tokens, log-probabilities and embeddings reach the openai client."""
    async with town_of(tmp_path, "inference") as town:
        miner = await town.start("miner", await town.funded(), "miner", model="smol")
        gateway = await town.start("gateway", await town.funded(credit=10**7), "gateway", model="smol")
        secret, key = create_key(tmp_path / "gateway", "agent", 10**7)
        say = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]
        more: dict[str, Any] = {"model": "smol", "messages": say, "max_tokens": 24, "temperature": 0, "seed": 1}
        async with client(gateway, secret) as ai:
            assert {model.id async for model in await ai.models.list()} == {"smol", "minilm"}
            whole = await served(ai, **more, logprobs=True)
            assert "Paris" in whole.choices[0].message.content
            assert len(whole.choices[0].logprobs.content) == whole.usage.completion_tokens
            chunks = [chunk async for chunk in await served(ai, **more, stream=True)]
            told = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            assert told == whole.choices[0].message.content
            vectors = await ai.embeddings.create(model="minilm", input=["a cat", "a kitten", "a tax form"])
            cat, kitten, form = (item.embedding for item in vectors.data)
            assert _dot(cat, kitten) > _dot(cat, form)
        assert await gateway.end(signal.SIGTERM) == 0
        assert await miner.end(signal.SIGTERM) == 0
        with Budgets(gateway_db(tmp_path / "gateway")) as books:
            receipts: list[Receipt] = list(books.receipts(key.id))
            assert [receipt.kind for receipt in receipts] == ["embed", "chat", "chat"]
            assert books.key(key.id).spent == await town.redeemed()


def _dot(one: list[float], other: list[float]) -> float:
    return sum(x * y for x, y in zip(one, other, strict=True))
