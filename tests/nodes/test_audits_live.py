"""Validators that audit each other, on the embedded chain, over real HTTP, with a real miner."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.faults.role import Sampled

from tercet.chain import Key, Ledger, MarketParams, Sender
from tercet.chain.audits import AccusationState, Proof
from tercet.chain.market import MarketContract
from tercet.client import Client
from tercet.errors import MinerRefused
from tercet.market import Price, Task, Usage, Verdict
from tercet.market.audit import EvaluationLog, sample_index
from tercet.nodes import wire
from tercet.nodes.archive import Archive
from tercet.nodes.audit_log import build_entries, build_package
from tercet.nodes.auditor import Auditor
from tercet.nodes.book import Book
from tercet.nodes.buyer import Buyer, Transcript
from tercet.nodes.caller import Caller
from tercet.nodes.directory import Directory, MinerEntry
from tercet.nodes.epochs import Asking, Policy, Validator
from tercet.nodes.examiner import Examiner, Question
from tercet.nodes.response import Response
from tercet.nodes.schedule import Phase
from tercet.nodes.scores import Finding
from tercet.nodes.seat import ChainSeat
from tercet.nodes.server import WireServer
from tercet.nodes.validator import ValidatorConfig, _validate
from tercet.subnets import Contest, Submission
from tercet.subnets.echo import Echo

from .stage import PATIENT, Stage, Town, until

STAKE = 100 * 10**18
REWARD = 1_000 * 10**18
COMMIT, REVEAL = 100, 50


class Inventor:
    """Asks nobody, and signs the answers itself."""

    def __init__(self) -> None:
        self._key, self._made_ms = Key.generate(), 10**12

    async def draw(self, miner: MinerEntry, price: Price) -> Question:
        return self.pose(miner, price, {"text": "never asked"})

    def pose(self, miner: MinerEntry, price: Price, task: Task) -> Question:
        return Question(miner, task, Usage(11, 11), price, price.charge(Usage(11, 11)))

    async def meet(self, miner: MinerEntry) -> None:
        pass

    async def ask(self, question: Question, seconds: float | None = None) -> Response:
        body = wire.encode_json({"task": question.task})
        head = wire.build_head("/tercet/v1/echo", self._key.address, Key.generate().address, body, now_ms=self._made_ms)
        lines = wire.encode_json({"text": "never asked", "usage": {"prompt": 11, "completion": 11}}) + b"\n"
        request, digest = hashlib.sha256(head.text).digest(), hashlib.sha256(lines).digest()
        answer = wire.sign_answer(self._key, request, digest, Usage(11, 11), 0, 0)
        transcript = Transcript(head.text, body, lines, answer)
        return Response("judged", question.task, Submission(1, [], 0.1, 0.2, b""), transcript=transcript)

    async def judge(self, miner: MinerEntry, response: Response) -> Finding:
        return self.find((miner.uid, miner.generation), response, Verdict(1.0, ""))

    def find(self, tenant: tuple[int, int], response: Response, verdict: Verdict) -> Finding:
        package = build_package(response.transcript, response.submission, verdict)
        return Finding(0, *tenant, "judged", verdict, 0, 0.0, package)


class Hoarder(Inventor):
    """Shows an exchange that the miner did sign, a day ago: one good answer for ever."""

    def __init__(self, miner: Key) -> None:
        self._key, self._made_ms = miner, int(1000 * (time.time() - 86_400))


class Slanderer(Examiner):
    """Asks like everybody, and says that right answers are wrong."""

    async def judge(self, miner: MinerEntry, response: Response) -> Finding | None:
        found = await super().judge(miner, response)
        return None if found is None else replace(found, verdict=Verdict(0.0, "the text came back changed"))


class Soft(Examiner):
    """In a contest, asks its miners something easier than the round's task."""

    easy = False

    def pose(self, miner: MinerEntry, price: Price, task: Task) -> Question:
        return super().pose(miner, price, {"start": "easy"} if self.easy else task)


