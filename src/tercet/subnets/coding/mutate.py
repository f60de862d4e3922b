"""Break a program in one small place, and list all such places. Knows Python's grammar, not what the program is for.

A mutation is an edit of the text at a syntax node, so comments and layout stay, and the result does not depend on the
version of Python that made it. Most operators undo each other: what breaks a program is also what a search tries to
mend one. A deleted statement has no way back.
"""

from __future__ import annotations

import ast
import bisect
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal, TypeAlias

__all__ = ["Edit", "Kind", "apply_edits", "find_edits", "mutate"]

Kind: TypeAlias = Literal["compare", "binop", "boolop", "constant", "negate", "delete", "swap", "call"]

_COMPARE: dict[type[ast.cmpop], tuple[str, tuple[str, ...]]] = {
    ast.Lt: ("<", ("<=", ">", ">=")),
    ast.LtE: ("<=", ("<", ">=", ">")),
    ast.Gt: (">", (">=", "<", "<=")),
    ast.GtE: (">=", (">", "<=", "<")),
    ast.Eq: ("==", ("!=",)),
    ast.NotEq: ("!=", ("==",)),
    ast.In: ("in", ("not in",)),
    ast.NotIn: ("not in", ("in",)),
    ast.Is: ("is", ("is not",)),
    ast.IsNot: ("is not", ("is",)),
}
_BINARY: dict[type[ast.operator], tuple[str, tuple[str, ...]]] = {
    ast.Add: ("+", ("-",)),
    ast.Sub: ("-", ("+",)),
    ast.Mult: ("*", ("+", "//")),
    ast.Div: ("/", ("*", "//")),
    ast.FloorDiv: ("//", ("/", "*")),
    ast.Mod: ("%", ("//", "*")),
    ast.Pow: ("**", ("*",)),
    ast.BitAnd: ("&", ("|",)),
    ast.BitOr: ("|", ("&",)),
}
_PAIRS = (
    ("min", "max"),
    ("any", "all"),
    ("upper", "lower"),
    ("lstrip", "rstrip"),
    ("startswith", "endswith"),
    ("isupper", "islower"),
    ("floor", "ceil"),
    ("find", "rfind"),
    ("index", "rindex"),
    ("append", "remove"),
    ("insert", "pop"),
)
_OTHERS = {one: other for pair in _PAIRS for one, other in (pair, pair[::-1])}
_LARGEST = 10**6
"""A constant above it is a size or a mask rather than a step or a bound."""


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """One replacement in a program's text."""

    start: int
    """Offset of the first byte of the UTF-8 text that is replaced."""
    end: int
    new: str
    line: int
    """First line of the edit, from 1."""
    kind: Kind


def find_edits(source: str, lines: Sequence[tuple[int, int]] | None = None) -> list[Edit]:
    """Every small edit of the program that leaves it a program, in the order of the text.

    Args:
        source: a module's text.
        lines: (first, last) ranges that an edit must begin in; None takes the bodies of all functions.

    Raises:
        SyntaxError: it is no Python.

    """
    tree = ast.parse(source)
    ranges = _bodies(tree) if lines is None else lines
    found = {edit for edit in _Finder(source).walk(tree) if any(a <= edit.line <= b for a, b in ranges)}
    blocks = _Blocks(source, tree)
    return sorted(edit for edit in found if blocks.parse_with(edit))


def apply_edits(source: str, edits: Sequence[Edit]) -> str:
    """The program with non-overlapping edits made."""
    raw = source.encode()
    for edit in sorted(edits, reverse=True):
        raw = raw[: edit.start] + edit.new.encode() + raw[edit.end :]
    return raw.decode()


def mutate(
    source: str, draws: random.Random, count: int = 1, lines: Sequence[tuple[int, int]] | None = None
) -> tuple[str, list[Edit]]:
    """Make `count` edits that do not touch each other, drawn evenly over their kinds first; fewer when there are fewer.

    Args:
        source: a module's text.
        draws: where the randomness comes from: the same state, the same mutant.
        count: edits, 1 or more.
        lines: see `find_edits`.

    """
    open_edits = find_edits(source, lines)
    chosen: list[Edit] = []
    while open_edits and len(chosen) < count:
        kinds = sorted({edit.kind for edit in open_edits})
        kind = draws.choice(kinds)
        edit = draws.choice([edit for edit in open_edits if edit.kind == kind])
        chosen.append(edit)
        open_edits = [other for other in open_edits if other.end <= edit.start or other.start >= edit.end]
    mutant = apply_edits(source, chosen)
    return (mutant, sorted(chosen)) if _parses(mutant) else (apply_edits(source, chosen[:1]), chosen[:1])


