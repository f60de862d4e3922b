"""What every way of mending a program starts from: the program, how to test it, and where its fault may be."""

from __future__ import annotations

import ast
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tercet.subnets.coding.bench import Bench, Report
from tercet.subnets.coding.diffs import DiffError, apply_diff, build_diff, is_protected
from tercet.subnets.coding.tasks import CodeTask, FixTask
from tercet.subnets.coding.vet import find_tricks

__all__ = ["Function", "Problem", "Solver", "outline", "suspicious_functions", "suspicious_lines"]


@dataclass(frozen=True, slots=True)
class Problem:
    """A broken program on a workbench."""

    files: Mapping[str, str]
    """What may be changed, and what it needs."""
    tests: Mapping[str, str]
    """What may not."""
    failure: str
    bench: Bench
    binary: Mapping[str, bytes] = field(default_factory=dict)
    command: Sequence[str] = ()
    """A user's own test command; pytest over all tests when empty."""
    judged: bool = True
    """A judge will read the change for tricks. Who only wants the tests to pass may use `super` and `sys` like anybody."""

    @classmethod
    def of(cls, task: CodeTask, bench: Bench) -> Problem:
        """The problem that a task poses."""
        if isinstance(task, FixTask):
            return cls(task.files, task.tests, task.failure, bench)
        own = {path: text for path, text in task.files.items() if not is_protected(path)}
        tests = {path: text for path, text in task.files.items() if is_protected(path)}
        return cls(own, tests, task.failure, bench, task.binary, task.command)

    async def run(self, files: Mapping[str, str], *, trace: bool = False) -> Report:
        """Test the program as `files` make it."""
        whole = {**files, **self.tests}
        if self.command:
            return await self.bench.run_command(whole, self.binary, self.command, trace=trace)
        return await self.bench.run_tests(whole, trace=trace)

    def diff(self, after: Mapping[str, str]) -> str:
        """The diff to `after`, or an empty one when no judge would take it."""
        diff = build_diff(self.files, after)
        try:
            apply_diff(self.files, diff, protected=self.tests)
        except DiffError:
            return ""
        return "" if self.judged and find_tricks(self.files, after) else diff


class Solver(Protocol):
    """A way to mend a program."""

    async def open(self) -> None:
        """Load what it needs. Raises `SubnetError` with the mend when it cannot."""

    async def close(self) -> None:
        """Give it back."""

    async def solve(self, problem: Problem, seconds: float) -> str:
        """A diff after which the problem's tests pass, or an empty text when none was found in time."""


def outline(files: Mapping[str, str]) -> str:
    """The Python files without layout, comments and docstrings: equal for programs that do the same by the same code."""
    return "\n".join(f"{path} {_outline(text)}" for path, text in sorted(files.items()) if path.endswith(".py"))


def _outline(text: str) -> str:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return text
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(
            node, clean=False
        ):
            node.body[0] = ast.Pass()
    return ast.dump(tree)


def suspicious_lines(report: Report) -> list[tuple[str, int, float]]:
    """(file, line, suspicion) of what failing tests ran, the most suspicious first. Suspicion is Ochiai's, 0 to 1."""
    failing = [set(report.lines.get(test, ())) for test in report.tests if report.tests[test] == "failed"]
    passing = [set(report.lines.get(test, ())) for test in report.tests if report.tests[test] == "passed"]
    in_failing = Counter(line for lines in failing for line in lines)
    in_passing = Counter(line for lines in passing for line in lines)
    ranked = [
        (file, line, count / math.sqrt(len(failing) * (count + in_passing[file, line])))
        for (file, line), count in in_failing.items()
    ]
    return sorted(ranked, key=lambda row: (-row[2], row[0], row[1]))


@dataclass(frozen=True, slots=True)
class Function:
    """A function of a file, from its first decorator to its last line."""

    path: str
    name: str
    first: int
    last: int
    indent: int


def suspicious_functions(files: Mapping[str, str], report: Report) -> list[Function]:
    """The innermost functions around suspicious lines, the most suspicious first."""
    trees = {path: _functions(path, text) for path, text in files.items() if path.endswith(".py")}
    found: dict[Function, float] = {}
    for path, line, suspicion in suspicious_lines(report):
        around = [function for function in trees.get(path, ()) if function.first <= line <= function.last]
        if around:
            inner = min(around, key=lambda function: function.last - function.first)
            found[inner] = found.get(inner, 0.0) + suspicion**3
    return sorted(found, key=lambda function: -found[function])


def _functions(path: str, text: str) -> list[Function]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return []
    return [
        Function(
            path,
            node.name,
            min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]),
            node.end_lineno or node.lineno,
            node.col_offset,
        )
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
