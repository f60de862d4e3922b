"""`tercet chain`: run a development chain, put the contracts on any chain."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import click

from tercet.chain.files import make_folder, write_atomic
from tercet.chain.keys import Key
from tercet.chain.ledger import DEPLOY_GAS, Builder, Deployment, DeployTerms, deploy
from tercet.chain.rpc import Rpc
from tercet.chain.sender import Sender
from tercet.chain.verify import verify
from tercet.cli.connection import ENDPOINT, chain_url, deployment_path, find_deployment, open_client
from tercet.cli.frame import State, group, pass_state
from tercet.cli.options import spending_options, wallet_option
from tercet.cli.output import confirm, print_json, print_table, say
from tercet.cli.serving import run_role
from tercet.cli.settings import Settings
from tercet.cli.unlock import unlock
from tercet.errors import RefusedError, RpcError, UsageError, WrongChainError
from tercet.market import STAKE, Amount
from tercet.nodes.role import announce, told_to_stop

__all__ = ["command"]

BOND = 10**21
"""Opening a market takes 1000 TCT, refundable."""
MINED_SECONDS = 300.0
"""How long a public chain may take to mine a contract."""
TIMELOCK_SECONDS = 60
"""On a development chain, where nobody needs a week to leave."""


@group("chain", examples=("tercet chain start", "tercet chain show --json"))
def command() -> None:
    """Run a development chain, put the contracts on any chain."""


@command.command("start", examples=("tercet chain start", "tercet chain start --port 0 --time-travel"))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8545, show_default=True, help="0 takes a free one.")
@click.option("--time-travel", is_flag=True, help="Serve evm_increaseTime and its like, for tests.")
@click.option(
    "--period",
    default=3_600,
    show_default=True,
    metavar="SECONDS",
    help="Length of an emission period on a new chain, 60 or more.",
)
@pass_state
def start(state: State, host: str, port: int, time_travel: bool, period: int) -> None:
    """Run the embedded development chain until Ctrl-C, the contracts on it.

    It is kept in home/chain and goes on where it stopped. The key in home/chain/faucet.key holds all its money.
    """
    run_role(_serve(state.settings, host, port, time_travel=time_travel, period=period))


async def _serve(settings: Settings, host: str, port: int, *, time_travel: bool, period: int) -> int:
    try:
        from tercet.chain.devnet import serve  # noqa: PLC0415  # py-evm takes a second to import
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("eth"):
            raise
        raise UsageError(
            "The development chain needs py-evm, which is not installed. Install it: pip install 'tercet[devnet]', "
            "or name a chain that runs elsewhere: --chain URL."
        ) from error

    folder = settings.home / "chain"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with told_to_stop() as stop:
        async with serve(folder, host, port, time_travel=time_travel) as server:
            deployment = await _deploy_once(settings, server.url, server.chain_id, folder, period)
            endpoint = folder / ENDPOINT
            endpoint.write_text(json.dumps({"url": server.url, "chain_id": server.chain_id}) + "\n")
            try:
                announce("chain", endpoint=server.url, faucet=server.faucet, **asdict(deployment))
                return await stop
            finally:
                with contextlib.suppress(OSError):
                    endpoint.unlink()


async def _deploy_once(settings: Settings, url: str, chain_id: int, folder: Path, period: int) -> Deployment:
    """The contracts of this very chain: put there at its first start."""
    path = deployment_path(settings, chain_id)
    async with Rpc(url) as rpc:
        if path.exists():
            known = Deployment.load(path)
            if await rpc.code(known.registry):
                return known
        say("Putting the contracts on the new chain.")
        faucet = Key.from_hex((folder / "faucet.key").read_text())
        deployment = await deploy(
            Sender(rpc, faucet), bond=BOND, timelock_seconds=TIMELOCK_SECONDS, period_seconds=period
        )
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
@click.option(
    "--timelock", default=604_800, show_default=True, metavar="SECONDS", help="Notice of a change of a market's rules."
)
@click.option(
    "--period", default=604_800, show_default=True, metavar="SECONDS", help="Length of an emission period, 60 or more."
)
@click.option("--replace", is_flag=True, help="Also when contracts are known for this chain already.")
@spending_options
@wallet_option
@pass_state
def deploy_contracts(
    state: State, *, bond: str, notice: int, timelock: int, period: int, replace: bool, yes: bool, dry_run: bool
) -> None:
    """Put all contracts on a chain and keep their addresses in home/deployments.

    The wallet pays the gas, about 31 million, gets the first supply of the stake token, half of all there can be,
    owns the emission, and may mint test credit. Cut off, the same command goes on where it was.
    """
    terms = DeployTerms(
        bond=Amount.parse(bond, STAKE).units,
        min_withdraw_delay=notice,
        timelock_seconds=timelock,
        period_seconds=period,
    )
    asyncio.run(_deploy(state.settings, terms, replace=replace, yes=yes, dry_run=dry_run))


async def _deploy(settings: Settings, terms: DeployTerms, *, replace: bool, yes: bool, dry_run: bool) -> None:
    async with Rpc(chain_url(settings)) as rpc:
        chain_id = await rpc.chain_id()
        path = deployment_path(settings, chain_id)
        if path.exists() and not replace:
            raise RefusedError(
                f"Contracts are known for chain {chain_id} already ({path}). Say --replace for new ones."
            )
        begun = path.with_name(f"{path.name}.begun")
        made = _read_begun(begun, terms)
        rest = f"the rest of fourteen contracts, {len(made)} are there," if made else "fourteen contracts"
        cost = await _tell_cost(rpc, DEPLOY_GAS)
        if not confirm(f"put {rest} on chain {chain_id} at {rpc.url}, {cost}", yes=yes, dry_run=dry_run):
            return
        make_folder(begun.parent)
        sender = Sender(rpc, unlock(settings), deadline=MINED_SECONDS)

        def note(addresses: Mapping[str, str]) -> None:
            content = {"terms": asdict(terms), "made": dict(addresses)}
            write_atomic(begun, json.dumps(content, indent=1).encode() + b"\n")
            field, address = list(addresses.items())[-1]
            say(f"  {len(addresses) - 1:>2} of {len(Deployment.__slots__) - 2}  {address}  {field}")

        deployment = await Builder(sender, terms, made, note).build()
    deployment.save(path)
    begun.unlink(missing_ok=True)
    click.echo(path)


def _read_begun(path: Path, terms: DeployTerms) -> dict[str, str]:
    """What an earlier attempt left behind; nothing when there was none.

    Raises:
        RefusedError: it was made on other terms.

    """
    if not path.exists():
        return {}
    content = json.loads(path.read_text())
    if content["terms"] != asdict(terms):
        raise RefusedError(
            f"A deployment on other terms was cut off here: {content['terms']}. Say the same options to go on with it, "
            f"or remove {path} to begin anew."
        )
    return dict(content["made"])


async def _tell_cost(rpc: Rpc, gas: int) -> str:
    """Gas in the chain's own coin, at the price of now."""
    price = (await rpc.head()).base_fee
    with contextlib.suppress(RpcError):  # a node without a suggestion
        price += await rpc.tip()
    return (
        f"for about {gas / 1e6:.0f} million gas, {gas * price / 10**18:.3g} of its coin at {price / 10**9:.3g} gwei now"
    )


