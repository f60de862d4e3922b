"""Compile the contracts into the artifacts that ship in the wheel.

    python scripts/build_contracts.py            write src/tercet/chain/contracts/artifacts/*.json
    python scripts/build_contracts.py --check    write nothing; exit 1 when an artifact is out of date

Only this script needs the compiler. The optimizer's level stands in each contract's own pragma.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import get_args

import vyper
from vyper.cli.vyper_compile import compile_files
from vyper.compiler.settings import Settings

from tercet.chain.artifacts import ContractName

ROOT = Path(__file__).resolve().parent.parent
CONTRACTS = ROOT / "src" / "tercet" / "chain" / "contracts"
ARTIFACTS = CONTRACTS / "artifacts"

EVM_VERSION = "cancun"
"""The oldest rules we run on: Cancun has transient storage and MCOPY."""

DEPLOYABLES: tuple[str, ...] = get_args(ContractName)
BLUEPRINTS = ("Market", "Stakes", "Treasury", "Rules")
"""Contracts that another contract creates: their artifact also has the ERC-5202 initcode."""

MAX_CODE = 24_576
"""EIP-170: the most bytes of code an account may have."""


def main(arguments: list[str] | None = None) -> int:
    """Build or check; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 when an artifact is out of date; write nothing")
    check: bool = parser.parse_args(arguments).check
    stale = [name for name in DEPLOYABLES if not _is_current(name)] if check else []
    if check:
        for name in stale:
            print(f"{name}: artifact is out of date. Run: python scripts/build_contracts.py", file=sys.stderr)
        return 1 if stale else 0
    ARTIFACTS.mkdir(exist_ok=True)
    for name in DEPLOYABLES:
        artifact = build(name)
        (ARTIFACTS / f"{name}.json").write_text(render(artifact))
        print(f"{name}: {artifact['code_bytes']:,} bytes of code")
    return 0


def build(name: str) -> dict[str, object]:
    """Compile one deployable into its artifact."""
    formats = ["abi", "bytecode", "bytecode_runtime", *(["blueprint_bytecode"] if name in BLUEPRINTS else [])]
    path = CONTRACTS / f"{name}.vy"
    output = compile_files([str(path)], formats, paths=[str(CONTRACTS)], settings=Settings(evm_version=EVM_VERSION))
    compiled = {
        key: value for file, outputs in output.items() if str(file).endswith(".vy") for key, value in outputs.items()
    }
    code_bytes = len(compiled["bytecode_runtime"]) // 2 - 1
    if name in BLUEPRINTS:  # the blueprint's own code is three bytes and the whole creation code
        code_bytes = len(compiled["bytecode"]) // 2 - 1 + 3
    if code_bytes > MAX_CODE:
        raise SystemExit(f"{name}: {code_bytes:,} bytes of code, a chain takes {MAX_CODE:,}. Move something out.")
    artifact: dict[str, object] = {
        "name": name,
        "compiler": f"vyper {vyper.__version__.split('+')[0]}",
        "evm_version": EVM_VERSION,
        "source_sha256": source_sha256(name),
        "code_bytes": code_bytes,
        "abi": compiled["abi"],
        "bytecode": compiled["bytecode"],
    }
    if name in BLUEPRINTS:
        artifact["blueprint"] = compiled["blueprint_bytecode"]
    return artifact


def source_sha256(name: str) -> str:
    """Hash of a contract's source and of the modules it imports, in order of name."""
    digest = hashlib.sha256()
    for file in sorted(_sources(CONTRACTS / f"{name}.vy")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _sources(path: Path) -> set[Path]:
    found = {path}
    for module in re.findall(r"^import (\w+)$", path.read_text(), re.MULTILINE):
        found |= _sources(CONTRACTS / f"{module}.vy")
    return found


def render(artifact: dict[str, object]) -> str:
    """The artifact's text: one ABI entry a line, so that a change of the ABI reads well in a diff."""
    entries = artifact["abi"]
    assert isinstance(entries, list)
    abi = ",\n    ".join(json.dumps(entry, separators=(",", ":")) for entry in entries)
    rest = {key: value for key, value in artifact.items() if key != "abi"}
    head = json.dumps(rest, indent=2).removesuffix("\n}")
    return f'{head},\n  "abi": [\n    {abi}\n  ]\n}}\n'


def _is_current(name: str) -> bool:
    file = ARTIFACTS / f"{name}.json"
    return file.exists() and file.read_text() == render(build(name))


if __name__ == "__main__":
    sys.exit(main())
