"""Check the contracts' sources against the house rules, on the compiler's own syntax tree.

    python scripts/check_contracts.py            exit 1 on a finding without an answer, or an answer without a finding
    python scripts/check_contracts.py --list     print every finding, answered or not

The rules, by the first word of a finding:

    order       an external function writes storage after it called another contract that may write
    lock        an external function calls another contract that may write, and is not @nonreentrant
    loop        a call of an external function may run an innermost statement more than MAX_STEPS times
    reason      an assert without a literal reason, or a reason without the file's prefix
    silent      an external function writes storage and logs nothing
    ignored     what another contract returned is not looked at
    power       a builtin or variable that deserves a second look: see POWERS
    unchecked   arithmetic without overflow checks
    precision   a product of a quotient: the division's rest is multiplied away
    unused      an internal function, event, constant or storage variable that nothing refers to
    words       no @notice on an external function; no `@custom:kill`, licence or exact pragma in a deployable

Calls of internal functions are followed. Branches are taken one after the other and loops twice, so that what may come
after a call does. Answers are the rows of the first table in docs/reference/static-analysis.md.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import vyper.ast as vy
from vyper.compiler.input_bundle import FilesystemInputBundle
from vyper.compiler.phases import CompilerData
from vyper.semantics.types import DArrayT, SArrayT
from vyper.semantics.types.function import ContractFunctionT

ROOT = Path(__file__).resolve().parent.parent
CONTRACTS = ROOT / "src" / "tercet" / "chain" / "contracts"
PAGE = ROOT / "docs" / "reference" / "static-analysis.md"

MAX_STEPS = 50_000
"""A settlement of all pages is 16 x 2 halves x 64 validators, with 8 lanes in each: 16,384 and a little."""

POWERS = {
    "selfdestruct", "raw_call", "send", "raw_create", "create_minimal_proxy_to", "create_copy_of",
    "create_from_blueprint", "raw_revert", "raw_log", "ecrecover",
    "tx.origin", "tx.gasprice", "block.number", "block.prevrandao", "block.coinbase", "msg.gas", "self.balance",
}  # fmt: skip
PREFIX_OF = {"market_params": "rules", "network_fee": "fee", "fee_notice": "fee"}
"""Files whose reasons speak for another."""


class Unit:
    """One deployable with its modules, as the compiler understood them."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        bundle = FilesystemInputBundle([path.parent])
        self.data = CompilerData(bundle.load_file(path.name), bundle)
        self.module = self.data.annotated_vyper_module
        self.aliases = {
            node.alias or node.name: node.name
            for node in self.module.get_children(vy.Import)
            if (path.parent / f"{node.name}.vy").exists()
        }
        exposed = self.module._metadata["type"].exposed_functions  # noqa: SLF001
        self.external = [kind for kind in exposed if not is_getter(kind)]

    @property
    def modules(self) -> list[Any]:
        """The syntax trees of the contract and of all it is made of."""
        found = [self.module]
        for tree in found:
            found += [info.module_node for info in tree._metadata["type"].imported_modules.values()]  # noqa: SLF001
        return found


def is_getter(kind: ContractFunctionT) -> bool:
    """Made by the compiler for a public variable."""
    return kind.decl_node.node_source_code is None


def file_of(node: Any) -> str:
    """The name of the file that a node stands in."""
    return Path(node.module_node.resolved_path).stem


def place(node: Any) -> str:
    """`Contract.function` that a node stands in."""
    function = node if isinstance(node, vy.FunctionDef) else node.get_ancestor(vy.FunctionDef)
    return f"{file_of(node)}.{function.name}" if function else file_of(node)


def called(node: Any) -> ContractFunctionT | None:
    """The internal function that a call runs, if it is one."""
    kind = node.func._metadata.get("type")  # noqa: SLF001
    if isinstance(kind, ContractFunctionT) and (kind.is_internal or kind.is_constructor):
        return kind
    return None


def may_write(node: Any) -> bool:
    """A call that leaves the contract and may come back."""
    if isinstance(node, vy.ExtCall):
        return True
    if not isinstance(node, vy.Call):
        return False
    name = getattr(node.func, "id", "")
    static = any(item.arg == "is_static_call" and item.value.value for item in node.keywords)
    return (name == "raw_call" and not static) or name.startswith("create_")


