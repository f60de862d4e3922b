"""Run slither's detectors over the contracts.

    python3 -m venv .cache/slither
    .cache/slither/bin/pip install slither-analyzer==0.11.6 vyper==0.4.3
    .cache/slither/bin/python scripts/slither_contracts.py [NAME ...]

A run over all of them that leaves nothing open writes down in the page which sources it read; a test fails once they
are others, so that the page is always about the contracts as they are.

Slither reads Vyper 0.3.7: it knows neither modules nor `extcall`, and neither the compiler's newer output. So each
contract is first made one module in the older form of the syntax tree: its modules are laid into it, `extcall`,
`staticcall` and the types of loop variables are dropped, keywords become positions. Offsets point into a flat source
beside the findings. Three things get coarser on the way: `a if c else b` reads as `max(a, b)`, a condition on
`raw_call` counts as always met, and `default_return_value` is not seen. What the findings mean and why they stand: docs/reference/static-analysis.md.

Slither is not one of the project's dependencies: nothing but this script needs it.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import patch

import vyper.ast as vy
from slither import Slither
from slither.core.declarations import Function, solidity_variables
from slither.detectors import all_detectors
from slither.detectors.abstract_detector import AbstractDetector
from slither.slithir.operations import HighLevelCall
from slither.vyper_parsing.ast import ast as reader
from vyper.ast.utils import ast_to_dict

ROOT = Path(__file__).resolve().parent.parent
CONTRACTS = ROOT / "src" / "tercet" / "chain" / "contracts"
PAGE = ROOT / "docs" / "reference" / "static-analysis.md"
READ = re.compile(r"(?<=read last: sources `)\w*(?=`)")
"""In the page: `digest_sources` of the newest run that left nothing open."""
DROPPED = {"ImportFrom", "Import", "InitializesDecl", "UsesDecl", "ExportsDecl", "ImplementsDecl"}
NAMED = {"StructDef", "EventDef", "InterfaceDef", "FlagDef"}
IERC20 = """
interface IERC20:
    def totalSupply() -> uint256: view
    def balanceOf(owner: address) -> uint256: view
    def allowance(owner: address, spender: address) -> uint256: view
    def transfer(receiver: address, amount: uint256) -> bool: nonpayable
    def transferFrom(owner: address, receiver: address, amount: uint256) -> bool: nonpayable
    def approve(spender: address, amount: uint256) -> bool: nonpayable
