"""Tests that are made to fail: two mixtures of a program's tests, in each of which every other one asks for something wrong.

Whoever answers for a test runner knows a run's tests, not which of them are true. So a function under test that is asked
for `f(2) == 4` in one mixture and for `f(2) == 7` in the other has to pass the one and fail the other, and each test is
wrong in exactly one. A runner that is overruled, a report that is forged and a value that equals everything cannot do
that, unless the code brought the very tests with it, or does what they ask. No secret has to be kept from it.

Only the last statement of a test is changed, where nothing before it can end the test early: what an honest test does
before, and what the next one finds, stays as it was. Tests without such a statement are as they were, in both.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = ["Mixture", "ended_unchanged", "function_id", "mix_twins", "spoil_script"]

_Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
_OPPOSITE: Mapping[type[ast.cmpop], str] = {
    ast.NotEq: "==", ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
    ast.Lt: ">=", ast.GtE: "<", ast.Gt: "<=", ast.LtE: ">",
}  # fmt: skip
_OPPOSITE_METHODS = {
    "assertTrue": "assertFalse", "assertIs": "assertIsNot", "assertIsNone": "assertIsNotNone", "assertIn": "assertNotIn",
    "assertIsInstance": "assertNotIsInstance",
}  # fmt: skip
_OPPOSITE_METHODS |= {other: name for name, other in _OPPOSITE_METHODS.items()} | {"assertNotEqual": "assertEqual"}
_EQUAL_METHODS = {
    f"assert{kind}Equal" for kind in ("", "List", "Tuple", "Dict", "Set", "Sequence", "Count", "MultiLine")
}
_PASSED = frozenset({"passed"})
_FAILED = frozenset({"failed", "xfailed"})
"""The latter of a test that may fail, and did not as it was."""
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Mixture:
    """A program's tests, some of them made to fail."""

    files: Mapping[str, str]
    """The changed modules by path."""
    wrong: frozenset[str]
    """`PATH::FUNCTION` or `PATH::CLASS::METHOD` of the tests that have to fail."""
    known: frozenset[str]
    """Of all tests that stand in these modules; others, inherited ones, may end as they like."""

    def doubts(self, passed: Iterable[str], tests: Mapping[str, str]) -> list[str]:
        """Ids of tests that ended otherwise than they have to; none that did not run.

        Args:
            passed: ids of tests that passed as they are.
            tests: id to how it ended in a run of this mixture.

        """
        return sorted(
            test
            for test in passed
            if test in tests and (name := function_id(test)) in self.known
            if tests[test] not in (_FAILED if name in self.wrong else _PASSED)
        )

    def caught(self, passed: Iterable[str], tests: Mapping[str, str]) -> bool:
        """Whether one that has to fail did, or there is none among those that passed."""
        wrong = [test for test in passed if function_id(test) in self.wrong]
        return not wrong or any(tests.get(test) in _FAILED for test in wrong)