def _bodies(tree: ast.AST) -> list[tuple[int, int]]:
    """Line ranges of the bodies of all functions."""
    functions = (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return [(node.body[0].lineno, node.end_lineno or node.lineno) for node in functions]


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    return True


class _Blocks:
    """A module's text, cut between the statements of the module and of its classes.

    An edit lies in one block and leaves its end where it was, so the module parses if the block does: a module of two
    thousand lines need not be read again for each of its thousand edits.
    """

    def __init__(self, source: str, tree: ast.Module) -> None:
        self._raw = source.encode()
        starts = _line_starts(self._raw)
        firsts = {starts[line - 1]: indented for line, indented in self._cut(tree.body)}
        self._heads = [b"if 1:\n" if indented else b"" for indented in (False, *firsts.values())]
        self._cuts = [0, *firsts, len(self._raw)]

    def _cut(self, body: list[ast.stmt]) -> Iterator[tuple[int, bool]]:
        """(line, whether it is indented) of statements that begin a line; the first in a class stays with its head."""
        end = 0
        for number, node in enumerate(body):
            line = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", ()))])
            if line > end and (number or not node.col_offset):
                yield line, node.col_offset > 0
            if isinstance(node, ast.ClassDef):
                yield from self._cut(node.body)
            end = node.end_lineno or node.lineno

    def parse_with(self, edit: Edit) -> bool:
        """Whether the module is one still."""
        at = bisect.bisect_right(self._cuts, edit.start) - 1
        before, after = self._raw[self._cuts[at] : edit.start], self._raw[edit.end : self._cuts[at + 1]]
        return _parses((self._heads[at] + before + edit.new.encode() + after).decode())


def _line_starts(raw: bytes) -> list[int]:
    """Offset of each line, and of the end."""
    return [0, *accumulate(len(line) for line in raw.splitlines(keepends=True))]


class _Finder:
    """Yields the edits of a tree; offsets are bytes, as the tree's columns are."""

    def __init__(self, source: str) -> None:
        self._raw = source.encode()
        self._starts = _line_starts(self._raw)

    def walk(self, node: ast.AST) -> Iterator[Edit]:
        if isinstance(node, ast.JoinedStr):  # its parts have no positions of their own before Python 3.12
            return
        yield from self._here(node)
        for child in ast.iter_child_nodes(node):
            yield from self.walk(child)

    def _here(self, node: ast.AST) -> Iterator[Edit]:
        match node:
            case ast.Compare():
                sides = [node.left, *node.comparators]
                for (left, right), operator in zip(pairwise(sides), node.ops, strict=True):
                    yield from self._between(left, right, _COMPARE.get(type(operator)), "compare")
            case ast.BinOp():
                yield from self._between(node.left, node.right, _BINARY.get(type(node.op)), "binop")
            case ast.AugAssign():
                word, others = _BINARY.get(type(node.op), ("", ()))
                table = (f"{word}=", tuple(f"{other}=" for other in others))
                yield from self._between(node.target, node.value, table, "binop")
                yield from self._deleted(node)
            case ast.BoolOp():
                word, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
                for left, right in pairwise(node.values):
                    yield from self._between(left, right, (word, (other,)), "boolop")
            case ast.Constant():
                yield from self._constant(node)
            case ast.If() | ast.While() | ast.IfExp():
                yield self._replaced(node.test, f"not ({self._text(node.test)})", "negate")
            case ast.UnaryOp(op=ast.Not()):
                yield self._replaced(node, self._text(node.operand), "negate")
            case ast.Call():
                yield from self._call(node)
            case ast.Assign() | ast.Break() | ast.Continue() | ast.Expr(value=ast.Call()):
                yield from self._deleted(node)

    def _between(
        self, left: ast.expr, right: ast.expr, table: tuple[str, tuple[str, ...]] | None, kind: Kind
    ) -> Iterator[Edit]:
        """The operator between two operands, when nothing but brackets and spaces stands beside it."""
        start, end = self._end(left), self._start(right)
        gap = self._raw[start:end]
        word, others = table or ("", ())
        if not word or gap.strip(b"() \t\r\n\\") != word.encode():
            return
        at = start + gap.index(word.encode())
        for other in others:
            yield Edit(at, at + len(word), other, left.end_lineno or left.lineno, kind)

    def _constant(self, node: ast.Constant) -> Iterator[Edit]:
        value = node.value
        if isinstance(value, bool):
            yield self._replaced(node, str(not value), "constant")
        elif isinstance(value, int) and 0 <= value <= _LARGEST:
            yield self._replaced(node, str(value + 1), "constant")
            if value:
                yield self._replaced(node, str(value - 1), "constant")

    def _call(self, node: ast.Call) -> Iterator[Edit]:
        match node.func:
            case ast.Name(id=name) if name in _OTHERS:
                yield self._replaced(node.func, _OTHERS[name], "call")
            case ast.Attribute(attr=name) if name in _OTHERS:
                end = self._end(node.func)
                yield Edit(end - len(name), end, _OTHERS[name], node.func.end_lineno or node.lineno, "call")
        if len(node.args) > 1 and not any(isinstance(arg, ast.Starred) for arg in node.args[:2]):
            first, second = node.args[:2]
            between = self._raw[self._end(first) : self._start(second)].decode()
            text = self._text(second) + between + self._text(first)
            if self._text(first) != self._text(second):
                yield Edit(self._start(first), self._end(second), text, first.lineno, "swap")

    def _deleted(self, node: ast.stmt) -> Iterator[Edit]:
        if node.lineno == node.end_lineno:
            yield self._replaced(node, "pass", "delete")

    def _replaced(self, node: ast.expr | ast.stmt, new: str, kind: Kind) -> Edit:
        return Edit(self._start(node), self._end(node), new, node.lineno, kind)

    def _text(self, node: ast.expr) -> str:
        return self._raw[self._start(node) : self._end(node)].decode()

    def _start(self, node: ast.expr | ast.stmt) -> int:
        return self._starts[node.lineno - 1] + node.col_offset

    def _end(self, node: ast.expr | ast.stmt) -> int:
        return self._starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