"""
BUILTINS = ("abi_encode", "unsafe_add", "unsafe_sub", "unsafe_mul", "unsafe_div", "create_from_blueprint", "concat",
            "keccak256", "len", "min", "max", "slice", "extract32", "ecrecover", "range", "empty", "abi_decode")  # fmt: skip

Node = dict[str, Any]


class Flat:
    """One contract and its modules as one module of Vyper 0.3.7's syntax tree."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = ""
        self.body: list[Node] = []
        self.orders: dict[str, list[str]] = {}
        """Fields of structs and events, to turn keywords into positions."""
        self.modules: dict[str, set[str]] = {}
        """Of each module the names that are used without `self`: constants, immutables, types."""
        self._known: set[str] = set()
        self._add_source(IERC20, "")
        self._add_file(name)

    def tree(self) -> Node:
        """The module as slither reads it."""
        return {
            "ast_type": "Module",
            "name": f"{self.name}.vy",
            "body": self.body,
            "doc_string": None,
            "src": f"0:{len(self.text)}:0",
            "node_id": 0,
        }

    def _add_file(self, name: str) -> None:
        source = (CONTRACTS / f"{name}.vy").read_text()
        for module in re.findall(r"^import (\w+)$", source, re.MULTILINE):
            if module not in self.modules:
                self.modules[module] = set()
                self._add_file(module)
        self._add_source(source, name)

    def _add_source(self, source: str, name: str) -> None:
        base = len(self.text)
        self.text += source + "\n"
        top = [node for node in ast_to_dict(vy.parse_to_ast(source))["body"] if node["ast_type"] not in DROPPED]
        for node in top:
            if node["ast_type"] in {"StructDef", "EventDef"}:
                self.orders[node["name"]] = [item["target"]["id"] for item in node["body"] if "target" in item]
            if name in self.modules and (
                node["ast_type"] in NAMED or node.get("is_constant") or node.get("is_immutable")
            ):
                self.modules[name].add(node["name"] if "name" in node else node["target"]["id"])
        for node in top:
            if node["ast_type"] == "FunctionDef" and node["name"] == "__init__" and name in self.modules:
                node["name"] = f"_init_{name}"
            key = node["name"] if "name" in node else node["target"]["id"]
            if key in self._known:
                if node["ast_type"] in NAMED:  # the same interface in two modules
                    continue
                raise SystemExit(f"{self.name}: two things are called {key}; this script cannot lay them together.")
            self._known.add(key)
            self.body.append(self._translate(node, base))

    def _translate(self, node: Any, base: int) -> Any:
        if isinstance(node, list):
            return [self._translate(item, base) for item in node]
        if not isinstance(node, dict):
            return node
        kind = node.get("ast_type")
        if kind in {"ExtCall", "StaticCall"}:
            return self._translate(node["value"], base)
        new: Node = {key: self._translate(value, base) for key, value in node.items()}
        if "src" in new:
            start, length, *_ = new["src"].split(":")
            new["src"] = f"{int(start) + base}:{length}:0"
        change = getattr(self, f"_{kind}", None)
        return change(new) if change else new

    # --- One kind of node each ---

    def _FunctionDef(self, node: Node) -> Node:  # noqa: N802
        names = {item.get("id") for item in node["decorator_list"]}
        decorators = [
            {**item, "id": "external"} if item.get("id") == "deploy" else item for item in node["decorator_list"]
        ]
        if node["name"].startswith("_init_"):
            decorators = [{**item, "id": "internal"} for item in decorators]
        if "nonreentrant" in names:
            lock = {**_place(node), "ast_type": "Str", "value": "lock"}
            locked = {**_place(node), "ast_type": "Call", "func": _name(node, "nonreentrant"), "args": [lock]}
            decorators = [item for item in decorators if item.get("id") != "nonreentrant"]
            decorators.append({**locked, "keyword": None, "keywords": []})
        return {**node, "decorator_list": decorators, "doc_string": node.get("doc_string"), "pos": node.get("pos")}

    def _Attribute(self, node: Node) -> Node:  # noqa: N802
        owner = node["value"].get("id")
        if owner not in self.modules:
            return node
        if node["attr"] in self.modules[owner]:
            return _name(node, node["attr"])
        attribute = f"_init_{owner}" if node["attr"] == "__init__" else node["attr"]
        return {**node, "attr": attribute, "value": {**node["value"], "id": "self"}}

    def _Subscript(self, node: Node) -> Node:  # noqa: N802
        return {**node, "slice": {**_place(node), "ast_type": "Index", "value": node["slice"]}}

    def _Call(self, node: Node) -> Node:  # noqa: N802
        order = self.orders.get(node["func"].get("id", ""))
        node["keyword"] = None
        if order is None:
            return {**node, "keywords": [item for item in node["keywords"] if item["arg"] in {"value", "gas"}]}
        given = {item["arg"]: item["value"] for item in node["keywords"]}
        keys = [_name(node, field) for field in order if field in given]
        values = [given[field] for field in order if field in given]
        return {**node, "args": [{**_place(node), "ast_type": "Dict", "keys": keys, "values": values}], "keywords": []}

    def _For(self, node: Node) -> Node:  # noqa: N802
        node = {**node, "target": node["target"]["target"]}
        if node["iter"]["ast_type"] in {"Name", "Call"} or node["iter"].get("value", {}).get("id") == "self":
            return node
        # Slither walks over variables and ranges only: of anything else it sees the expression, and a count.
        expression = {**_place(node), "ast_type": "Expr", "value": node["iter"]}
        count = {**_place(node), "ast_type": "Int", "value": len(node["iter"].get("elements", [])) or 64}
        call = {**_place(node), "ast_type": "Call", "func": _name(node, "range"), "args": [count]}
        return {**node, "iter": {**call, "keyword": None, "keywords": []}, "body": [expression, *node["body"]]}

    def _IfExp(self, node: Node) -> Node:  # noqa: N802
        call = {**_place(node), "ast_type": "Call", "func": _name(node, "max"), "keyword": None, "keywords": []}
        return {**call, "args": [node["body"], node["orelse"]]}

    def _If(self, node: Node) -> Node:  # noqa: N802
        test = node["test"].get("operand", node["test"])
        if test.get("func", {}).get("id") != "raw_call":
            return node
        # What raw_call answers is a pair to slither, which is no condition.
        call = {**_place(node), "ast_type": "Expr", "value": test}
        always = {**_place(node), "ast_type": "NameConstant", "value": True}
        return {**node, "test": always, "body": [call, *node["body"]]}

    def _BoolOp(self, node: Node) -> Node:  # noqa: N802
        first, *rest = node["values"]
        for value in rest:
            first = {**node, "values": [first, value]}
        return dict(first)

    def _HexBytes(self, node: Node) -> Node:  # noqa: N802
        return {**node, "ast_type": "Bytes"}

    def _InterfaceDef(self, node: Node) -> Node:  # noqa: N802
        # Mutability stands in the body; as a decorator slither sees that a view cannot come back and write.
        body = [{**item, "decorator_list": [item["body"][0]["value"]]} for item in node["body"]]
        return {**node, "body": body}

    def _FlagDef(self, node: Node) -> Node:  # noqa: N802
        return {**node, "ast_type": "EnumDef"}


