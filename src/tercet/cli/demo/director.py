"""Runs the play: sets the stage, lets buyers, miners and validators work for some epochs, sends everybody home."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tercet.chain.market import MarketContract
from tercet.chain.registry import MarketParams
from tercet.cli.demo.agents import BUDGET, run_agents
from tercet.cli.demo.books import ChannelAccount, read_channels
from tercet.cli.demo.cast import CAST, VALIDATORS, Actor, Pace, smaller_than
from tercet.cli.demo.curtain import Curtain, wind_clock
from tercet.cli.demo.findings import Dealing, from_receipt, read_receipts, read_verdicts
from tercet.cli.demo.progress import Progress
from tercet.cli.demo.traffic import Call, Traffic
from tercet.cli.stage import COIN, Stage
from tercet.client import Client, ClosedEpoch, connect
from tercet.errors import UnreachableError
from tercet.market import Receipt
from tercet.nodes.gateway_keys import create_key, gateway_db
from tercet.swarm.kernel import Outcome

__all__ = ["Director", "Play"]

CREDIT = 10**6
STAKE_EACH, PRICE, BOND, REWARD = 1_000 * COIN, 10 * COIN, 1_000 * COIN, 100 * COIN
PRICE_ROOM = 2
"""Each of five miners that register at the same time raises the price by an eighth."""
SPARE_EPOCHS = 2
"""Epochs that the sponsor pays for beyond those that run: so that a refund is seen, too."""
LOOK_SECONDS = 0.5
CLOSING_SECONDS = 10.0
"""How long validators may take to close an epoch before somebody else does."""
ROLE_POLL = "0.5"
CHECKED_TOKENS = 6
"""Of each answer, by each validator: fewer than usual, since three of them share two cores."""
SUPPORT = ("owner", "gateway", *VALIDATORS, *(f"{name}-payer" for name in VALIDATORS))


@dataclass(slots=True)
class Play:
    """What happened, as it is known when the curtain falls."""

    model: str
    set_up_seconds: float
    market: MarketContract
    epochs: list[ClosedEpoch]
    first_block_times: dict[int, int]
    """Epoch to the chain's time at which it was closed."""
    began: float
    """Unix seconds at which the first of these epochs began."""
    ended: float
    """Unix seconds at which the last of them was closed."""
    uids: dict[str, int]
    vids: dict[str, int]
    receipts: list[Receipt]
    calls: list[Call]
    verdicts: dict[str, list[Dealing]]
    """By validator."""
    base_url: str
    api_key: str
    agents: Outcome | None
    """The run of agents that bought from this market; None where no sandbox could hold them."""