EXAMINERS = {"slanderer": Slanderer, "soft": Soft}


@dataclass
class Judge:
    """One validator with all its parts."""

    name: str
    key: Key
    vid: int
    pool: int
    book: Book
    asking: Asking
    validator: Validator
    auditor: Auditor
    archive: Archive


@dataclass
class Site:
    """An echo market that pays a part for audited work."""

    stage: Stage
    ledger: Ledger
    market: MarketContract
    judges: list[Judge]

    async def epoch(self) -> int:
        return (await self.market.status()).epoch

    async def play(self) -> int:
        """Every validator does what it does until the epoch is closed; the epoch that was closed."""
        epoch = await self.epoch()
        while True:
            for judge in self.judges:
                await judge.validator.turn()
                await judge.validator.quiet()
            if await self.epoch() > epoch:
                break
            await self.ledger.rpc.call("evm_increaseTime", hex(10))
        for judge in self.judges:
            await judge.archive.refresh(epoch + 1)
        return epoch

    async def audit(self, *judges: Judge) -> None:
        """One turn of each auditor."""
        for judge in judges:
            await judge.auditor.turn()

    async def held(self, judge: Judge, epoch: int) -> int:
        stakes = await self.market.stakes()
        return int((await stakes.read("get_held", judge.pool, epoch))[0])

    async def claimable(self, judge: Judge) -> int:
        stakes = await self.market.stakes()
        return int((await stakes.read("get_position", judge.pool, judge.key.address))[4])

    async def bonded(self, judge: Judge) -> int:
        stakes = await self.market.stakes()
        return int((await stakes.read("get_pool", judge.pool))[5])


def draw_asking(kind: str, examiner: Examiner, miner: Key) -> Asking:
    return Inventor() if kind == "inventor" else Hoarder(miner) if kind == "hoarder" else examiner


@contextlib.asynccontextmanager
async def build_judge(
    stage: Stage, market: MarketContract, directory: Directory, folder: Path, name: str, mechanism: Echo, miner: Key
) -> AsyncIterator[Judge]:
    key = await stage.key(stake=2 * STAKE)
    ledger, sender = stage.ledger, Sender(stage.ledger.rpc, key)
    seat = await Client(ledger).join_as_validator(sender, market, key.address, STAKE)
    # The clock moves ten seconds a turn, so there must be a turn between the last moment to ask and the reveals.
    policy = Policy(challenges_per_miner=6, budget=10**7, answer_seconds=15)
    async with contextlib.AsyncExitStack() as stack:
        book = Book(folder / name, name)
        stack.callback(book.close)
        payer = await stage.key(credit=10**9)
        buyer = Buyer(payer, ledger, market.address, folder / f"{name}.sqlite", deposit=10**6)
        stack.push_async_callback(buyer.close)
        examiner = EXAMINERS.get(name, Examiner)(mechanism, buyer, answer_seconds=5, judge_seconds=5, keep=True)
        chain_seat = ChainSeat(ledger, market, sender)
        asking = draw_asking(name, examiner, miner)
        measured: object = mechanism
        contest = measured if isinstance(measured, Contest) else None
        validator = Validator(policy, chain_seat, directory, asking, book, chain_seat.identity, contest)
        archive = Archive(market, ledger.audits, book)
        auditor = Auditor(ledger, market, sender, mechanism, accuse=name != "bystander")
        stack.push_async_callback(auditor.close)
        server = WireServer(key, folder / name, archive.routes, info=archive.info, weigh=archive.weigh)
        port = await server.start("127.0.0.1", 0)
        stack.push_async_callback(server.stop, 0.5)
        await ledger.audits.set_endpoint(sender, market.address, f"http://127.0.0.1:{port}")
        yield Judge(name, key, seat.vid, seat.pool, book, asking, validator, auditor, archive)