def _place(node: Node) -> Node:
    return {"src": node["src"], "node_id": node["node_id"]}


def _name(node: Node, name: str) -> Node:
    return {**_place(node), "ast_type": "Name", "id": name}


def analyse(name: str, folder: Path) -> list[dict[str, Any]]:
    """All findings of slither's detectors in one contract."""
    flat = Flat(name)
    file = folder / f"{name}.vy"
    file.write_text(flat.text)
    code = {"object": "00"}
    contract = {"abi": [], "evm": {"bytecode": code, "deployedBytecode": {**code, "sourceMap": ""}}}
    answer = {
        "compiler": "vyper-0.3.7",
        "contracts": {str(file): {name: {**contract, "userdoc": {}, "devdoc": {}}}},
        "sources": {str(file): {"ast": flat.tree()}},
    }
    with patch("crytic_compile.platform.vyper._run_vyper_standard_json", lambda *_: answer):
        slither = Slither(str(file))
    for item in vars(all_detectors).values():
        if inspect.isclass(item) and issubclass(item, AbstractDetector) and item is not AbstractDetector:
            slither.register_detector(item)
    return [finding for findings in slither.run_detectors() for finding in findings or []]


def teach() -> None:
    """Give slither the operators and functions that it lacks."""
    operators = {"FloorDiv": "/", "LShift": "<<", "RShift": ">>", "BitXor": "^"}
    reader.binop_ast_type_to_op_symbol.update(operators)
    reader.aug_assign_ast_type_to_op_symbol.update(
        {key: f"{value}=" for key, value in {**operators, "Div": "/"}.items()}
    )
    reader.unop_ast_type_to_op_symbol["Invert"] = "~"
    # From 0.5.0 on of another language's compiler, slither takes a call of a view for one that cannot write.
    HighLevelCall.is_static_call = lambda call: (
        isinstance(call.function, Function) and (call.function.view or call.function.pure)
    )
    for name in BUILTINS:
        solidity_variables.SOLIDITY_FUNCTIONS.setdefault(f"{name}()", [])


def answers() -> set[tuple[str, str]]:
    """(check, contract) of all that the page answers."""
    rows = re.findall(r"^\| `([\w-]+)` \| ([\w, ]+) \|", PAGE.read_text(), re.MULTILINE)
    return {(check, contract.strip()) for check, contracts in rows for contract in contracts.split(",")}


def digest_sources() -> str:
    """Of all contracts' sources, as the shipped artifacts name them."""
    artifacts = [json.loads(path.read_text()) for path in sorted((CONTRACTS / "artifacts").glob("*.json"))]
    sources = "".join(f"{artifact['name']} {artifact['source_sha256']}\n" for artifact in artifacts)
    return hashlib.sha256(sources.encode()).hexdigest()[:16]


def main() -> int:
    """Print every finding; exit 1 when one has no answer, or an answer has no finding."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="contracts; all that are deployed when left out")
    options = parser.parse_args()
    names = options.names or sorted(path.stem for path in CONTRACTS.glob("[A-Z]*.vy"))
    teach()
    answered = answers()
    found: set[tuple[str, str]] = set()
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            findings = analyse(name, Path(folder))
            counts = Counter(f"{finding['check']} ({finding['impact'].lower()})" for finding in findings)
            print(f"== {name}: {', '.join(f'{count} {check}' for check, count in counts.items()) or 'nothing'}")
            for finding in findings:
                found.add((finding["check"], name))
                said = " ".join(re.sub(r"[\w./]*?(\w+\.vy)", r"\1", finding["description"]).split())
                print(f"- {finding['impact']} {finding['check']}: {said}")
    open_ = found - answered
    for check, name in sorted(open_):
        print(f"{check} in {name}: mend it, or answer it in docs/reference/static-analysis.md", file=sys.stderr)
    gone = {(check, name) for check, name in answered - found if name in names}
    for check, name in sorted(gone):
        print(f"{check} in {name}: no such finding any more; take its answer off the page", file=sys.stderr)
    if not (open_ or gone or options.names):
        PAGE.write_text(READ.sub(digest_sources(), PAGE.read_text()))
    return 1 if open_ or gone else 0


if __name__ == "__main__":
    sys.exit(main())
