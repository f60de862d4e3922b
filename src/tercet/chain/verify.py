"""Whether the contracts of a deployment are ours: the code that lies at each address, and whom each of them trusts.

Needs no explorer and no compiler: what ships with this package is compared byte by byte with what the chain says.
Immutables stand behind a contract's code and are no part of what ships; those that matter are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from tercet.chain.artifacts import ContractName, load_artifact
from tercet.chain.bindings import BoundContract
from tercet.chain.ledger import BLUEPRINTS, Deployment
from tercet.chain.rpc import Rpc
from tercet.errors import RevertedError

Code = Literal["ours", "other", "missing"]
_NAMES: dict[str, ContractName] = {name.lower(): name for name in get_args(ContractName)}
_WORD = 32
_BLUEPRINT_HEAD = bytes.fromhex("fe7100")
"""Of ERC-5202: nobody can call what begins so."""


@dataclass(frozen=True, slots=True)
class Check:
    """What was found at one address."""

    contract: str
    """As the deployment file calls it."""
    address: str
    code: Code
    wrong: tuple[str, ...]
    """What it trusts that is not of this deployment, in words; empty when all is right."""

    @property
    def passed(self) -> bool:
        """Whether it is ours, and trusts ours."""
        return self.code == "ours" and not self.wrong


WIRES: tuple[tuple[ContractName, str, str], ...] = (
    ("Token", "minter", "emission"),
    ("Escrow", "fee_sink", "fees"),
    ("Registry", "stake_token", "token"),
    ("Registry", "audits", "audits"),
    ("Audits", "stake_token", "token"),
    ("Audits", "registry", "registry"),
    ("Jobs", "escrow", "escrow"),
    ("Jobs", "registry", "registry"),
    ("Fees", "stake_token", "token"),
    ("Fees", "registry", "registry"),
    ("Fees", "escrow", "escrow"),
    ("Fees", "jobs", "jobs"),
    ("Allocator", "fees", "fees"),
    ("Emission", "fees", "fees"),
    ("Emission", "stake_token", "token"),
)
"""Whose view must say which address of the deployment."""


def compare_code(name: ContractName, code: bytes, *, blueprint: bool = False) -> Code:
    """Judge what lies at an address.

    Args:
        name: of the contract that should be there.
        code: what the chain has.
        blueprint: whether it should be what other contracts are made from.

    """
    artifact = load_artifact(name)
    if not code:
        return "missing"
    if blueprint:
        assert artifact.blueprint is not None
        whole = code[:3] == _BLUEPRINT_HEAD and code[3:] == artifact.bytecode
        return "ours" if whole else "other"
    size = artifact.code_bytes
    whole = len(code) >= size and code[:size] in artifact.bytecode and (len(code) - size) % _WORD == 0
    return "ours" if whole else "other"


async def verify(rpc: Rpc, deployment: Deployment) -> Sequence[Check]:
    """Check every contract of a deployment, in the order of its file."""
    checks = []
    for field in Deployment.__slots__:
        word, _, kind = field.partition("_")
        if (contract := _NAMES.get(word)) is not None:
            address = getattr(deployment, field)
            code = compare_code(contract, await rpc.code(address), blueprint=kind == "blueprint")
            wrong = [] if kind or code != "ours" else await _find_wrong_wires(rpc, deployment, contract, address)
            checks.append(Check(field, address, code, tuple(wrong)))
    return checks


async def _find_wrong_wires(rpc: Rpc, deployment: Deployment, name: ContractName, address: str) -> list[str]:
    bound, wrong = BoundContract(rpc, name, address), []
    for view, field in [(view, field) for contract, view, field in WIRES if contract == name]:
        wanted = getattr(deployment, field)
        try:
            found = str(await bound.read(view))
        except RevertedError as error:
            found = f"nothing ({error.reason})"
        if found != wanted:
            wrong.append(f"its {view} is {found}, not {wanted}")
    if name == "Registry":
        made_from = tuple(await bound.read("blueprints"))
        if made_from != tuple(getattr(deployment, f"{blueprint.lower()}_blueprint") for blueprint in BLUEPRINTS):
            wrong.append(f"it makes markets from {', '.join(made_from)}")
    return wrong
