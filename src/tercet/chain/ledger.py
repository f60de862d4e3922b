"""The deployment: which contracts make up this Tercet, where, and how to put them there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tercet.chain.abi import encode
from tercet.chain.artifacts import ContractName, load_artifact
from tercet.chain.audits import AuditsContract
from tercet.chain.bindings import BoundContract, load_interface
from tercet.chain.emission import EmissionContract, FeesContract
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

BLUEPRINTS: tuple[ContractName, ...] = ("Market", "Stakes", "Treasury", "Rules")
"""What the registry makes a market from, in the order that it takes them."""
NOBODY = "0x" + "0" * 40
SAMPLES = 4
"""Entries of each validator's log that are checked in an epoch: a third of it invented is found four times in five."""
TOKEN_CAP = 100_000_000 * 10**18
"""All TCT there can be at a time."""
TOKEN_SUPPLY = TOKEN_CAP // 2
"""The first supply, which the deployer gets; the other half is the emission's reserve."""
FORWARD_BPS = 5_000
"""Part of a fee that its market gets; the rest is sold for TCT that is burned."""
HALF_LIFE = 3_600
"""Seconds in which the price of fees for sale halves."""
MIN_REFERENCE = 10**18
"""A sale for less leaves the next start price alone, TCT base units."""
EMISSION_RATE = 5 * 10**15
"""Part of the reserve that a period may pay, over 10**18: half a percent a week halves it in under three years."""
BETA_BPS = 5_000
"""Most that a market gets of what was burned for it."""
EXPIRY = 8
"""Periods after which a claim is lost."""

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
    market_blueprint: str
    """What a registry makes its markets from, as the next three."""
    stakes_blueprint: str
    treasury_blueprint: str
    rules_blueprint: str
    registry: str
    audits: str
    """Who may slash: audits the validators of all markets of the registry."""
    jobs: str
    fees: str
    """Gets the fees of paid work."""
    allocator: str
    """The first one; the emission's owner can name another."""
    emission: str

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
        self.audits = AuditsContract(rpc, deployment.audits)
        self.jobs = JobsContract(rpc, deployment.jobs)
        self.fees = FeesContract(rpc, deployment.fees)
        self.emission = EmissionContract(rpc, deployment.emission)

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
    sender: Sender,
    *,
    bond: int = 10**21,
    min_withdraw_delay: int = 60,
    fee_bps: int = FEE_BPS,
    timelock_seconds: int = 604_800,
    period_seconds: int = 604_800,
) -> Deployment:
    """Put all contracts on a chain; the sender gets the first stake supply and may mint test credit.

    Args:
        sender: who pays the gas, about 45 million in all.
        bond: what opening a market takes, refundable, stake token base units.
        min_withdraw_delay: shortest notice of a payment channel, and shortest review or dispute of a held job,
            seconds; 60 or more where money is real.
        fee_bps: the network's part of what miners redeem, ten-thousandths, 0 to 500.
        timelock_seconds: how long a change of a market's rules is announced before it can come into force.
        period_seconds: length of an emission period, 60 or more.
    """
    chain_id, head = await sender.rpc.chain_id(), await sender.rpc.head()
    token = await _create(sender, "Token", sender.address, TOKEN_SUPPLY)
    credit = await _create(sender, "Credit", sender.address)
    market, stakes, treasury, rules = [await _create_blueprint(sender, name) for name in BLUEPRINTS]
    blueprints = market, stakes, treasury, rules
    audits = await _create(sender, "Audits", token, SAMPLES)
    # What nobody can be owed after the last epoch joins the last refunds.
    registry = await _create(sender, "Registry", token, blueprints, bond, timelock_seconds, audits, NOBODY)
    await AuditsContract(sender.rpc, audits).attach(sender, registry)
    fees = await _create(sender, "Fees", token, registry, FORWARD_BPS, HALF_LIFE, MIN_REFERENCE, period_seconds)
    escrow = await _create(sender, "Escrow", min_withdraw_delay, fee_bps, fees, sender.address)
    jobs = await _create(sender, "Jobs", escrow, registry, min_withdraw_delay)
    await BoundContract(sender.rpc, "Fees", fees).write(sender, "set_sources", escrow, jobs)
    allocator, emission = await _create_emission(sender, token, fees)
    return Deployment(
        chain_id=chain_id,
        block=head.number,
        token=token,
        credit=credit,
        escrow=escrow,
        market_blueprint=market,
        stakes_blueprint=stakes,
        treasury_blueprint=treasury,
        rules_blueprint=rules,
        registry=registry,
        audits=audits,
        jobs=jobs,
        fees=fees,
        allocator=allocator,
        emission=emission,
    )


async def _create_emission(sender: Sender, token: str, fees: str) -> tuple[str, str]:
    """The default allocator, and the emission as the token's minter; the sender owns it."""
    allocator = await _create(sender, "Allocator", fees, BETA_BPS)
    schedule = TOKEN_CAP - TOKEN_SUPPLY, EMISSION_RATE, BETA_BPS, EXPIRY
    emission = await _create(sender, "Emission", fees, allocator, sender.address, *schedule)
    await BoundContract(sender.rpc, "Token", token).write(sender, "set_minter", emission)
    return allocator, emission


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