@contextlib.asynccontextmanager
async def build_site(
    town: Town, stage: Stage, folder: Path, *names: str, mechanism: type[Echo] = Echo
) -> AsyncIterator[Site]:
    ledger = stage.ledger
    params = MarketParams(
        "echo", commit_seconds=COMMIT, reveal_seconds=REVEAL, max_price=10**18, audit_share_bps=5_000, min_stake=STAKE
    )
    await ledger.token.approve(stage.faucet, ledger.registry.address)
    address = await ledger.registry.open_market(stage.faucet, ledger.token.address, "audited", params)
    market = ledger.market(address)
    there = Stage(replace(town, market=address), ledger, folder)
    miner_key = await there.key(stake=10**19)
    async with contextlib.AsyncExitStack() as stack:
        config = there.config(miner_key, mechanism=mechanism(), price=Price(per_request=100), limits=PATIENT)
        _, entry = await stack.enter_async_context(there.miner(config))
        await there.register(miner_key, entry.endpoint)
        treasury = await market.treasury()
        await ledger.token.approve(there.faucet, treasury.address)
        await treasury.write(there.faucet, "sponsor", 10 * REWARD, 10)
        directory = Directory(ledger, address)
        stack.push_async_callback(directory.close)
        await directory.refresh()
        judges = [
            await stack.enter_async_context(build_judge(there, market, directory, folder, name, mechanism(), miner_key))
            for name in names
        ]
        site = Site(there, ledger, market, judges)
        for judge in judges:
            await judge.auditor.turn()
        await site.play()
        yield site


