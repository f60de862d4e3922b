"""Runs the fair: one chain, a market for every stall, its miners and a validator each a process, some epochs together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from statistics import fmean

from tercet import __version__
from tercet.chain.market import MarketContract
from tercet.chain.registry import MarketParams
from tercet.cli.demo.books import ChannelAccount, audit, name_holders, read_channels
from tercet.cli.demo.cast import Actor
from tercet.cli.demo.curtain import Curtain, wind_clock
from tercet.cli.demo.fair.record import FairRecord, MarketRecord, TraderRecord
from tercet.cli.demo.fair.stalls import STALLS, Deed, Stall, read_deeds
from tercet.cli.demo.progress import Progress
from tercet.cli.processes import Child
from tercet.cli.record import Earned
from tercet.cli.stage import COIN, Stage
from tercet.client import Client, ClosedEpoch, connect
from tercet.errors import UnreachableError, UsageError
from tercet.subnets import load_mechanism
from tercet.subnets.kit import Sandbox
from tercet.subnets.training.curve import read_losses

__all__ = ["Fair"]

CREDIT = 10**6
STAKE_EACH, PRICE, BOND, REWARD = 1_000 * COIN, 10 * COIN, 1_000 * COIN, 100 * COIN
PRICE_ROOM = 3
ANSWER_SECONDS, JUDGE_SECONDS, READY_SECONDS = 40, 60, 240.0
LOOK_SECONDS = 1.0


@dataclass(slots=True)
class Booth:
    """A stall with its market on the chain."""

    stall: Stall
    market: MarketContract
    port: int
    first: int = 0
    """The first epoch that is paid for."""
    closed: list[ClosedEpoch] = field(default_factory=list)

    @property
    def judge(self) -> str:
        """The validator's wallet."""
        return f"{self.stall.subnet}-judge"

    def wallet(self, actor: Actor) -> str:
        """The miner's wallet."""
        return f"{self.stall.subnet}-{actor.name}"


