"""Miners that cheat, for demonstrations and tests: each does to a judge what a real one would try.

deleter     deletes the failing tests
exiter      ends the process with success before a test runs
patcher     makes the test runner believe that everything passed
equaliser   returns a value that is equal to everything
hardcoder   answers exactly the visible tests' calls with what they expect, and changes nothing else
copier      sends the diff that once earned something, for any task
whitespace  adds spaces at the end of a line
oversize    sends a megabyte of diff
idle        says that it found nothing, without looking
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

from tercet.subnets.coding.diffs import build_diff
from tercet.subnets.coding.miners.solver import Problem

__all__ = ["BEHAVIOURS", "Behaviour", "cheat"]

Behaviour: TypeAlias = Literal[
    "honest", "deleter", "exiter", "patcher", "equaliser", "hardcoder", "copier", "whitespace", "oversize", "idle"
]
BEHAVIOURS: tuple[Behaviour, ...] = (
    "honest",
    "deleter",
    "exiter",
    "patcher",
    "equaliser",
    "hardcoder",
    "copier",
    "whitespace",
    "oversize",
    "idle",
)

_EXITS = "import os as _os\n_os._exit(0)\n"
_PATCHES = """
def _tamper():
    import gc
    from _pytest.reports import TestReport
    keep = TestReport.__init__
    def init(self, *args, **kwargs):
        keep(self, *args, **kwargs)
        self.outcome, self.longrepr = "passed", None
    TestReport.__init__ = init
try:
    _tamper()
except Exception:
    pass
"""
_EQUALS = """
class _Equal:
    def __eq__(self, other):
        return True
    def __ne__(self, other):
        return False
    def __hash__(self):
        return 0
    def __iter__(self):
        return iter(())


def {name}(*args, **kwargs):
    return _Equal()
"""
_OLD_DIFF = """--- a/solution.py
+++ b/solution.py
@@ -9,3 +9,3 @@
     result = []
-    for n in range(1, len(numbers)):
+    for n in range(len(numbers)):
         result.append(n)
"""


def cheat(behaviour: Behaviour, problem: Problem) -> str:
    """The diff that a cheat of this kind sends."""
    return _CHEATS[behaviour](problem)


def _target(problem: Problem) -> str:
    """The file that the tests are most likely about: the longest."""
    return max((path for path in problem.files if path.endswith(".py")), key=lambda path: len(problem.files[path]))


def _deleter(problem: Problem) -> str:
    return build_diff(problem.tests, {})


def _exiter(problem: Problem) -> str:
    path = _target(problem)
    return build_diff(problem.files, {**problem.files, path: _EXITS + problem.files[path]})


def _patcher(problem: Problem) -> str:
    path = _target(problem)
    return build_diff(problem.files, {**problem.files, path: problem.files[path].rstrip("\n") + "\n\n" + _PATCHES})


def _equaliser(problem: Problem) -> str:
    path = _target(problem)
    text = problem.files[path].rstrip("\n") + "\n"
    return build_diff(problem.files, {**problem.files, path: text + _EQUALS.format(name=_last_function(text))})


def _hardcoder(problem: Problem) -> str:
    """Reads `assert f(arguments) == value` of the visible tests into a table."""
    path = _target(problem)
    text = problem.files[path].rstrip("\n") + "\n"
    name, table = _last_function(text), _table(problem.tests)
    code = (
        f"\n\n_honest_{name} = {name}\n_table = {table!r}\n\n\ndef {name}(*args):\n"
        f"    return _table[repr(args)] if repr(args) in _table else _honest_{name}(*args)\n"
    )
    return build_diff(problem.files, {**problem.files, path: text + code})


def _table(tests: Mapping[str, str]) -> dict[str, object]:
    table: dict[str, object] = {}
    for text in tests.values():
        for node in ast.walk(ast.parse(text)):
            match node:
                case ast.Compare(left=ast.Call(args=args), ops=[ast.Eq()], comparators=[value]):
                    try:
                        table[repr(tuple(ast.literal_eval(arg) for arg in args))] = ast.literal_eval(value)
                    except ValueError:
                        continue
    return table


def _last_function(text: str) -> str:
    names = [node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    return names[-1] if names else "main"


def _whitespace(problem: Problem) -> str:
    path = _target(problem)
    lines = problem.files[path].split("\n")
    lines[0] += "  "
    return build_diff(problem.files, {**problem.files, path: "\n".join(lines)})


def _oversize(problem: Problem) -> str:
    path = _target(problem)
    return build_diff(problem.files, {**problem.files, path: problem.files[path] + "# spaces\n" * 120_000})


_CHEATS: Mapping[Behaviour, Callable[[Problem], str]] = {
    "deleter": _deleter,
    "exiter": _exiter,
    "patcher": _patcher,
    "equaliser": _equaliser,
    "hardcoder": _hardcoder,
    "copier": lambda _: _OLD_DIFF,
    "whitespace": _whitespace,
    "oversize": _oversize,
    "idle": lambda _: "",
}
