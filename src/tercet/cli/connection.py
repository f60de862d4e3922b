"""Which chain and which contracts a command talks to."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

from tercet.chain.keys import Key
from tercet.chain.ledger import Deployment
from tercet.chain.market import MarketContract
from tercet.chain.rpc import Rpc
from tercet.cli.settings import Settings
from tercet.client import Client, connect
from tercet.errors import DeploymentError, UsageError

__all__ = ["ENDPOINT", "chain_url", "deployment_path", "find_deployment", "open_client", "open_market", "read_faucet"]

ENDPOINT = "endpoint.json"
"""In the folder of a running development chain: its address."""
DEFAULT_URL = "http://127.0.0.1:8545"


def chain_url(settings: Settings) -> str:
    """The chain that the settings name, else the one that runs under home, else the usual address."""
    if settings.text("chain"):
        return settings.text("chain")
    with contextlib.suppress(OSError, ValueError, KeyError):
        return str(json.loads((settings.home / "chain" / ENDPOINT).read_text())["url"])
    return DEFAULT_URL


def deployment_path(settings: Settings, chain_id: int) -> Path:
    """Where the addresses of the contracts on that chain are kept, unless the settings name a file."""
    chosen = settings.text("deployment")
    return Path(chosen).expanduser() if chosen else settings.home / "deployments" / f"{chain_id}.json"


async def find_deployment(settings: Settings, url: str) -> Deployment:
    """The contracts on the chain at `url`.

    Raises:
        ChainUnreachableError: nobody answers.
        DeploymentError: none are known for that chain.

    """
    async with Rpc(url) as rpc:
        chain_id = await rpc.chain_id()
    path = deployment_path(settings, chain_id)
    if not path.exists():
        raise DeploymentError(
            f"No contracts are known for the chain at {url} (id {chain_id}): there is no {path}. "
            "Put them there with: tercet chain deploy; or name the file of somebody who did: --deployment FILE."
        )
    return Deployment.load(path)


@contextlib.asynccontextmanager
async def open_client(settings: Settings) -> AsyncIterator[Client]:
    """A client of the contracts that the settings lead to."""
    url = chain_url(settings)
    async with connect(url, await find_deployment(settings, url)) as client:
        yield client


@contextlib.asynccontextmanager
async def open_market(settings: Settings, subnet: str = "") -> AsyncIterator[tuple[Client, MarketContract]]:
    """A client, and the market that the settings name, or the one that is named like `subnet`."""
    name = settings.text("market") or subnet
    if not name:
        raise UsageError("Which market? Name it with --market NAME|ADDRESS, or set TERCET_MARKET.")
    async with open_client(settings) as client:
        listing = await client.find_market(name)
        if subnet and listing.subnet != subnet:
            raise UsageError(
                f"The market {name!r} is one for {listing.subnet!r}, not for {subnet!r}. Choose another with --market."
            )
        yield client, client.ledger.market(listing.market)


def read_faucet(settings: Settings) -> Key:
    """The key that holds all money of the development chain under home.

    Raises:
        UsageError: there is no development chain under home.

    """
    path = settings.home / "chain" / "faucet.key"
    try:
        return Key.from_hex(path.read_text())
    except FileNotFoundError:
        raise UsageError(
            f"There is no faucet key {path}: only a development chain under home gives money away. "
            "Start one with: tercet chain start; on another chain, send money to the address instead."
        ) from None
