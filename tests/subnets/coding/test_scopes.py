"""Which names are a function's own, beside what Python's compiler makes of the same programs."""

from __future__ import annotations

import ast
import dis
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import pytest

from tercet.subnets.coding.scopes import Names, children

LIBRARY = Path(sysconfig.get_path("stdlib"))
NAMES = ("argparse", "ast", "dataclasses", "enum", "functools", "inspect", "subprocess", "symtable", "turtle", "typing")
HARD = """
import os, re
def f(a, *os, k=[os for os in re.split(a, b)], **re):
    return [os.x for os in os for re in re] + [re for y in os if (code := y)] + [code]
class C:
    os = os.path
    def m(self): return os
    x = [os for re in re.findall(1) if os]
    y = lambda os=os: (os, re)
def g():
    def h():
        global os
        os = re
        return os
    os = re
    for re.x in os: del os
    return {os: re for os, re in os.items() if (lambda re: re(os))(re)}
def j(os):
    class D:
        os = os
        def m(self): return os
    return D
async def i(os):
    async with os as re, os.y as (code, [*test]):
        import test, code.x
        return re, code, test, await os
"""


def own_names(node: ast.AST, own: Names) -> Iterator[ast.Name]:
    """The names that are read and said to be a function's own."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in own:
        yield node
    for child, among in children(node, own):
        yield from own_names(child, among)


def looked_up_outside(code: CodeType) -> Iterator[tuple[int | None, int | None, str]]:
    """(line, column, name) of each read that the compiler has look into the module."""
    for step in dis.get_instructions(code):
        if step.opname in {"LOAD_GLOBAL", "LOAD_NAME"} and step.positions is not None:
            yield step.positions.lineno, step.positions.col_offset, str(step.argval)
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from looked_up_outside(part)


@pytest.mark.parametrize(
    "source", [HARD, *((LIBRARY / f"{name}.py").read_text() for name in NAMES)], ids=("hard", *NAMES)
)
def test_no_name_that_the_compiler_looks_up_in_the_module_is_a_functions_own(source: str) -> None:
    outside = set(looked_up_outside(compile(source, "module.py", "exec", dont_inherit=True)))
    own = {(name.lineno, name.col_offset, name.id) for name in own_names(ast.parse(source), frozenset())}
    assert len(own) > 10
    assert len(outside) > 10
    assert not own & outside
