"""A development market from nothing: wallets, money, chain, roles as processes. Shared by `demo` and `up`."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tercet.chain.files import write_atomic
from tercet.chain.keys import Key
from tercet.chain.keystore import Keystore
from tercet.chain.ledger import Deployment
from tercet.cli.processes import Child, Crew
from tercet.cli.wallet import pay_from_faucet
from tercet.client import Client

__all__ = ["COIN", "Stage"]

COIN = 10**18
CHAIN_SECONDS = 60.0
WORKER_NICE = 3
"""Miners and validators step back a little behind the chain and the gateway, not behind the rest of the machine."""


@dataclass(slots=True)
class Stage:
    """A home folder with wallets in it, and the processes that work there."""

    home: Path
    models: Path
    crew: Crew
    keys: dict[str, Key] = field(default_factory=dict)
    url: str = ""
    """Of the chain, once it runs."""

    @property
    def password_file(self) -> Path:
        """Opens every wallet of this home; readable by its owner only, like the chain's faucet key beside it."""
        return self.home / "password"

    def make_wallets(self, names: Iterable[str]) -> None:
        """Open the wallets of these names; those that are missing are made."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self.password_file.exists():
            write_atomic(self.password_file, secrets.token_urlsafe(24).encode() + b"\n", mode=0o600)
        password = self.password_file.read_text().strip()
        store = Keystore(self.home / "keystore")
        known = {entry.name for entry in store.list()}
        for name in names:
            self.keys[name] = store.load(name, password) if name in known else store.create(name, password, light=True)

    def environment(self, market: str = "") -> Mapping[str, str]:
        """What every child is told by its environment."""
        told = {
            "TERCET_HOME": str(self.home),
            "TERCET_MODELS": str(self.models),
            "TERCET_PASSWORD_FILE": str(self.password_file),
            "TERCET_CHAIN": self.url,
            "TERCET_MARKET": market,
            # One thread each: the models have theirs, and the machine is shared by all roles.
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        return {**{name: value for name, value in os.environ.items() if not name.startswith("TERCET_")}, **told}

    def launch_chain(self, *arguments: str) -> Child:
        """Start the embedded chain and do not wait for it."""
        return self.crew.start("chain", ["chain", "start", *arguments], self.environment())

    async def start_chain(self, *arguments: str) -> Deployment:
        """Run the embedded chain; where its contracts are."""
        ready = await self.launch_chain(*arguments).wait_ready(CHAIN_SECONDS)
        self.url = str(ready["endpoint"])
        return Deployment.from_json(ready, "of the chain that was started")

    def faucet(self) -> Key:
        """The key that holds the development chain's money."""
        return Key.from_hex((self.home / "chain" / "faucet.key").read_text())

    async def fund(self, client: Client, name: str, *, credit: int = 0, stake: int = 0) -> None:
        """Give a wallet gas and base units of both tokens, as far as it has less."""
        has = await client.balance(self.keys[name].address)
        await pay_from_faucet(
            client,
            self.faucet(),
            has.address,
            credit=max(0, credit - has.credit),
            stake=max(0, stake - has.stake),
            gas=max(0, COIN - has.gas),
        )

    def start_miner(self, name: str, market: str, *arguments: str, subnet: str = "inference") -> Child:
        """A miner of its own key and state."""
        words = [
            "mine",
            subnet,
            "--wallet",
            name,
            "--state",
            str(self.home / "miners" / name),
            "--port",
            "0",
            "--yes",
        ]
        return self.crew.start(name, [*words, *arguments], self.environment(market), nice=WORKER_NICE)

    def start_validator(self, name: str, market: str, *arguments: str, subnet: str = "inference") -> Child:
        """A validator of its own key and state; it pays from the wallet NAME-payer."""
        folder = str(self.home / "validators" / name)
        words = ["validate", subnet, "--wallet", name, "--payer", f"{name}-payer", "--state", folder, "--yes"]
        return self.crew.start(name, [*words, *arguments], self.environment(market), nice=WORKER_NICE)

    def start_gateway(self, name: str, market: str, *arguments: str) -> Child:
        """The gateway; it pays from the wallet of its name."""
        words = ["gateway", "inference", "--wallet", name, "--state", str(self.home / "gateway")]
        return self.crew.start(name, [*words, *arguments], self.environment(market))
