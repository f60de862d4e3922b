"""The purse of a run: which wallet's money its agents may pay away, and how much. Chosen once, written down, opened again."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping
from pathlib import Path

from tercet.chain.keys import Key
from tercet.chain.ledger import Deployment
from tercet.cli.connection import chain_url, deployment_path, find_deployment
from tercet.cli.settings import Settings
from tercet.cli.unlock import unlock
from tercet.errors import UsageError
from tercet.market import CREDIT, Amount
from tercet.swarm.purse import open_purse
from tercet.swarm.tools import OpenPurse

__all__ = ["choose_purse", "reopen_purse"]


def choose_purse(settings: Settings, pay: str) -> tuple[Mapping[str, str], OpenPurse]:
    """What is written down of a purse, and the purse: the settings' wallet, for at most `pay` credit.

    Raises:
        UsageError: no amount, or the wallet's password is not to be had.
        ChainUnreachableError: no chain there.

    """
    limit = Amount.parse(pay, CREDIT).units
    if limit <= 0:
        raise UsageError(f"--pay {pay} lets nobody pay anything. Say how much, or leave it out.")
    url = chain_url(settings)
    deployment = asyncio.run(find_deployment(settings, url))
    key = unlock(settings)
    chosen = {
        "wallet": settings.text("wallet"), "address": key.address, "limit": str(limit), "chain": url,
        "deployment": str(deployment_path(settings, deployment.chain_id).absolute()),
    }  # fmt: skip
    return chosen, _open(chosen, deployment, key)


def reopen_purse(settings: Settings, chosen: Mapping[str, str]) -> OpenPurse | None:
    """The purse of a run that goes on; None where it has none.

    Raises:
        UsageError: the wallet has another key now: what was under way could be paid a second time.

    """
    if not chosen:
        return None
    key = unlock(settings, chosen["wallet"])
    if key.address != chosen["address"]:
        raise UsageError(
            f"The wallet {chosen['wallet']!r} is {key.address} now, and the run pays from {chosen['address']}. Bring that"
            " key back under this name: tercet wallet import."
        )
    return _open(chosen, Deployment.load(Path(chosen["deployment"])), key)


def _open(chosen: Mapping[str, str], deployment: Deployment, key: Key) -> OpenPurse:
    return functools.partial(open_purse, chosen["chain"], deployment, key, int(chosen["limit"]))
