"""Small contracts that stand in for a neighbour, so that a contract can be tested at its edges."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal

from eth_abi.abi import encode
from tests.chain.contracts.evm import Contract, Ledger
from vyper import compile_code

from tercet.chain.artifacts import Artifact

StubName = Literal["Greedy", "Liar", "Place", "Town"]


@cache
def compile_stub(name: StubName) -> Artifact:
    """A stub's artifact, compiled once."""
    source = (Path(__file__).parent / "stub_sources" / f"{name}.vy").read_text()
    output = compile_code(source, output_formats=["abi", "bytecode"])
    code = bytes.fromhex(output["bytecode"].removeprefix("0x"))
    return Artifact(name, tuple(output["abi"]), code, None, "", "")


def deploy_stub(ledger: Ledger, name: StubName, *arguments: Any) -> Contract:
    """Put a stub on a ledger in memory."""
    artifact = compile_stub(name)
    made = [entry for entry in artifact.abi if entry["type"] == "constructor"]
    types = [item["type"] for entry in made for item in entry["inputs"]]
    address = ledger._create(artifact.bytecode + encode(types, arguments), None)
    return Contract(ledger, artifact, address)