def ended_unchanged(mixtures: Sequence[Mixture], runs: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Test id to how it ended where it is as it was; of two ends not `passed`."""
    ended: dict[str, str] = {}
    for mixture, run in zip(mixtures, runs, strict=True):
        for test, how in run.items():
            if function_id(test) not in mixture.wrong and ended.get(test, "passed") == "passed":
                ended[test] = how
    return ended


def function_id(test: str) -> str:
    """A test's id without its parameters."""
    return test.partition("[")[0]


def mix_twins(tests: Mapping[str, str], draws: random.Random | None = None) -> tuple[Mixture, Mixture]:
    """Two mixtures of modules with tests, by path; drawn from the system's secrets when `draws` is absent.

    What can be made to fail does so in one of them, and passes in the other.
    """
    draws = draws or random.SystemRandom()
    trees = {path: tree for path, source in tests.items() if (tree := _parse(source)) is not None}
    used = {name for tree in trees.values() for name in _references(tree)}
    mixtures: tuple[_Mixing, _Mixing] = (_Mixing(), _Mixing())
    known: set[str] = set()
    for path, tree in trees.items():
        for name, function in _tests_of(tree):
            known.add(f"{path}::{name}")
            edit = None if function.name in used else _spoil_function(tests[path], function, draws)
            if edit is not None:
                mixtures[draws.randrange(2)].add(path, f"{path}::{name}", edit)
    return (mixtures[0].done(tests, known), mixtures[1].done(tests, known))


def spoil_script(source: str, draws: random.Random | None = None) -> str:
    """A program that cannot end with success where `source` does, or the same where it holds nothing that makes it so."""
    tree = _parse(source)
    if tree is None or _references(tree) & {"exit", "quit", "_exit", "SystemExit"}:
        return source
    asserts = [node for node in tree.body if isinstance(node, ast.Assert)]
    draws = draws or random.SystemRandom()
    edits = [edit for node in asserts if (edit := _spoil_assert(source, node, draws)) is not None]
    return _apply(source, [draws.choice(edits)]) if edits else source


# which tests


@dataclass(frozen=True, slots=True)
class _Edit:
    """Text in the place of an expression."""

    node: ast.expr
    text: str


class _Mixing:
    def __init__(self) -> None:
        self._edits: dict[str, list[_Edit]] = {}
        self._wrong: set[str] = set()

    def add(self, path: str, name: str, edit: _Edit) -> None:
        self._edits.setdefault(path, []).append(edit)
        self._wrong.add(name)

    def done(self, tests: Mapping[str, str], known: Iterable[str]) -> Mixture:
        files = {path: _apply(tests[path], edits) for path, edits in self._edits.items()}
        return Mixture(files, frozenset(self._wrong), frozenset(known))


def _parse(source: str) -> ast.Module | None:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _references(tree: ast.AST) -> set[str]:
    """Names that somebody calls, imports or assigns: a test among them is more than a test."""
    return {name for node in ast.walk(tree) for name in _reference(node)}


def _reference(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
            yield name


def _tests_of(tree: ast.Module) -> Iterator[tuple[str, _Function]]:
    """The test functions of a module, and of its classes, by their names in an id; one that is defined twice is none."""
    yield from _functions(tree.body, "")
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and _plainly_marked(node):
            yield from _functions(node.body, f"{node.name}::")


def _functions(body: Iterable[ast.stmt], prefix: str) -> Iterator[tuple[str, _Function]]:
    found = [node for node in body if isinstance(node, _Function) and node.name.startswith("test")]
    names = [node.name for node in found]
    for node in found:
        if names.count(node.name) == 1 and _plainly_marked(node):
            yield f"{prefix}{node.name}", node


def _plainly_marked(node: _Function | ast.ClassDef) -> bool:
    """Whether all its decorators are marks of pytest's: any other may keep a test from being called."""
    return all(ast.unparse(each).removeprefix("pytest.").startswith("mark.") for each in node.decorator_list)


# what makes one fail


def _spoil_function(source: str, function: _Function, draws: random.Random) -> _Edit | None:
    """The change of its last statement; None where it may not be reached, or nothing can be turned round."""
    if any(isinstance(node, ast.Return | ast.Yield | ast.YieldFrom) for node in _own_nodes(function.body)):
        return None
    match function.body[-1]:
        case ast.Assert() as node:
            return _spoil_assert(source, node, draws)
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr=name)) as call):
            return _spoil_call(name, call, draws)
        case ast.Expr(value=ast.Call(func=ast.Name(id=("assert_equal" | "assert_equals" | "eq_"))) as call):
            return _spoil_call("assertEqual", call, draws)
    return None


