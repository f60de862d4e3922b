"""The deployment: which contracts make up this Tercet, where, and how to put them there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tercet.chain.abi import encode
from tercet.chain.artifacts import ContractName, load_artifact
from tercet.chain.bindings import load_interface
from tercet.chain.escrow import EscrowContract
from tercet.chain.files import make_folder, write_atomic
from tercet.chain.jobs import JobsContract
from tercet.chain.keys import checksum_address, parse_address
from tercet.chain.market import MarketContract
from tercet.chain.registry import RegistryContract
from tercet.chain.rpc import Rpc
from tercet.chain.sender import Sender
from tercet.chain.tokens import CreditContract, TokenContract
from tercet.chain.voucher import EscrowDomain
from tercet.errors import ChainError, DeploymentError, WrongChainError

TOKEN_SUPPLY = 100_000_000 * 10**18
"""All TCT there can be; a development deployment mints it to the deployer."""

FEE_BPS = 100
"""The network's part of what miners redeem, ten-thousandths, in a new deployment."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where the contracts are."""

    chain_id: int
    block: int
    """The block before the first contract: where to read logs from."""
    token: str
    credit: str
    escrow: str
    blueprint: str
    """Of the Market contract."""
    registry: str
    jobs: str

    @property
    def domain(self) -> EscrowDomain:
        """What vouchers are signed under."""
        return EscrowDomain(self.chain_id, self.escrow)

    def save(self, path: Path) -> None:
        """Write a JSON file, whole or not at all."""
        make_folder(path.parent)
        write_atomic(path, json.dumps(asdict(self), indent=1).encode() + b"\n")

    @classmethod
    def load(cls, path: Path) -> Deployment:
        """Read a file that `save` wrote.

        Raises:
            DeploymentError: missing or malformed.
        """
        try:
            content = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise DeploymentError(
                f"There is no deployment file {path}. Make one with: tercet chain start, or copy the chain's own."
            ) from None
        except (OSError, ValueError) as error:
            raise DeploymentError(f"Cannot read the deployment file {path}: {error}.") from error
        return cls.from_json(content, str(path))

    @classmethod
    def from_json(cls, content: Any, name: str) -> Deployment:
        """Check and take over a parsed file; `name` is for the error's text."""
        if not isinstance(content, Mapping):
            raise DeploymentError(f"The deployment {name} is no JSON object.")
        values: dict[str, Any] = {}
        for field in fields(cls):
            value = content.get(field.name)
            try:
                is_number = field.name in ("chain_id", "block")
                values[field.name] = int(str(value)) if is_number else checksum_address(parse_address(str(value)))
            except (TypeError, ValueError, ChainError) as error:
                raise DeploymentError(f"The deployment {name} has no good {field.name!r}: {value!r}.") from error
        return cls(**values)


class Ledger:
    """The contracts of a deployment, ready to call."""

    def __init__(self, rpc: Rpc, deployment: Deployment) -> None:
        self.rpc, self.deployment = rpc, deployment
        self.token = TokenContract(rpc, deployment.token)
        self.credit = CreditContract(rpc, deployment.credit)
        self.registry = RegistryContract(rpc, deployment.registry)
        self.escrow = EscrowContract(rpc, deployment.escrow)
        self.jobs = JobsContract(rpc, deployment.jobs)

    def market(self, address: str) -> MarketContract:
        """A market by its address."""
        return MarketContract(self.rpc, address)

    async def check(self) -> None:
        """Make sure that this chain is the deployment's.

        Raises:
            WrongChainError: the chain has another id.
            DeploymentError: there are no contracts, for instance because the chain was started anew.
        """
        found = await self.rpc.chain_id()
        if found != self.deployment.chain_id:
            raise WrongChainError(
                f"The chain at {self.rpc.url} has id {found}, the deployment was made on {self.deployment.chain_id}. "
                "Pass the URL of the right chain, or use another state folder."
            )
        if not await self.rpc.code(self.deployment.registry):
            raise DeploymentError(
                f"The registry {self.deployment.registry} is not on the chain at {self.rpc.url}: it was started anew. "
                "Deploy again, or use that chain's own deployment file."
            )


async def deploy(
    sender: Sender, *, bond: int = 10**21, min_withdraw_delay: int = 60, fee_bps: int = FEE_BPS, fee_sink: str = ""
) -> Deployment:
    """Put all contracts on a chain; the sender gets the whole stake supply and may mint test credit.

    Args:
        sender: who pays the gas, about 18 million in all.
        bond: what opening a market takes, refundable, stake token base units.
        min_withdraw_delay: shortest notice of a payment channel, and shortest review or dispute of a held job,
            seconds; 60 or more where money is real.
        fee_bps: the network's part of what miners redeem, ten-thousandths, 0 to 500.
        fee_sink: who gets it; empty means the sender.
    """
    chain_id, head = await sender.rpc.chain_id(), await sender.rpc.head()
    token = await _create(sender, "Token", sender.address, TOKEN_SUPPLY)
    credit = await _create(sender, "Credit", sender.address)
    escrow = await _create(sender, "Escrow", min_withdraw_delay, fee_bps, fee_sink or sender.address, sender.address)
    blueprint = await _create_blueprint(sender, "Market")
    registry = await _create(sender, "Registry", token, blueprint, bond)
    jobs = await _create(sender, "Jobs", escrow, registry, min_withdraw_delay)
    return Deployment(chain_id, head.number, token, credit, escrow, blueprint, registry, jobs)


async def _create(sender: Sender, name: ContractName, *arguments: Any) -> str:
    data = load_artifact(name).bytecode + encode(load_interface(name).constructor, arguments)
    return await _created(sender, name, data)


async def _create_blueprint(sender: Sender, name: ContractName) -> str:
    blueprint = load_artifact(name).blueprint
    assert blueprint is not None
    return await _created(sender, name, blueprint)


async def _created(sender: Sender, name: str, data: bytes) -> str:
    receipt = await sender.send(None, data)
    if receipt.contract is None:
        raise DeploymentError(f"The chain gave no address for {name}. Is it an EVM chain?")
    return receipt.contract
