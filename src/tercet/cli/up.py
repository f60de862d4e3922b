"""`tercet up`: a market that stays: chain, validator, miner and gateway, supervised, their state kept."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import click

from tercet.chain.files import write_atomic
from tercet.chain.ledger import Deployment
from tercet.chain.market import MarketContract
from tercet.chain.registry import MarketParams
from tercet.cli.frame import State, TercetCommand, pass_state
from tercet.cli.model import pull_progress
from tercet.cli.output import say
from tercet.cli.processes import Child, Crew
from tercet.cli.stage import COIN, Stage
from tercet.client import Client, connect
from tercet.errors import UnreachableError
from tercet.nodes.gateway_keys import create_key, list_keys
from tercet.nodes.role import announce, told_to_stop
from tercet.subnets.inference.hub import find_model

__all__ = ["command"]

CREDIT = 10**6
OWNER, GATEWAY, MINER, VALIDATOR = "up-owner", "up-gateway", "up-miner", "up-validator"
PAYER = f"{VALIDATOR}-payer"
STAKE, PRICE, BOND = 1_000 * COIN, 10 * COIN, 1_000 * COIN
REWARD, PAID_EPOCHS = 10 * COIN, 1_000
READY_SECONDS = 300.0
LOOK_SECONDS = 1.0
SHORTEST_REST, LONGEST_REST = 1.0, 60.0


@click.command(
    "up", cls=TercetCommand, examples=("tercet up", "tercet up --model smol --port 4180 --commit 120 --reveal 60")
)
@click.option(
    "--model", default="small", show_default=True, metavar="NAME", help="What the market promises and the miner serves."
)
@click.option("--port", default=4180, show_default=True, help="Of the gateway; 0 takes a free one.")
@click.option("--chain-port", default=8545, show_default=True, help="Of the development chain; 0 takes a free one.")
@click.option("--commit", default=300, show_default=True, metavar="SECONDS", help="Commit phase of a new market.")
@click.option("--reveal", default=120, show_default=True, metavar="SECONDS", help="Reveal phase of a new market.")
@pass_state
def command(state: State, model: str, port: int, chain_port: int, commit: int, reveal: int) -> None:
    """Run a market on this machine until Ctrl-C: a development chain, a validator, a miner, a gateway.

    Each is a process of its own; one that dies is started again. All state is under home and goes on next time.
    Prints one line with the gateway's base_url and an API key for it.
    """
    settings = state.settings
    home, models = settings.home.absolute(), settings.path("models")
    find_model(model, models, pull_progress(model))
    stage = Stage(home, models, Crew(home / "up"))
    rules = MarketParams(
        "inference",
        commit_seconds=commit,
        reveal_seconds=reveal,
        min_price=PRICE,
        min_stake=STAKE,
        audit_share_bps=0,  # a lone validator has nobody to audit it
    )
    click.get_current_context().exit(asyncio.run(_Up(stage, model, port, chain_port, rules).run()))


@dataclass(slots=True)
class _Helper:
    """A child that is started again when it dies."""

    start: Callable[[], Child]
    child: Child
    rest: float = SHORTEST_REST
    due: float = 0.0
    """When to start it again, by the monotonic clock; 0 while it runs."""


@dataclass(slots=True)
class _Up:
    stage: Stage
    model: str
    port: int
    chain_port: int
    rules: MarketParams
    helpers: list[_Helper] = field(default_factory=list)

    async def run(self) -> int:
        """Set up what is missing, supervise until told to stop; the exit code."""
        crew = self.stage.crew
        with told_to_stop() as stop:
            work = asyncio.create_task(self._work())
            try:
                either: set[asyncio.Future[Any]] = {work, stop}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    work.result()
                return await stop
            finally:
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)
                await crew.stop_all(seconds=30)
                crew.kill_all()

    async def _work(self) -> None:
        self.stage.make_wallets([OWNER, GATEWAY, MINER, VALIDATOR, PAYER])
        deployment = await self.stage.start_chain("--port", str(self.chain_port))
        # If the chain dies it comes back where the others look for it.
        port = self.stage.url.rpartition(":")[2]
        chain = self.stage.crew.children["chain"]
        self.helpers.append(_Helper(lambda: self.stage.launch_chain("--port", port), chain))
        async with connect(self.stage.url, deployment) as client:
            market = await self._open_market(client, deployment)
            await self._start_roles(market.address)
        endpoint = f"{self.stage.crew.children[GATEWAY].ready['endpoint']}/v1"
        secret = self._api_key()
        announce("up", base_url=endpoint, api_key=secret, market=market.address, chain=self.stage.url)
        say(
            f"\nA market runs. Point any OpenAI client at it:\n  base_url  {endpoint}\n  api_key   {secret}\n  model     {self.model}\n"
        )
        say(f"Ctrl-C stops it; tercet up goes on where it was. Logs: {self.stage.crew.folder}")
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._look_after()

    async def _open_market(self, client: Client, deployment: Deployment) -> MarketContract:
        """The market of this home, opened the first time, with a sponsor's money in it."""
        stage, note = self.stage, self.stage.home / "up" / "market.json"
        await stage.fund(client, GATEWAY, credit=1_000 * CREDIT)
        await stage.fund(client, PAYER, credit=1_000 * CREDIT)
        owner = client.sender(stage.keys[OWNER])
        known = json.loads(note.read_text())["market"] if note.exists() else ""
        if not known or not await client.ledger.registry.is_market(known):
            await stage.fund(client, OWNER, stake=BOND)
            await stage.fund(client, MINER, stake=PRICE)
            await stage.fund(client, VALIDATOR, stake=STAKE)
            known = await client.open_market(owner, "inference", self.rules)
            write_atomic(note, json.dumps({"market": known, "registry": deployment.registry}).encode() + b"\n")
        market = client.ledger.market(known)
        if not (await market.status()).reward:
            await stage.fund(client, OWNER, stake=REWARD * PAID_EPOCHS)
            await client.sponsor(owner, market, REWARD * PAID_EPOCHS, PAID_EPOCHS)
        return market

    async def _start_roles(self, market: str) -> None:
        stage, model = self.stage, ("--model", self.model)
        port = str(self.port)
        starts: list[Callable[[], Child]] = [
            lambda: stage.start_miner(MINER, market, *model),
            lambda: stage.start_validator(VALIDATOR, market, *model, "--stake", str(STAKE // COIN)),
            lambda: stage.start_gateway(GATEWAY, market, *model, "--port", port),
        ]
        say("Starting a miner, a validator and a gateway.")
        self.helpers += [_Helper(start, start()) for start in starts]
        try:
            await asyncio.gather(*(helper.child.wait_ready(READY_SECONDS) for helper in self.helpers))
        except UnreachableError as error:
            raise UnreachableError(f"{error}\nA smaller model loads faster: tercet up --model smol.") from error

    def _api_key(self) -> str:
        """The secret of this home's own API key; kept beside the wallets' password, readable by its owner only."""
        folder, note = self.stage.home / "gateway", self.stage.home / "up" / "api_key"
        if not note.exists() or not list_keys(folder):
            secret, _ = create_key(folder, "up", 500 * CREDIT)
            write_atomic(note, secret.encode() + b"\n", mode=0o600)
        return note.read_text().strip()

    def _look_after(self) -> None:
        """Start again what died, after a rest that doubles while it keeps dying."""
        now = time.monotonic()
        for helper in self.helpers:
            code = helper.child.process.poll()
            if code is None:
                continue
            if not helper.due:
                helper.due, helper.rest = now + helper.rest, min(LONGEST_REST, 2 * helper.rest)
                say(
                    f"The {helper.child.name} process ended with {code}; starting it again. The end of {helper.child.log}:"
                )
                say(helper.child.tail(3))
            elif now >= helper.due:
                helper.child, helper.due = helper.start(), 0.0