@dataclass(slots=True)
class Director:
    """One run of the demo. `open` it, `perform`, then `dismiss`."""

    model: str
    epochs: int
    stage: Stage
    progress: Progress
    pace: Pace
    keep: bool = False
    _uids: dict[str, int] = field(default_factory=dict)
    _vids: dict[str, int] = field(default_factory=dict)

    def story(self, actor: Actor) -> str:
        """What an actor does, in words."""
        return actor.story.format(model=self.model, smaller=smaller_than(self.model))

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[Client, MarketContract]]:
        """The chain, the contracts and the market, with everybody's wallet filled."""
        say = self.progress.say
        self.stage.make_wallets([*SUPPORT, *(actor.name for actor in CAST)])
        deployment = await self.stage.start_chain("--port", "0", "--time-travel")
        say(f"A chain runs at {self.stage.url}, the contracts are on it.")
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(connect(self.stage.url, deployment))
            await self._fund(client)
            rules = MarketParams(
                subnet="inference",
                commit_seconds=self.pace.commit_seconds,
                reveal_seconds=self.pace.reveal_seconds,
                min_price=PRICE,
                max_price=PRICE_ROOM * PRICE,
                min_stake=STAKE_EACH,
                audit_share_bps=0,  # of three equal seats nothing would be held, and two cores have enough to do
            )
            address = await client.open_market(client.sender(self.stage.keys["owner"]), "inference", rules)
            say(f"The market 'inference' is open at {address}: {self.model} is promised.")
            yield client, client.ledger.market(address)

    async def _fund(self, client: Client) -> None:
        budget = REWARD * (self.epochs + SPARE_EPOCHS)
        await self.stage.fund(client, "owner", stake=BOND + budget)
        await self.stage.fund(client, "gateway", credit=50 * CREDIT)
        for actor in CAST:
            await self.stage.fund(client, actor.name, stake=PRICE_ROOM * PRICE)
        for name in VALIDATORS:
            await self.stage.fund(client, name, stake=STAKE_EACH)
            await self.stage.fund(client, f"{name}-payer", credit=20 * CREDIT)

    async def perform(self, client: Client, market: MarketContract) -> Play:
        """Everything between the opening of the market and the last epoch's close."""
        base_url, api_key = await self._enter(market)
        first = await self._ring(client, market)
        set_up = self.progress.seconds
        traffic = Traffic(f"{base_url}/v1", api_key, self.model, self.pace.buyers)
        asking = asyncio.create_task(traffic.run())
        began = time.time()
        try:
            closed = await self._watch(client, market, first, traffic, asking)
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        ended = time.time()
        agents = await self._employ(base_url)
        await self._leave()
        times = {epoch.number: (await client.ledger.rpc.block(epoch.block)).timestamp for epoch in closed}
        return Play(
            self.model, set_up, market, closed, times, began, ended, self._uids, self._vids,
            read_receipts(gateway_db(self.stage.home / "gateway")), traffic.calls,
            {name: read_verdicts(self.stage.home / "validators" / name) for name in VALIDATORS}, base_url, api_key,
            agents,
        )  # fmt: skip

    async def _enter(self, market: MarketContract) -> tuple[str, str]:
        """Miners and validators, each in its own process, load their models at the same time; the gateway opens.

        Returns:
            The gateway's address and an API key.

        """
        pace, address = self.pace, market.address
        common = ["--model", self.model, "--poll", ROLE_POLL]
        for actor in CAST:
            own = [word.format(throttle=pace.throttle) for word in actor.arguments]
            self.stage.start_miner(actor.name, address, *common, *own)
        limits = [
            "--challenges",
            str(pace.challenges),
            "--answer-seconds",
            str(pace.answer_seconds),
            "-o",
            f"positions={CHECKED_TOKENS}",
        ]
        for name in VALIDATORS:
            self.stage.start_validator(name, address, *common, *limits, "--stake", "1000")
        api_key = create_key(self.stage.home / "gateway", "demo", 40 * CREDIT)[0]
        self.stage.start_gateway("gateway", address, "--model", self.model, "--port", "0", "--poll", ROLE_POLL)
        self.progress.say(
            f"{len(CAST)} miners and {len(VALIDATORS)} validators load {self.model}, each a process of its own."
        )
        names = [*(actor.name for actor in CAST), *VALIDATORS, "gateway"]
        await asyncio.gather(*(self.stage.crew.children[name].wait_ready(pace.ready_seconds) for name in names))
        owners = {slot.owner: slot.uid for slot in await market.miners()}
        seats = {seat.owner: seat.vid for seat in await market.validators()}
        self._uids = {actor.name: owners[self.stage.keys[actor.name].address] for actor in CAST}
        self._vids = {name: seats[self.stage.keys[name].address] for name in VALIDATORS}
        endpoint = str(self.stage.crew.children["gateway"].ready["endpoint"])
        self.progress.say(f"All of them serve; the gateway sells at {endpoint}/v1.")
        return endpoint, api_key

    async def _ring(self, client: Client, market: MarketContract) -> int:
        """Let validators begin to measure in the rest of the epoch that loading took up; then a paid one begins: its number."""
        owner, status = self.stage.keys["owner"], await market.status()
        now = await wind_clock(client, 0)
        await wind_clock(client, status.reveal_ends - self.pace.warm_up_seconds - now)
        self.progress.say("Validators begin to measure.")
        deadline = time.monotonic() + self.pace.warm_up_seconds + CLOSING_SECONDS
        while (await market.status()).epoch == status.epoch and time.monotonic() < deadline:
            self.stage.crew.check()
            await asyncio.sleep(LOOK_SECONDS)
        await Curtain(client, market).finish_epoch(owner)
        paid = self.epochs + SPARE_EPOCHS
        await client.sponsor(client.sender(owner), market, REWARD * paid, paid)
        first = (await market.status()).epoch
        self.progress.say(
            f"A sponsor pays {REWARD // COIN} TCT into each epoch. The first buyers ask, at the price of newcomers."
        )
        return first

    async def _watch(
        self, client: Client, market: MarketContract, first: int, traffic: Traffic, asking: asyncio.Task[None]
    ) -> list[ClosedEpoch]:
        """Look on until enough epochs are closed; kill the mortal half-way."""
        start = (await client.ledger.rpc.head()).number + 1
        seen, base, killed = 0, 0, False
        deadline = time.monotonic() + 3 * (self.epochs + SPARE_EPOCHS) * self.pace.epoch_seconds + 60
        while True:
            self.stage.crew.check()
            if asking.done():
                asking.result()
            status = await market.status()
            if status.epoch - first > seen:
                closed = await client.closed_epochs(market, start)
                seen = len(closed)
                self._tell(closed[-1])
                if not traffic.opened.is_set():
                    if self._knows_the_honest(closed[-1]) or seen > SPARE_EPOCHS:
                        traffic.opened.set()
                        self.progress.say("Now buyers know whom to trust: they come in numbers.")
                    else:
                        base += 1  # on a busy machine validators need one more epoch to get round
                elif seen - base >= self.epochs:
                    return closed
            if not killed and await self._is_half_way(client, status.epoch - first - base, status.commit_ends):
                self.stage.crew.children["mortal"].kill()
                self.progress.say("The mortal is killed (SIGKILL), half-way.")
                killed = True
            self._show(status.epoch)
            if time.monotonic() > deadline:
                raise UnreachableError(
                    f"Only {seen} of {self.epochs} epochs were closed in time. See the logs in {self.stage.crew.folder}."
                )
            await asyncio.sleep(LOOK_SECONDS)

    def _knows_the_honest(self, epoch: ClosedEpoch) -> bool:
        """Whether the validators agreed on something for every honest miner."""
        return all(epoch.consensus.get(self._uids[actor.name]) for actor in CAST if actor.kind == "honest")

    async def _is_half_way(self, client: Client, closed: int, commit_ends: int) -> bool:
        """The middle of the middle epoch."""
        if closed != self.epochs // 2:
            return closed > self.epochs // 2
        return await wind_clock(client, 0) >= commit_ends - self.pace.commit_seconds // 2

    def _tell(self, epoch: ClosedEpoch) -> None:
        names = {uid: name for name, uid in self._uids.items()} | {0: "unspent"}
        shares = ", ".join(f"{names.get(uid, uid)} {weight / 655.35:.0f} %" for uid, weight in epoch.consensus.items())
        self.progress.say(f"Epoch {epoch.number} is closed. Consensus: {shares or 'none'}.")

    def _show(self, epoch: int) -> None:
        """The live table, from what the roles have written so far."""
        dealings = self._dealings()
        rows = []
        for actor in CAST:
            own = [d for d in dealings if d.uid == self._uids[actor.name]]
            judged = [d for d in own if d.source == "validator"]
            last = f"{judged[-1].score:.2f}" if judged and judged[-1].score is not None else "-"
            paid = sum(d.charged for d in own) / CREDIT
            bought = len(own) - len(judged)
            state = "dead" if self.stage.crew.children[actor.name].expected_to_end else ""
            rows.append((actor.name, str(len(judged)), last, str(bought), f"{paid:.4f}", state))
        self.progress.show(f"epoch {epoch}", rows)

    def _dealings(self) -> list[Dealing]:
        found: list[Dealing] = []
        with contextlib.suppress(OSError, ValueError):
            for name in VALIDATORS:
                found += read_verdicts(self.stage.home / "validators" / name)
            found += [from_receipt(receipt) for receipt in read_receipts(gateway_db(self.stage.home / "gateway"))]
        return found

    async def _employ(self, base_url: str) -> Outcome | None:
        """Agents buy what the buyers bought, at the prices and by the ranks that the epochs left. Nobody is measured meanwhile."""
        if not self.keep:
            self.progress.say("The last epoch is closed; the validators settle.")
            await self.stage.crew.stop(*VALIDATORS)
        home = self.stage.home
        key = create_key(home / "gateway", "agents", BUDGET)[0]
        return await run_agents(home, f"{base_url}/v1", key, self.model, self.pace, self.progress)

    async def _leave(self) -> None:
        """Roles finish their books and go: first who asks, then who answers. With `keep` only nothing new is asked."""
        if self.keep:
            return
        self.progress.say("Everybody else settles.")
        await self.stage.crew.stop("gateway")
        await self.stage.crew.stop(*(actor.name for actor in CAST), seconds=40)

    async def dismiss(self, client: Client, market: MarketContract) -> None:
        """Vouchers, rewards, stakes, deposits, refunds and the bond go home; channels are closed."""
        curtain, keys = Curtain(client, market), list(self.stage.keys.values())
        mortal = self.stage.keys["mortal"]
        await curtain.redeem(mortal, self._book("mortal"))
        await curtain.close_channels(keys, gone=[mortal.address])
        await curtain.wind_down(self.stage.keys["owner"])
        await curtain.leave(keys)
        await curtain.withdraw(keys)
        self.progress.say(
            "Vouchers, rewards, stakes, deposits, refunds and the bond are withdrawn; every channel is closed."
        )

    def _book(self, name: str) -> Path:
        return self.stage.home / "miners" / name / "vouchers.sqlite"

    async def accounts(self, client: Client) -> list[ChannelAccount]:
        """Every channel as both of its ends have it in their own books."""
        homes, keys = self.stage.home, self.stage.keys
        buyers = {keys["gateway"]: homes / "gateway" / "buyer.db"}
        buyers |= {keys[f"{name}-payer"]: homes / "validators" / name / "buyer.sqlite" for name in VALIDATORS}
        return await read_channels(client, buyers, {actor.name: self._book(actor.name) for actor in CAST})
