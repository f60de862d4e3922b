from __future__ import annotations

import ast
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.subnets.coding.mutate import _Finder, apply_edits, find_edits, mutate

SOURCE = '''"""Ünïcode in front of everything."""


def f(a, b):
    # a comment that stays
    if a < b and not b == 3:
        return max(a, b)
    x = f"{a + b}"
    a += 1
    return [n for n in range(a, b) if n in (1, 2)] or True
'''


def texts(kind: str) -> list[str]:
    return [apply_edits(SOURCE, [edit]) for edit in find_edits(SOURCE) if edit.kind == kind]


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("compare", "    if a <= b and not b == 3:"),
        ("boolop", "    if a < b or not b == 3:"),
        ("constant", "    if a < b and not b == 4:"),
        ("negate", "    if a < b and b == 3:"),
        ("negate", "    if not (a < b and not b == 3):"),
        ("binop", "    a -= 1"),
        ("delete", "    pass"),
        ("swap", "        return max(b, a)"),
        ("call", "        return min(a, b)"),
        ("compare", "    return [n for n in range(a, b) if n not in (1, 2)] or True"),
    ],
)
def test_every_kind_of_edit_is_found(kind: str, line: str) -> None:
    assert any(line in text.split("\n") for text in texts(kind))


CROWDED = """import os; a = 1 + 2
class Outer(object):
    x = 1 + 2; y = 3 < 4
    class Inner: q = 1; r = 2 + q
    @property
    def left(self): return self.x if 1 < 2 else max(1, 2)
# out of line
    def right(self):
        return (self.x +
                self.y) and min(1, 2)
class Short: pass
if a < 1: b = '''one
two'''; c = 1 + 1
else:
    c = not a
(
  a + c
); d = a \\
  + 1"""


@pytest.mark.parametrize("text", [SOURCE, CROWDED, CROWDED.replace("\n", "\r\n"), "x = 1", ""])
def test_what_is_left_out_would_leave_no_program(text: str) -> None:
    """Only the part around an edit is read again; the whole would say the same."""

    def parses(source: str) -> bool:
        try:
            ast.parse(source)
        except SyntaxError:
            return False
        return True

    every = set(_Finder(text).walk(ast.parse(text)))
    assert set(find_edits(text, [(1, 100)])) == {edit for edit in every if parses(apply_edits(text, [edit]))}


def test_an_edit_keeps_the_rest_of_the_text() -> None:
    for edit in find_edits(SOURCE):
        before, after = SOURCE.split("\n"), apply_edits(SOURCE, [edit]).split("\n")
        assert sum(one != other for one, other in zip(before, after, strict=True)) == 1
        assert "# a comment that stays" in "\n".join(after)


def test_what_stands_in_a_format_string_is_left_alone() -> None:
    assert all('x = f"{a + b}"' in apply_edits(SOURCE, [edit]) or edit.kind == "delete" for edit in find_edits(SOURCE))


@given(st.integers(0, 2**32), st.integers(1, 3))
def test_the_same_seed_makes_the_same_mutant(seed: int, count: int) -> None:
    one, edits = mutate(SOURCE, random.Random(seed), count)
    other, _ = mutate(SOURCE, random.Random(seed), count)
    assert one == other != SOURCE
    assert 1 <= len(edits) <= count
    ast.parse(one)


def test_a_single_edit_is_undone_by_another_unless_something_was_deleted() -> None:
    """What makes inverse search a miner: for most mutants the original is one edit away."""
    edits = [edit for edit in find_edits(SOURCE) if edit.kind in {"compare", "boolop", "constant", "swap", "call"}]
    undone = 0
    for edit in edits:
        mutant = apply_edits(SOURCE, [edit])
        undone += SOURCE in {apply_edits(mutant, [back]) for back in find_edits(mutant)}
    assert undone == len(edits)


def test_edits_keep_to_the_lines_that_are_asked_for() -> None:
    assert {edit.line for edit in find_edits(SOURCE, [(6, 6)])} == {6}


def test_text_that_is_no_python_is_refused() -> None:
    with pytest.raises(SyntaxError):
        find_edits("def f(:")