def written(target: Any) -> str | None:
    """The storage variable that an assignment's target is or stands in."""
    node = target
    while isinstance(node, vy.Attribute | vy.Subscript):
        info = node._metadata.get("varinfo") if isinstance(node, vy.Attribute) else None  # noqa: SLF001
        owner = node.value
        if isinstance(node, vy.Attribute) and isinstance(owner, vy.Name) and (owner.id == "self" or info is not None):
            return str(node.attr)
        node = owner
    return None


def events_of(node: Any, seen: tuple[Any, ...] = ()) -> Iterator[tuple[str, str]]:
    """What a statement or expression does, in order: ("call", whom), ("write", what), ("log", event)."""
    if isinstance(node, list):
        for item in node:
            yield from events_of(item, seen)
    elif isinstance(node, vy.For):
        yield from events_of(node.iter, seen)
        yield from events_of(node.body, seen)
        yield from events_of(node.body, seen)
    elif isinstance(node, vy.Assign | vy.AugAssign | vy.AnnAssign):
        yield from events_of(node.value, seen)
        targets = node.target.elements if isinstance(node.target, vy.Tuple) else [node.target]
        for target in targets:
            name = written(target)
            if name:
                yield "write", name
    elif isinstance(node, vy.VyperNode):
        for child in node.get_children():
            yield from events_of(child, seen)
        if isinstance(node, vy.Log):
            yield "log", str(node.value.func.node_source_code)
        if may_write(node):
            yield (
                "call",
                re.sub(
                    r"\(.*",
                    "",
                    " ".join((node.value.func if isinstance(node, vy.ExtCall) else node.func).node_source_code.split()),
                ),
            )
        if isinstance(node, vy.Call):
            if isinstance(node.func, vy.Attribute) and node.func.attr in {"append", "pop"}:
                name = written(node.func.value)
                if name:
                    yield "write", name
            kind = called(node)
            if kind is not None and kind.decl_node not in seen:
                yield from events_of(kind.decl_node.body, (*seen, kind.decl_node))


def rounds(loop: Any) -> int:
    """The most often that a loop runs."""
    kind = loop.iter._metadata.get("type")  # noqa: SLF001
    if isinstance(kind, DArrayT | SArrayT):
        return int(kind.length)
    if isinstance(loop.iter, vy.List):
        return len(loop.iter.elements)
    bounds = [item.value.reduced().value for item in loop.iter.keywords if item.arg == "bound"]
    if bounds:
        return int(bounds[0])
    ends = [item.reduced().value for item in loop.iter.args]
    return int(ends[0] if len(ends) == 1 else ends[1] - ends[0])


def steps(node: Any) -> int:
    """The most often that one innermost statement runs in a single call."""
    if isinstance(node, list):
        return sum(steps(item) for item in node)
    if isinstance(node, vy.For):
        return rounds(node) * max(1, steps(node.body))
    if not isinstance(node, vy.VyperNode):
        return 0
    total = sum(steps(child) for child in node.get_children())
    if isinstance(node, vy.Call):
        kind = called(node)
        if kind is not None:
            total += steps(kind.decl_node.body)
    return total


def check_function(unit: Unit, kind: ContractFunctionT) -> Iterator[str]:
    """Findings in one external function."""
    node = kind.decl_node
    name = f"{unit.name}.{node.name}"
    if steps(node.body) > MAX_STEPS:
        yield f"loop {name}"
    if "@notice" not in node.node_source_code:
        yield f"words {name}"
    if not kind.is_mutable:
        return
    happened = list(events_of(node.body))
    calls = [index for index, (what, _) in enumerate(happened) if what == "call"]
    if calls and any(what == "write" for what, _ in happened[calls[0] :]):
        yield f"order {name}"
    if calls and not kind.nonreentrant:
        yield f"lock {name}"
    if any(what == "write" for what, _ in happened) and all(what != "log" for what, _ in happened):
        yield f"silent {name}"


