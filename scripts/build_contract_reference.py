"""Write docs/reference/contracts.md from the artifacts that ship and the NatSpec in their sources.

python scripts/build_contract_reference.py [--check]
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from tercet.chain.artifacts import ContractName

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "src/tercet/chain/contracts"
PAGE = ROOT / "docs/reference/contracts.md"
NAMES: tuple[str, ...] = get_args(ContractName)
HEAD = """# Contracts

Generated from the artifacts that ship: `make docs`. What the rules mean: [how an epoch decides](../explanation/consensus.md),
[how an answer is paid](../explanation/payments.md). Amounts are base units, times are Unix seconds.
"""


def notices(contract: str) -> Mapping[str, str]:
    """Function name to the NatSpec notice: the contract's own, else that of a module it is composed of."""
    modules = sorted(path for path in SOURCES.glob("*.vy") if path.stem.islower())
    found: dict[str, str] = {}
    for source in (SOURCES / f"{contract}.vy", *modules):
        pattern = r"^def (\w+)\(.*?\n    \"\"\"\n    @notice (.*?)(?=\n    @|\n    \"\"\")"
        for name, text in re.findall(pattern, source.read_text(), re.MULTILINE | re.DOTALL):
            found.setdefault(name, " ".join(text.split()))
    return found


def signature(entry: Mapping[str, Any]) -> str:
    """`name(type name, ...)`, structs by their member types."""
    return f"{entry['name']}({', '.join(parameter(each) for each in entry['inputs'])})"


def parameter(entry: Mapping[str, Any]) -> str:
    """One input; indexed event fields say so."""
    kind = entry["type"].replace("tuple", "struct")
    return " ".join(word for word in (kind, "indexed" if entry.get("indexed") else "", entry["name"]) if word)


def rows(abi: list[Mapping[str, Any]], said: Mapping[str, str]) -> Iterator[str]:
    """Writes, reads and events of one contract."""
    functions = [entry for entry in abi if entry["type"] == "function"]
    for title, reading in (("Writes", False), ("Reads", True)):
        yield f"\n### {title}\n\n| function | what it does |\n|---|---|"
        for entry in functions:
            if (entry["stateMutability"] in {"view", "pure"}) == reading:
                yield f"| `{signature(entry)}` | {said.get(entry['name'], '')} |"
    yield "\n### Events\n"
    for entry in abi:
        if entry["type"] == "event":
            yield f"- `{signature(entry)}`"


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for name in NAMES:
        artifact = json.loads((SOURCES / "artifacts" / f"{name}.json").read_text())
        parts += [f"\n## {name}", *rows(artifact["abi"], notices(name))]
    return "\n".join(parts) + "\n"


def main() -> int:
    """Write the page, or tell whether it is up to date."""
    text = page()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(text)
        return 0
    if PAGE.exists() and PAGE.read_text() == text:
        return 0
    print(f"{PAGE.relative_to(ROOT)} is not what the contracts say. Regenerate it with: make docs", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
