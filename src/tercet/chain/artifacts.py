"""The compiled contracts, as they ship in the wheel.

Knows where the artifacts lie and what is in them; no compiler is needed at run time.
`scripts/build_contracts.py` writes them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal, get_args

from tercet.errors import UnknownContractError

ContractName = Literal[
    "Token",
    "Credit",
    "Registry",
    "Market",
    "Stakes",
    "Treasury",
    "Rules",
    "Escrow",
    "Jobs",
    "Audits",
    "Fees",
    "Allocator",
    "Emission",
]


@dataclass(frozen=True, slots=True)
class Artifact:
    """One compiled contract."""

    name: str
    abi: tuple[dict[str, Any], ...]
    """JSON ABI entries; shared, so treat them as read-only."""
    bytecode: bytes
    """Creation code; constructor arguments go behind it."""
    blueprint: bytes | None
    """Creation code of the ERC-5202 blueprint, for contracts that another contract creates."""
    compiler: str
    """Such as `vyper 0.4.3`."""
    source_sha256: str
    """Hash of the source files it was built from."""
    code_bytes: int = 0
    """Length of the code that it leaves on the chain, without the immutables behind it."""


@cache
def load_artifact(name: ContractName) -> Artifact:
    """Read one contract's artifact.

    Raises:
        UnknownContractError: there is no contract of this name.
    """
    if name not in get_args(ContractName):
        known = ", ".join(get_args(ContractName))
        raise UnknownContractError(f"No contract is called {name!r}. Known: {known}.")
    file = resources.files("tercet.chain") / "contracts" / "artifacts" / f"{name}.json"
    fields = json.loads(file.read_text())
    blueprint = fields.get("blueprint")
    return Artifact(
        name=fields["name"],
        abi=tuple(fields["abi"]),
        bytecode=bytes.fromhex(fields["bytecode"].removeprefix("0x")),
        blueprint=bytes.fromhex(blueprint.removeprefix("0x")) if blueprint else None,
        compiler=fields["compiler"],
        source_sha256=fields["source_sha256"],
        code_bytes=int(fields["code_bytes"]),
    )
