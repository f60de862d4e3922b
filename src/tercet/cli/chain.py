"""`tercet chain`: run a development chain, put the contracts on any chain."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import asdict
from pathlib import Path

import click

from tercet.chain.keys import Key
from tercet.chain.ledger import Deployment, deploy
from tercet.chain.rpc import Rpc
from tercet.chain.sender import Sender
from tercet.cli.connection import ENDPOINT, chain_url, deployment_path, open_client
from tercet.cli.frame import State, group, pass_state
from tercet.cli.options import spending_options, wallet_option
from tercet.cli.output import confirm, print_json, print_table, say
from tercet.cli.serving import run_role
from tercet.cli.settings import Settings
from tercet.cli.unlock import unlock
from tercet.errors import RefusedError
from tercet.market import STAKE, Amount
from tercet.nodes.role import announce, told_to_stop

__all__ = ["command"]

BOND = 10**21
"""Opening a market takes 1000 TCT, refundable."""


@group("chain", examples=("tercet chain start", "tercet chain show --json"))
def command() -> None:
    """Run a development chain, put the contracts on any chain."""


@command.command("start", examples=("tercet chain start", "tercet chain start --port 0 --time-travel"))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8545, show_default=True, help="0 takes a free one.")
@click.option("--time-travel", is_flag=True, help="Serve evm_increaseTime and its like, for tests.")
@pass_state
def start(state: State, host: str, port: int, time_travel: bool) -> None:
    """Run the embedded development chain until Ctrl-C, the contracts on it.

    It is kept in home/chain and goes on where it stopped. The key in home/chain/faucet.key holds all its money.
    """
    run_role(_serve(state.settings, host, port, time_travel))


async def _serve(settings: Settings, host: str, port: int, time_travel: bool) -> int:
    from tercet.chain.devnet import serve  # noqa: PLC0415  # py-evm takes a second to import

    folder = settings.home / "chain"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with told_to_stop() as stop:
        async with serve(folder, host, port, time_travel=time_travel) as server:
            deployment = await _deploy_once(settings, server.url, server.chain_id, folder)
            endpoint = folder / ENDPOINT
            endpoint.write_text(json.dumps({"url": server.url, "chain_id": server.chain_id}) + "\n")
            try:
                announce("chain", endpoint=server.url, faucet=server.faucet, **asdict(deployment))
                return await stop
            finally:
                with contextlib.suppress(OSError):
                    endpoint.unlink()


async def _deploy_once(settings: Settings, url: str, chain_id: int, folder: Path) -> Deployment:
    """The contracts of this very chain: put there at its first start."""
    path = deployment_path(settings, chain_id)
    async with Rpc(url) as rpc:
        if path.exists():
            known = Deployment.load(path)
            if await rpc.code(known.registry):
                return known
        say("Putting the contracts on the new chain.")
        faucet = Key.from_hex((folder / "faucet.key").read_text())
        deployment = await deploy(Sender(rpc, faucet), bond=BOND)
    deployment.save(path)
    return deployment


@command.command(
    "deploy",
    examples=("tercet chain deploy --chain http://127.0.0.1:8545 --wallet owner", "tercet chain deploy --dry-run"),
)
@click.option(
    "--bond", default="1000", show_default=True, metavar="TCT", help="What opening a market takes, refundable."
)
@click.option(
    "--notice", default=60, show_default=True, metavar="SECONDS", help="Shortest notice of a payment channel."
)
@click.option("--replace", is_flag=True, help="Also when contracts are known for this chain already.")
@spending_options
@wallet_option
@pass_state
def deploy_contracts(state: State, bond: str, notice: int, replace: bool, yes: bool, dry_run: bool) -> None:
    """Put all contracts on a chain and keep their addresses in home/deployments.

    The wallet pays the gas, about 18 million, gets the whole supply of the stake token, and may mint test credit.
    """
    asyncio.run(
        _deploy(state.settings, Amount.parse(bond, STAKE).units, notice, replace=replace, yes=yes, dry_run=dry_run)
    )


async def _deploy(settings: Settings, bond: int, notice: int, *, replace: bool, yes: bool, dry_run: bool) -> None:
    async with Rpc(chain_url(settings)) as rpc:
        chain_id = await rpc.chain_id()
        path = deployment_path(settings, chain_id)
        if path.exists() and not replace:
            raise RefusedError(
                f"Contracts are known for chain {chain_id} already ({path}). Say --replace for new ones."
            )
        if not confirm(
            f"put six contracts on chain {chain_id} at {rpc.url}, for about 18 million gas", yes=yes, dry_run=dry_run
        ):
            return
        deployment = await deploy(Sender(rpc, unlock(settings)), bond=bond, min_withdraw_delay=notice)
    deployment.save(path)
    click.echo(path)


@command.command(
    "show",
    examples=("tercet chain show", "tercet chain show --chain http://127.0.0.1:8545 --json"),
    schema={
        "url": "JSON-RPC address",
        "chain_id": "its id",
        "head": "number of the newest block",
        "time": "Unix seconds of the newest block",
        "contracts.token": "stake token (TCT)",
        "contracts.credit": "credit",
        "contracts.escrow": "payment channels",
        "contracts.blueprint": "of the Market contract",
        "contracts.registry": "opens markets",
        "contracts.jobs": "held jobs",
    },
)
@pass_state
def show(state: State, as_json: bool) -> None:
    """The chain's address, id and head, and where the contracts are."""
    asyncio.run(_show(state.settings, as_json))


async def _show(settings: Settings, as_json: bool) -> None:
    async with open_client(settings) as client:
        rpc, deployment = client.ledger.rpc, client.ledger.deployment
        head = await rpc.head()
    names = ("token", "credit", "escrow", "blueprint", "registry", "jobs")
    contracts = {name: getattr(deployment, name) for name in names}
    if as_json:
        print_json(
            {
                "url": rpc.url,
                "chain_id": deployment.chain_id,
                "head": head.number,
                "time": head.timestamp,
                "contracts": contracts,
            }
        )
        return
    click.echo(f"{rpc.url}, chain {deployment.chain_id}, block {head.number}")
    print_table(["contract", "address"], list(contracts.items()), "")
