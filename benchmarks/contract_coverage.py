"""Measure which lines and refusals of the contracts their tests run, by the program counters of the EVM.

python benchmarks/contract_coverage.py                 the contracts' tests without the slow ones; some minutes
python benchmarks/contract_coverage.py --all           the slow ones too
python benchmarks/contract_coverage.py --missing       also print each line and reason that nothing ran
python benchmarks/contract_coverage.py -- -k treasury  what stands behind -- goes to pytest

A line counts when the compiler put code for a statement that begins there into a deployed contract; it is covered
when one of its instructions ran. Constructors are left out: their code is gone once they ran. A reason is covered
when a call, at whatever depth, failed with it. A module's lines are covered in whichever contract they ran.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import eth.vm.computation
import pytest
import vyper.ast as vy
from eth.vm.code_stream import CodeStream
from eth.vm.forks.prague.computation import PragueComputation
from eth_abi.abi import decode
from eth_utils import keccak
from vyper.compiler.input_bundle import FilesystemInputBundle
from vyper.compiler.output import build_source_map_runtime_output
from vyper.compiler.phases import CompilerData
from vyper.compiler.settings import Settings

from tercet.chain.artifacts import ContractName

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.chain.contracts.evm import State  # noqa: E402 - not on the path before

CONTRACTS = ROOT / "src/tercet/chain/contracts"
TESTS = ROOT / "tests/chain/contracts"
ERROR = keccak(text="Error(string)")[:4]
Line = tuple[str, int]
"""File and number."""


@dataclass
class Trace:
    """What ran: program counters by code, reasons of failed calls."""

    counters: dict[bytes, set[int]] = field(default_factory=lambda: defaultdict(set))
    reasons: set[str] = field(default_factory=set)

    def install(self) -> None:
        """Watch every computation from now on. In py-evm's own loop: the faster one does not stop at each opcode."""
        trace = self
        State.computation_class = PragueComputation
        apply = PragueComputation.apply_computation.__func__

        class WatchedCode(CodeStream):  # type: ignore[misc]
            """A code stream that says where it stands."""

            def __iter__(self) -> Iterator[int]:
                add = trace.counters[self._raw_code_bytes].add
                for opcode in super().__iter__():
                    add(self.program_counter - 1)
                    yield opcode

        def watched(cls: Any, *arguments: Any, **options: Any) -> Any:
            computation = apply(cls, *arguments, **options)
            output = bytes(computation.output)
            if computation.is_error and output[:4] == ERROR:
                trace.reasons.add(decode(["string"], output[4:])[0])
            return computation

        eth.vm.computation.CodeStream = WatchedCode
        PragueComputation.apply_computation = classmethod(watched)


class Source:
    """One deployable as the compiler laid it out."""

    def __init__(self, name: str) -> None:
        path = CONTRACTS / f"{name}.vy"
        bundle = FilesystemInputBundle([CONTRACTS])
        self.data = CompilerData(bundle.load_file(path.name), bundle, settings=Settings(evm_version="cancun"))
        self.runtime: bytes = self.data.bytecode_runtime

    @cached_property
    def trees(self) -> list[Any]:
        """The contract's syntax tree and those of its modules."""
        found = [self.data.annotated_vyper_module]
        for tree in found:
            found += [info.module_node for info in tree._metadata["type"].imported_modules.values()]
        return [tree for tree in found if tree.resolved_path.endswith(".vy")]

    def lines(self) -> dict[int, Line]:
        """Program counter to the line that its statement begins on."""
        nodes = {
            (tree.source_id, node.node_id): node for tree in self.trees for node in [tree, *tree.get_descendants()]
        }
        found = {}
        for counter, place in build_source_map_runtime_output(self.data)["pc_ast_map"].items():
            statement = statement_of(nodes.get(tuple(place)))
            if statement is not None and statement.lineno is not None:
                found[counter] = (Path(statement.module_node.resolved_path).stem, statement.lineno)
        return found

    def reasons(self) -> Iterator[tuple[str, str]]:
        """(file, reason) of every assert."""
        for tree in self.trees:
            for node in tree.get_descendants(vy.Assert):
                if isinstance(node.msg, vy.Str):
                    yield Path(tree.resolved_path).stem, str(node.msg.value)