@command.command(
    "verify",
    examples=("tercet chain verify", "tercet chain verify --deployment deployment.json --json"),
    schema={
        "passed": "whether all contracts are ours, and trust only each other",
        "contracts[].contract": "as the deployment file calls it",
        "contracts[].address": "where it is",
        "contracts[].code": "ours, other or missing: what lies there, compared with what this package ships",
        "contracts[].wrong[]": "in words: whom it trusts that is not of this deployment",
    },
)
@pass_state
def verify_contracts(state: State, as_json: bool) -> int:
    """Compare the code at every address with what this package ships, and whom each contract trusts. Fails if anything is off."""
    return asyncio.run(_verify(state.settings, as_json))


async def _verify(settings: Settings, as_json: bool) -> int:
    url = chain_url(settings)
    deployment = await find_deployment(settings, url)
    async with Rpc(url) as rpc:
        if (found := await rpc.chain_id()) != deployment.chain_id:
            raise WrongChainError(
                f"The chain at {url} has id {found}, the deployment was made on {deployment.chain_id}."
            )
        checks = await verify(rpc, deployment)
    passed = all(check.passed for check in checks)
    if as_json:
        print_json({"passed": passed, "contracts": [{**asdict(check), "wrong": list(check.wrong)} for check in checks]})
    else:
        rows = [[check.contract, check.address, check.code, "; ".join(check.wrong)] for check in checks]
        print_table(["contract", "address", "code", ""], rows, "")
        say("All are ours, and trust each other." if passed else "Something is off: send no money there.")
    return 0 if passed else 1


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
        "contracts.market_blueprint": "what markets are made from, as the next three",
        "contracts.stakes_blueprint": "of the stakes",
        "contracts.treasury_blueprint": "of the treasury",
        "contracts.rules_blueprint": "of the rules",
        "contracts.registry": "opens markets",
        "contracts.audits": "audits the validators of all markets of the registry",
        "contracts.jobs": "held jobs",
        "contracts.fees": "forwards fees of paid work, or sells them for TCT that is burned",
        "contracts.allocator": "the first rule that splits the emission",
        "contracts.emission": "the only minter of TCT",
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
    addresses = asdict(deployment)
    contracts = {name: value for name, value in addresses.items() if name not in ("chain_id", "block")}
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