@pytest.mark.slow
@pytest.mark.parametrize("cheat", ["inventor", "slanderer"])
async def test_a_cheat_is_found_accused_and_slashed_and_the_honest_are_paid(
    market_town: Town, stage: Stage, tmp_path: Path, cheat: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Scores without questions, and lies about right answers: both are seen by whoever runs the samples again."""
    caplog.set_level(logging.INFO)
    async with build_site(market_town, stage, tmp_path, "first", "second", "third", "bystander", cheat) as site:
        *honest, liar = site.judges
        epoch = await site.play()
        held = {judge.name: await site.held(judge, epoch) for judge in site.judges}
        if cheat == "inventor":
            assert held["inventor"] > 0
        assert min(held[judge.name] for judge in honest) > 0
        await site.audit(*honest)
        await site.audit(*honest)
        assert await site.bonded(liar) == STAKE - STAKE // 10
        first = honest[0]
        assert await site.ledger.token.balance(first.key.address) == STAKE + STAKE // 20
        states = [
            await site.ledger.audits.accusation(site.market.address, epoch, liar.vid, sample) for sample in range(4)
        ]
        assert AccusationState.CONFIRMED in {found.state for found in states if found}
        before = {judge.name: await site.claimable(judge) for judge in site.judges}
        await site.play()
        earned = {judge.name: await site.claimable(judge) - before[judge.name] for judge in site.judges}
        await site.audit(first)
        gained = {judge.name: await site.claimable(judge) - before[judge.name] - earned[judge.name] for judge in honest}
        assert gained == {judge.name: held[judge.name] for judge in honest}
        assert await site.held(liar, epoch) == 0
        assert await site.claimable(liar) == before[liar.name] + earned[liar.name]


@pytest.mark.slow
async def test_who_asks_a_contender_something_else_is_found(market_town: Town, stage: Stage, tmp_path: Path) -> None:
    """Everybody knows from the chain what a round asks; the honest are never accused, and paid for their logs."""
    async with build_site(market_town, stage, tmp_path, "first", "second", "third", "soft", mechanism=Sampled) as site:
        *honest, soft = site.judges
        await site.audit(*honest)
        assert isinstance(soft.asking, Soft)
        soft.asking.easy = True  # what is asked in epoch 1 counts in 2
        assert await site.play() == 1
        await site.audit(*honest)
        await site.audit(*honest)
        assert [await site.bonded(judge) for judge in site.judges] == [STAKE] * 4
        epoch = await site.play()
        assert min([await site.held(judge, epoch) for judge in site.judges]) > 0
        await site.audit(*honest)
        await site.audit(*honest)
        assert await site.bonded(soft) == STAKE - STAKE // 10
        assert [await site.bonded(judge) for judge in honest] == [STAKE] * 3
        before = [await site.claimable(judge) for judge in honest]
        held = [await site.held(judge, epoch) for judge in honest]
        await site.play()
        earned = [await site.claimable(judge) for judge in honest]
        await site.audit(honest[0])
        assert [await site.claimable(judge) for judge in honest] == [
            had + part for had, part in zip(earned, held, strict=True)
        ]
        assert before <= earned


@pytest.mark.slow
async def test_an_old_answer_is_vouched_for_by_nobody(
    market_town: Town, stage: Stage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The miner's signature is true and the score is right, but it happened in another epoch: paid to others, not slashed."""
    caplog.set_level(logging.INFO)
    async with build_site(market_town, stage, tmp_path, "first", "second", "third", "hoarder") as site:
        *honest, hoarder = site.judges
        epoch = await site.play()
        held = [await site.held(judge, epoch) for judge in site.judges]
        assert min(held) > 0
        await site.audit(*honest)
        assert "before anything could count for this epoch" in caplog.text
        for sample in range(4):
            assert await site.ledger.audits.accusation(site.market.address, epoch, hoarder.vid, sample) is None
        before = [await site.claimable(judge) for judge in site.judges]
        await site.play()
        earned = [await site.claimable(judge) - had for judge, had in zip(site.judges, before, strict=True)]
        await site.audit(honest[0])
        released = [
            await site.claimable(judge) - had - got for judge, had, got in zip(site.judges, before, earned, strict=True)
        ]
        assert released == [*held[:-1], 0]
        assert await site.held(hoarder, epoch) == 0
        assert await site.bonded(hoarder) == STAKE


@pytest.mark.slow
async def test_a_false_accuser_loses_its_bond(market_town: Town, stage: Stage, tmp_path: Path) -> None:
    """The others run the entry again, find it in order and vote so; nothing happens to the accused."""
    async with build_site(market_town, stage, tmp_path, "accused", "second", "third", "accuser") as site:
        accused, *_, accuser = site.judges
        epoch, audits, market = await site.play(), site.ledger.audits, site.market.address
        sender = Sender(site.ledger.rpc, accuser.key)
        await audits.open_round(sender, market)
        found = await audits.round(market, epoch)
        assert found is not None
        pool, kept = accused.book.log(epoch)
        entries = build_entries(market, epoch, pool, kept)
        log = EvaluationLog([entry.leaf for entry in entries])
        index = sample_index(found.beacon, pool, 0, log.count)
        evidence = list((await audits.evidence(market, epoch)).values())
        bond = await audits.bond(market)
        await site.ledger.token.approve(sender, audits.address)
        proof = Proof(log.count, log.root, entries[index].leaf, log.proof(index))
        await audits.accuse(sender, market, epoch, accused.vid, 0, proof, evidence)
        assert await site.ledger.token.balance(accuser.key.address) == STAKE - bond
        await site.audit(*site.judges)
        await site.audit(*site.judges)
        accusation = await audits.accusation(market, epoch, accused.vid, 0)
        assert accusation is not None
        assert accusation.state is AccusationState.REJECTED
        assert await site.ledger.token.balance(accuser.key.address) == STAKE - bond
        assert await site.bonded(accused) == STAKE
        held = await site.held(accused, epoch)
        await site.play()
        before = await site.claimable(accused)
        await site.audit(accused)
        assert await site.claimable(accused) == before + held


@pytest.mark.slow
async def test_the_last_round_of_a_market_is_settled_too(market_town: Town, stage: Stage, tmp_path: Path) -> None:
    """The market's clock stands, so time ends the stages; the auditors stop when nothing is left to do."""
    async with build_site(market_town, stage, tmp_path, "first", "second", "third", "fourth") as site:
        await site.market.wind_down(site.stage.faucet)
        epoch = await site.play()
        assert (await site.market.status()).phase == Phase.ENDED.value
        held = [await site.held(judge, epoch) for judge in site.judges]
        assert min(held) > 0
        before = [await site.claimable(judge) for judge in site.judges]
        assert [await judge.auditor.turn() for judge in site.judges] == [False] * 4
        await site.ledger.rpc.call("evm_increaseTime", hex(COMMIT + REVEAL))
        await site.ledger.rpc.call("evm_mine")
        assert [await judge.auditor.turn() for judge in site.judges] == [True] * 4
        assert [await site.claimable(judge) for judge in site.judges] == [
            had + part for had, part in zip(before, held, strict=True)
        ]


@pytest.mark.slow
async def test_a_validator_of_an_audited_market_opens_its_door(market_town: Town, stage: Stage, tmp_path: Path) -> None:
    """It says on chain where, answers there under its operator's key, and audits beside its rounds."""
    async with build_site(market_town, stage, tmp_path, "first") as site:
        key, payer = await site.stage.key(stake=2 * STAKE), await site.stage.key(credit=10**9)
        seat = await Client(site.ledger).join_as_validator(
            Sender(site.ledger.rpc, key), site.market, key.address, STAKE
        )
        config = ValidatorConfig(key, payer, site.ledger, site.market.address, Echo(), tmp_path / "whole")
        running = asyncio.create_task(_validate(config))
        try:

            async def endpoint() -> str:
                assert not running.done(), running.exception()
                return await site.ledger.audits.endpoint(site.market.address, seat.pool)

            await until(endpoint)
            async with Caller(Key.generate()) as caller:
                peer = caller.peer(await endpoint(), key.address)
                info = await caller.fetch_info(peer, deadline=asyncio.get_running_loop().time() + 5)
            assert (info["role"], info["market"]) == ("validator", site.market.address)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@pytest.mark.slow
async def test_entries_go_to_validators_only_and_only_of_closed_epochs(
    market_town: Town, stage: Stage, tmp_path: Path
) -> None:
    """A miner that could read them would know its examiners."""
    async with build_site(market_town, stage, tmp_path, "first", "second", "third") as site:
        first, second, _ = site.judges
        epoch = await site.play()
        endpoint = await site.ledger.audits.endpoint(site.market.address, first.pool)

        async def ask(key: Key, route: str, **question: int) -> dict[str, object]:
            async with Caller(key) as caller:
                peer = caller.peer(endpoint, first.key.address)
                deadline = asyncio.get_running_loop().time() + 5
                path = wire.PREFIX + route
                async with caller.ask(peer, path, wire.encode_json(question), deadline=deadline) as reply:
                    pieces = [dict(piece) async for piece in reply]
            return pieces[0]

        with pytest.raises(MinerRefused, match="not_found"):
            await ask(Key.generate(), "audit-log", epoch=epoch)
        with pytest.raises(MinerRefused, match="bad_task"):
            await ask(second.key, "audit-log", epoch=epoch + 1)
        with pytest.raises(MinerRefused, match="bad_task"):
            await ask(second.key, "audit-entry", epoch=epoch, sample=0)
        await site.ledger.audits.open_round(Sender(site.ledger.rpc, second.key), site.market.address)
        answer = await ask(second.key, "audit-log", epoch=epoch)
        entries = answer["entries"]
        assert isinstance(entries, list)
        assert len(entries) == 6
        assert "package" in await ask(second.key, "audit-entry", epoch=epoch, sample=0)
        with pytest.raises(MinerRefused, match="bad_task"):
            await ask(second.key, "audit-entry", epoch=epoch, sample=4)