def statement_of(node: Any) -> Any:
    """The statement that a node is a part of; None outside functions and in constructors."""
    while node is not None:
        above = node.get_ancestor() if not isinstance(node, vy.Module) else None
        if isinstance(above, vy.FunctionDef) and node not in above.body:
            return None
        if isinstance(above, vy.FunctionDef | vy.If | vy.For) and node in _bodies(above):
            function = above if isinstance(above, vy.FunctionDef) else above.get_ancestor(vy.FunctionDef)
            return None if function.name == "__init__" else node
        node = above
    return None


def _bodies(node: Any) -> list[Any]:
    return [*node.body, *getattr(node, "orelse", [])]


@dataclass
class Coverage:
    """Lines and reasons by file, covered or not."""

    lines: dict[str, dict[int, bool]] = field(default_factory=lambda: defaultdict(dict))
    reasons: dict[str, dict[str, bool]] = field(default_factory=lambda: defaultdict(dict))


def measure(trace: Trace) -> Coverage:
    """Bring the trace and the sources together."""
    coverage = Coverage()
    for name in get_args(ContractName):
        source = Source(name)
        size = len(source.runtime)
        ran = {pc for code, counters in trace.counters.items() if code[:size] == source.runtime for pc in counters}
        for counter, (file, line) in source.lines().items():
            coverage.lines[file][line] = coverage.lines[file].get(line, False) or counter in ran
        for file, reason in source.reasons():
            coverage.reasons[file][reason] = reason in trace.reasons
    return coverage


def show(coverage: Coverage, *, missing: bool) -> None:
    """Print the table."""
    print(f"\n{'file':<16}{'lines':>8}{'covered':>9}{'':>8}{'reasons':>10}{'covered':>9}")
    totals = [0, 0, 0, 0]
    for file in sorted(coverage.lines, key=lambda name: (name[0].islower(), name)):
        lines, reasons = coverage.lines[file], coverage.reasons.get(file, {})
        row = [len(lines), sum(lines.values()), len(reasons), sum(reasons.values())]
        totals = [sum(pair) for pair in zip(totals, row, strict=True)]
        print(_row(file, row))
    print(_row("all", totals))
    if not missing:
        return
    for file, lines in sorted(coverage.lines.items()):
        text = (CONTRACTS / f"{file}.vy").read_text().splitlines()
        for line in sorted(line for line, ran in lines.items() if not ran):
            print(f"{file}.vy:{line}: {text[line - 1].strip()}")
        for reason, seen in sorted(coverage.reasons.get(file, {}).items()):
            if not seen:
                print(f"{file}.vy: no call was refused with {reason!r}")


def _row(name: str, row: list[int]) -> str:
    lines, covered, reasons, seen = row
    return f"{name:<16}{lines:>8}{covered:>9}{covered / lines:>8.1%}{reasons:>10}{seen:>9}"


def main() -> int:
    """Run the tests under watch and print the table; the exit code is pytest's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="the slow tests too")
    parser.add_argument("--missing", action="store_true", help="print what nothing ran")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout at the end")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, behind --")
    options = parser.parse_args()
    trace = Trace()
    trace.install()
    marks = [] if options.all else ["-m", "not slow"]
    code = pytest.main(["-q", "--timeout=900", "-p", "no:cacheprovider", str(TESTS), *marks, *options.pytest])
    coverage = measure(trace)
    show(coverage, missing=options.missing)
    if options.json:
        print(json.dumps({"benchmark": "contract_coverage", "lines": coverage.lines, "reasons": coverage.reasons}))
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
