"""The deployment: which contracts make up this Tercet, where, and how to put them there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
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
from tercet.chain.keys import NOBODY, checksum_address, parse_address
from tercet.chain.market import MarketContract
from tercet.chain.registry import RegistryContract
from tercet.chain.rpc import Rpc
from tercet.chain.sender import Sender
from tercet.chain.tokens import CreditContract, TokenContract
from tercet.chain.voucher import EscrowDomain
from tercet.errors import ChainError, DeploymentError, WrongChainError

BLUEPRINTS: tuple[ContractName, ...] = ("Market", "Stakes", "Treasury", "Rules")
"""What the registry makes a market from, in the order that it takes them."""
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


DEPLOY_GAS = 31_000_000
"""What putting all contracts on a chain takes, measured."""


@dataclass(frozen=True, slots=True)
class DeployTerms:
    """What a deployment is made with; none of it can be changed later, but for the fee, by its owner and with notice."""

    bond: int = 10**21
    """What opening a market takes, refundable, stake token base units."""
    min_withdraw_delay: int = 60
    """Shortest notice of a payment channel, and shortest review or dispute of a held job, seconds; 60 or more where
    money is real.
    """
    fee_bps: int = FEE_BPS
    """The network's part of what miners redeem, ten-thousandths, 0 to 500."""
    timelock_seconds: int = 604_800
    """How long a change of a market's rules is announced before it can come into force."""
    period_seconds: int = 604_800
    """Length of an emission period, 60 or more."""


async def deploy(sender: Sender, **terms: int) -> Deployment:
    """Put all contracts on a chain; the sender gets the first stake supply and may mint test credit.

    Args:
        sender: who pays the gas, `DEPLOY_GAS` in all.
        terms: fields of `DeployTerms`.
    """
    return await Builder(sender, DeployTerms(**terms)).build()


class Builder:
    """Puts the contracts on a chain one after the other, and goes on where it was cut off.

    On a public chain a node may fail or a purse run dry half-way; what lies there already is paid for.
    """

    def __init__(
        self,
        sender: Sender,
        terms: DeployTerms,
        made: Mapping[str, str] | None = None,
        note: Callable[[Mapping[str, str]], None] = lambda _: None,
    ) -> None:
        """Nothing is sent yet.

        Args:
            sender: who pays, and owns.
            terms: the same as before, when something was made before.
            made: what earlier attempts put there, by the names of `Deployment`, and `block`.
            note: told everything that was made so far, after each contract.
        """
        self._sender, self._terms, self._note = sender, terms, note
        self._made = dict(made or {})

    async def build(self) -> Deployment:
        """All that is missing, and the deployment."""
        sender, terms, made = self._sender, self._terms, self._made
        chain_id, head = await sender.rpc.chain_id(), await sender.rpc.head()
        made.setdefault("block", str(head.number))
        token = await self._create("token", "Token", sender.address, TOKEN_SUPPLY)
        await self._create("credit", "Credit", sender.address)
        blueprints = tuple([await self._create_blueprint(name) for name in BLUEPRINTS])
        audits = await self._create("audits", "Audits", token, SAMPLES)
        # What nobody can be owed after the last epoch joins the last refunds.
        shared = token, blueprints, terms.bond, terms.timelock_seconds, audits, NOBODY
        registry = await self._create("registry", "Registry", *shared)
        await self._tie("Audits", audits, "registry", "attach", registry)
        auction = FORWARD_BPS, HALF_LIFE, MIN_REFERENCE, terms.period_seconds
        fees = await self._create("fees", "Fees", token, registry, *auction)
        delay = terms.min_withdraw_delay
        escrow = await self._create("escrow", "Escrow", delay, terms.fee_bps, fees, sender.address)
        jobs = await self._create("jobs", "Jobs", escrow, registry, delay)
        await self._tie("Fees", fees, "escrow", "set_sources", escrow, jobs)
        allocator = await self._create("allocator", "Allocator", fees, BETA_BPS)
        schedule = TOKEN_CAP - TOKEN_SUPPLY, EMISSION_RATE, BETA_BPS, EXPIRY
        emission = await self._create("emission", "Emission", fees, allocator, sender.address, *schedule)
        await self._tie("Token", token, "minter", "set_minter", emission)
        return Deployment.from_json({"chain_id": chain_id, **made}, "just made")

    async def _create(self, field: str, name: ContractName, *arguments: Any) -> str:
        return await self._put(
            field, load_artifact(name).bytecode + encode(load_interface(name).constructor, arguments)
        )

    async def _create_blueprint(self, name: ContractName) -> str:
        blueprint = load_artifact(name).blueprint
        assert blueprint is not None
        return await self._put(f"{name.lower()}_blueprint", blueprint)

    async def _put(self, field: str, data: bytes) -> str:
        if field not in self._made or not await self._sender.rpc.code(self._made[field]):
            receipt = await self._sender.send(None, data)
            if receipt.contract is None:
                raise DeploymentError(f"The chain gave no address for the {field}. Is it an EVM chain?")
            self._made[field] = receipt.contract
            self._note(self._made)
        return self._made[field]

    async def _tie(self, name: ContractName, address: str, view: str, function: str, *arguments: str) -> None:
        """Name one contract to another, unless that was done: it can be done once."""
        contract = BoundContract(self._sender.rpc, name, address)
        if str(await contract.read(view)) == NOBODY:
            await contract.write(self._sender, function, *arguments)