def _own_nodes(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """What a function does itself, not the functions in it."""
    for node in body:
        if not isinstance(node, _Function):
            yield node
            yield from _own_nodes(ast.iter_child_nodes(node))


def _spoil_assert(source: str, node: ast.Assert, draws: random.Random) -> _Edit | None:
    match node.test:
        case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
            return _unequal(left, right, draws)
        case ast.Compare(left=ast.Constant(value=str(text)) as left, ops=[ast.In()]):
            return _Edit(left, repr(text + "".join(draws.choices(_LETTERS, k=8))))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _OPPOSITE:
            return _Edit(node.test, f"({_text(source, left)}) {_OPPOSITE[type(op)]} ({_text(source, right)})")
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return _Edit(node.test, f"({_text(source, operand)})")
    return _Edit(node.test, f"not ({_text(source, node.test)})")


def _spoil_call(name: str, call: ast.Call, draws: random.Random) -> _Edit | None:
    """Of a method of unittest's, or what does the same; a message or a tolerance of an equality leaves the test alone."""
    arguments = call.args
    if name in _OPPOSITE_METHODS:
        return _Edit(call.func, f"self.{_OPPOSITE_METHODS[name]}")
    two = len(arguments) == 2 and not call.keywords and not any(isinstance(each, ast.Starred) for each in arguments)
    return _unequal(arguments[0], arguments[1], draws) if name in _EQUAL_METHODS and two else None


def _unequal(left: ast.expr, right: ast.expr, draws: random.Random) -> _Edit:
    """One of two equal things made into something else: the one that is written out, or the one that nobody computes."""
    for side in (right, left):
        try:
            value = ast.literal_eval(side)
            other = _other(value, draws)
        except (ValueError, TypeError, SyntaxError, OverflowError, RecursionError, MemoryError):
            continue
        if other != value:
            return _Edit(side, repr(other))
    computed = any(isinstance(node, ast.Call) for node in ast.walk(left))
    return _Edit(right if computed else left, "object()")


def _other(value: Any, draws: random.Random) -> Any:
    """A value of the same kind that is not equal, nor nearly."""
    match value:
        case bool():
            return not value
        case int() | float() | complex():
            return value + draws.randint(1, 9) * max(1, round(abs(value)) // 10)
        case str():
            return _other_text(value, draws)
        case bytes():
            return value + draws.choice(_LETTERS).encode()
        case list() | tuple() if value:
            place = draws.randrange(len(value))
            return type(value)([*value[:place], _other(value[place], draws), *value[place + 1 :]])
        case dict() if value:
            key = draws.choice(list(value))
            return {**value, key: _other(value[key], draws)}
        case list() | tuple():
            return type(value)([0])
        case set():
            return {*value, draws.randint(10**6, 10**7)}
        case dict():
            return {0: 0}
    return 0  # of None and of an ellipsis


def _other_text(text: str, draws: random.Random) -> str:
    """One of its letters is another one, not just another case of it."""
    places = [place for place, letter in enumerate(text) if letter.isalnum()]
    if not places:
        return text + draws.choice(_LETTERS)
    place = draws.choice(places)
    letter = draws.choice([each for each in _LETTERS if each != text[place].lower()])
    return text[:place] + letter + text[place + 1 :]


# text


def _text(source: str, node: ast.expr) -> str:
    return ast.get_source_segment(source, node) or ast.unparse(node)


def _apply(source: str, edits: Iterable[_Edit]) -> str:
    """The source with every edit in the place of its expression; all else is the same to the letter."""
    data = source.encode()
    starts = [0]
    for line in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    where: Callable[[int, int], int] = lambda line, column: starts[line - 1] + column  # noqa: E731
    for edit in sorted(edits, key=lambda each: (each.node.lineno, each.node.col_offset), reverse=True):
        node = edit.node
        assert node.end_lineno is not None  # of what was parsed
        assert node.end_col_offset is not None
        end = where(node.end_lineno, node.end_col_offset)
        data = data[: where(node.lineno, node.col_offset)] + edit.text.encode() + data[end:]
    return data.decode()