def check_source(tree: Any) -> Iterator[str]:
    """Findings in one file, whoever runs it."""
    prefix = PREFIX_OF.get(file_of(tree), file_of(tree).lower())
    for node in tree.get_descendants((vy.Assert, vy.Raise)):
        message = node.msg if isinstance(node, vy.Assert) else node.exc
        if not isinstance(message, vy.Str) or not message.value.startswith(f"{prefix}: "):
            yield f"reason {place(node)}"
    for node in tree.get_descendants(vy.Call):
        name = getattr(node.func, "id", "")
        if name in POWERS:
            yield f"power {place(node)} {name}"
        if name.startswith("unsafe_"):
            yield f"unchecked {place(node)}"
    for node in tree.get_descendants(vy.Attribute):
        name = f"{getattr(node.value, 'id', '')}.{node.attr}"
        if name in POWERS:
            yield f"power {place(node)} {name}"
    for node in tree.get_descendants(vy.BinOp):
        inner = [node.left, node.right] if isinstance(node.op, vy.Mult) else []
        if any(isinstance(item, vy.BinOp) and isinstance(item.op, vy.FloorDiv) for item in inner):
            yield f"precision {place(node)}"
    for node in tree.get_descendants(vy.Expr):
        if isinstance(node.value, vy.ExtCall) and node.value.value.func._metadata["type"].return_type is not None:  # noqa: SLF001
            yield f"ignored {place(node)}"


def check_unused(trees: list[Any]) -> Iterator[str]:
    """Things that no file refers to."""
    used = {node.id for tree in trees for node in tree.get_descendants(vy.Name)}
    used |= {node.attr for tree in trees for node in tree.get_descendants(vy.Attribute)}
    for tree in trees:
        for node in tree.get_children((vy.FunctionDef, vy.EventDef, vy.StructDef, vy.VariableDecl)):
            if isinstance(node, vy.VariableDecl):
                # The declaration's own name counts once among the names.
                name = node.target.id
                again = [item for item in tree.get_descendants(vy.Name) if item.id == name and item is not node.target]
                attributes = {item.attr for each in trees for item in each.get_descendants(vy.Attribute)}
                if not node.is_public and not again and name not in attributes:
                    yield f"unused {file_of(tree)}.{name}"
            elif isinstance(node, vy.FunctionDef):
                internal = node._metadata["func_type"].is_internal  # noqa: SLF001
                if internal and node.name not in used:
                    yield f"unused {file_of(tree)}.{node.name}"
            elif node.name not in used:
                yield f"unused {file_of(tree)}.{node.name}"


def check_words(path: Path) -> Iterator[str]:
    """What a deployable's head must say."""
    source = path.read_text()
    wanted = (r"^# pragma version ==0\.4\.3$", r"^@license Apache-2\.0$", r"^@custom:kill ", r"^@notice ", r"^@title ")
    if not all(re.search(pattern, source, re.MULTILINE) for pattern in wanted):
        yield f"words {path.stem}"


def find_all(folder: Path) -> list[str]:
    """Every finding in the contracts of a folder, in order, each once."""
    found: dict[str, None] = {}
    trees: dict[str, Any] = {}
    for path in sorted(folder.glob("[A-Z]*.vy")):
        unit = Unit(path)
        found.update(dict.fromkeys(check_words(path)))
        for kind in unit.external:
            found.update(dict.fromkeys(check_function(unit, kind)))
        for tree in unit.modules:
            if Path(tree.resolved_path).parent == folder:
                trees.setdefault(file_of(tree), tree)
    for tree in trees.values():
        found.update(dict.fromkeys(check_source(tree)))
    found.update(dict.fromkeys(check_unused(list(trees.values()))))
    return list(found)


def answered() -> list[str]:
    """The findings that the page answers."""
    table = PAGE.read_text().split("## Slither", maxsplit=1)[0] if PAGE.exists() else ""
    return re.findall(r"`((?:\w+) \w+[\w. ]*)`", "\n".join(row for row in table.splitlines() if row.startswith("|")))


def main() -> int:
    """Compare findings with answers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print every finding")
    parser.add_argument("--sources", type=Path, default=CONTRACTS, help="another folder of contracts")
    options = parser.parse_args()
    folder: Path = options.sources.resolve()
    found = find_all(folder)
    if options.list:
        print("\n".join(found))
        return 0
    here = {path.stem for path in folder.glob("*.vy")}
    open_ = [finding for finding in found if finding not in answered()]
    stale = [item for item in answered() if item not in found and item.split()[1].split(".")[0] in here]
    for finding in open_:
        print(f"{finding}: mend it, or answer it in {PAGE.relative_to(ROOT)}", file=sys.stderr)
    for item in stale:
        print(f"{item}: answered in {PAGE.relative_to(ROOT)}, and not found any more", file=sys.stderr)
    return 1 if open_ or stale else 0


if __name__ == "__main__":
    sys.exit(main())