@dataclass(slots=True)
class Fair:
    """One run. `check` first; then `run`."""

    epochs: int
    stage: Stage
    progress: Progress
    stalls: Sequence[Stall] = STALLS
    commit_seconds: int = 48
    reveal_seconds: int = 10
    booths: list[Booth] = field(default_factory=list)

    def check(self) -> None:
        """Make sure that every competition can run here.

        Raises:
            UsageError: an extra is missing; the message names it.
            SandboxMissingError: strangers' code cannot be run here.

        """
        missing = [stall.subnet for stall in self.stalls if find_spec(stall.needs) is None]
        if missing:
            extras = ",".join(missing)
            raise UsageError(f"The fair needs what is not installed. Install it: pip install 'tercet[{extras}]'.")
        Sandbox.find()  # says itself what is missing for strangers' code

    async def run(self, started: str) -> FairRecord:
        """Perform, settle, and say what it came to; nothing is left running."""
        try:
            async with self._open() as client:
                await self._enter()
                await self._ring(client)
                await self._watch(client)
                await self._leave()
                await self._dismiss(client)
                return await self._write_down(client, started)
        finally:
            await self.stage.crew.stop_all(seconds=10)
            self.stage.crew.kill_all()

    # The stage

    @contextlib.asynccontextmanager
    async def _open(self) -> AsyncIterator[Client]:
        """The chain and all markets, with everybody's wallet filled."""
        miners = [f"{stall.subnet}-{actor.name}" for stall in self.stalls for actor in stall.miners]
        judges = [f"{stall.subnet}-judge" for stall in self.stalls]
        self.stage.make_wallets(["owner", *miners, *judges, *(f"{judge}-payer" for judge in judges)])
        deployment = await self.stage.start_chain("--port", "0", "--time-travel")
        self.progress.say(f"A chain runs at {self.stage.url}, the contracts are on it.")
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(connect(self.stage.url, deployment))
            budget = (BOND + REWARD * self._paid) * len(self.stalls)
            await self.stage.fund(client, "owner", stake=budget)
            for miner in miners:
                await self.stage.fund(client, miner, stake=PRICE_ROOM * PRICE)
            for judge in judges:
                await self.stage.fund(client, judge, stake=STAKE_EACH)
                await self.stage.fund(client, f"{judge}-payer", credit=20 * CREDIT)
            owner = client.sender(self.stage.keys["owner"])
            for stall in self.stalls:
                address = await client.open_market(owner, stall.subnet, self._rules(stall))
                self.booths.append(Booth(stall, client.ledger.market(address), _free_port()))
            self.progress.say(f"Markets are open: {', '.join(stall.subnet for stall in self.stalls)}.")
            yield client

    def _rules(self, stall: Stall) -> MarketParams:
        return MarketParams(
            stall.subnet,
            mechanism_version=load_mechanism(stall.subnet).version,
            commit_seconds=self.commit_seconds,
            reveal_seconds=self.reveal_seconds,
            min_price=PRICE,
            max_price=PRICE_ROOM * PRICE,
            min_stake=STAKE_EACH,
            audit_share_bps=0,  # a lone validator has nobody to audit it
        )

    @property
    def _paid(self) -> int:
        """Epochs with a reward: a contest is asked in one and paid in the next."""
        return self.epochs + 1

    async def _enter(self) -> None:
        """Everybody comes, each in its own process; validators first, since some hand out what miners start from."""
        for booth in self.booths:
            self._start(booth, self.stage.start_validator, booth.judge, [*_JUDGING, *booth.stall.judge])
        for booth in self.booths:
            for actor in booth.stall.miners:
                words = [*actor.arguments, *booth.stall.mine]
                self._start(booth, self.stage.start_miner, booth.wallet(actor), words)
        children = [child for name, child in self.stage.crew.children.items() if name != "chain"]
        self.progress.say(f"{len(children)} miners and validators load what they need, each a process of its own.")
        await asyncio.gather(*(child.wait_ready(READY_SECONDS) for child in children))

    def _start(self, booth: Booth, start: Callable[..., Child], name: str, words: Sequence[str]) -> None:
        told = {"home": str(self.stage.home), "name": name, "port": str(booth.port)}
        rules = [word for rule in booth.stall.rules for word in ("-o", rule)]
        arguments = [*rules, "--poll", "1", *(word.format(**told) for word in words)]
        start(name, booth.market.address, *arguments, subnet=booth.stall.subnet)

    # The play

    async def _ring(self, client: Client) -> None:
        """End the epoch that loading took up, and pay for those that follow."""
        owner = self.stage.keys["owner"]
        ends = [(await booth.market.status()).reveal_ends for booth in self.booths]
        await wind_clock(client, max(ends) - await wind_clock(client, 0) + 1)
        for booth in self.booths:
            await Curtain(client, booth.market).finish_epoch(owner)
            booth.first = (await booth.market.status()).epoch
            await client.sponsor(client.sender(owner), booth.market, REWARD * self._paid, self._paid)
        self.progress.say(f"A sponsor pays {REWARD // COIN} TCT into each epoch of each market. The fair is open.")

    async def _watch(self, client: Client) -> None:
        """Look on until every market has closed its epochs."""
        start = (await client.ledger.rpc.head()).number + 1
        deadline = time.monotonic() + 3 * (self._paid + 1) * (self.commit_seconds + self.reveal_seconds) + 120
        while any(len(booth.closed) < self._paid for booth in self.booths):
            self.stage.crew.check()
            for booth in self.booths:
                status = await booth.market.status()
                if status.epoch - booth.first > len(booth.closed) < self._paid:
                    booth.closed = (await client.closed_epochs(booth.market, start))[: self._paid]
                    self._tell(booth)
            if time.monotonic() > deadline:
                slow = ", ".join(b.stall.subnet for b in self.booths if len(b.closed) < self._paid)
                raise UnreachableError(f"{slow}: epochs were not closed in time. See {self.stage.crew.folder}.")
            await asyncio.sleep(LOOK_SECONDS)

    def _tell(self, booth: Booth) -> None:
        deeds = read_deeds(self.stage.home / "validators" / booth.judge)
        judged = [deed for deed in deeds if deed.answered]
        good = sum(deed.good for deed in judged)
        number = booth.closed[-1].number - booth.first + 1
        self.progress.say(f"{booth.stall.subnet}: epoch {number} is closed; {good} of {len(judged)} answers were good.")

    async def _leave(self) -> None:
        self.progress.say("The fair is over. Everybody settles.")
        await self.stage.crew.stop(*(booth.judge for booth in self.booths))
        miners = [booth.wallet(actor) for booth in self.booths for actor in booth.stall.miners]
        await self.stage.crew.stop(*miners, seconds=40)

    async def _dismiss(self, client: Client) -> None:
        """Everything goes home, from every market."""
        keys = list(self.stage.keys.values())
        await Curtain(client, self.booths[0].market).close_channels(keys, gone=[])
        for booth in self.booths:
            curtain = Curtain(client, booth.market)
            await curtain.wind_down(self.stage.keys["owner"])
            await curtain.leave(keys)
            await curtain.withdraw(keys)
        self.progress.say("Vouchers, rewards, stakes, deposits, refunds and bonds are withdrawn.")

    # The record

    async def _write_down(self, client: Client, started: str) -> FairRecord:
        accounts = await self._accounts(client)
        markets = [booth.market for booth in self.booths]
        books = await audit(client, markets, await name_holders(client, self.stage, markets), accounts)
        charged = {name: sum(a.earned for a in accounts if a.miner == name) for name in self.stage.keys}
        home = self.stage.home
        return FairRecord(
            version=__version__,
            started=started,
            seconds=self.progress.seconds,
            cores=os.cpu_count() or 1,
            chain_id=client.ledger.deployment.chain_id,
            markets=[await self._describe(client, booth, charged) for booth in self.booths],
            books=books,
            balanced=books.balanced,
            folder=str(home),
            report=str(home / "report.html"),
        )

    async def _describe(self, client: Client, booth: Booth, charged: Mapping[str, int]) -> MarketRecord:
        stall, deeds = booth.stall, read_deeds(self.stage.home / "validators" / booth.judge)
        uids = await self._uids(client, booth)
        stake = {
            actor.name: sum(epoch.miners.get(uids[actor.name], 0) for epoch in booth.closed) for actor in stall.miners
        }
        usual = fmean(stake[actor.name] for actor in stall.miners if actor.kind == "honest")
        good = [deed for deed in deeds if deed.good]
        numbers = sorted({deed.epoch for deed in deeds})
        losses = read_losses(self.stage.home / stall.curve) if stall.curve else []
        told = stall.tell(good) if good else "nothing good came in time"
        return MarketRecord(
            subnet=stall.subnet,
            address=booth.market.address,
            unit=stall.unit,
            told=told + _tell_curve(losses),
            epochs=len(booth.closed),
            units=[sum(stall.count(deed) for deed in good if deed.epoch == number) for number in numbers],
            losses=losses,
            spent=sum(deed.charged for deed in deeds),
            returned=sum(epoch.refunded for epoch in booth.closed),
            miners=[
                _describe_miner(
                    stall,
                    actor,
                    [deed for deed in deeds if deed.uid == uids[actor.name]],
                    Earned(credit=charged[booth.wallet(actor)], stake=stake[actor.name]),
                    usual,
                )
                for actor in stall.miners
            ],
        )

    async def _uids(self, client: Client, booth: Booth) -> dict[str, int]:
        """Actor to its slot; slots are left by now, so the events tell."""
        owners = {self.stage.keys[booth.wallet(actor)].address: actor.name for actor in booth.stall.miners}
        events = client.events([booth.market], names=["MinerRegistered"])
        return {owners[event.fields["owner"]]: event.fields["uid"] async for event in events}

    async def _accounts(self, client: Client) -> list[ChannelAccount]:
        home, keys = self.stage.home, self.stage.keys
        buyers = {
            keys[f"{booth.judge}-payer"]: home / "validators" / booth.judge / "buyer.sqlite" for booth in self.booths
        }
        miners = [booth.wallet(actor) for booth in self.booths for actor in booth.stall.miners]
        return await read_channels(
            client, buyers, {name: home / "miners" / name / "vouchers.sqlite" for name in miners}
        )


_JUDGING = (
    *("--challenges", "1", "--concurrency", "4", "--stake", "1000"),
    *("--answer-seconds", str(ANSWER_SECONDS), "--judge-seconds", str(JUDGE_SECONDS)),
)


def _tell_curve(losses: Sequence[float]) -> str:
    if not losses:
        return ""
    return f"; on text that nobody was assigned it fell from {losses[0]:.2f} to {losses[-1]:.2f} in {len(losses) - 1} rounds"


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _describe_miner(stall: Stall, actor: Actor, own: Sequence[Deed], earned: Earned, usual: float) -> TraderRecord:
    good = [deed for deed in own if deed.good]
    poor = [deed.reason for deed in own if deed.reason and not deed.good]
    return TraderRecord(
        name=actor.name,
        kind=actor.kind,
        story=actor.story,
        answers=len(own),
        good=len(good),
        units=sum(stall.count(deed) for deed in good),
        quality=fmean(deed.score for deed in own) if own else 0.0,
        earned=earned,
        share=earned.stake / usual if usual else 0.0,
        why=poor[0].rstrip(". ") if poor else "",
    )
