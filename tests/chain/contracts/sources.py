"""Contracts that only tests need: the `.vy` files of this folder, compiled when they are asked for."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path

from vyper.cli.vyper_compile import compile_files

from tercet.chain.artifacts import Artifact

OURS = str(resources.files("tercet.chain") / "contracts")
"""Whose modules a test's contract may import."""


@cache
def compile_source(name: str) -> Artifact:
    """One of this folder's own contracts, such as `wallet`."""
    path = Path(__file__).with_name(f"{name}.vy")
    compiled = compile_files([str(path)], ["abi", "bytecode"], paths=[str(path.parent), OURS])
    output = next(found for file, found in compiled.items() if str(file).endswith(path.name))
    code = bytes.fromhex(output["bytecode"].removeprefix("0x"))
    return Artifact(name, tuple(output["abi"]), code, None, "vyper", "")
