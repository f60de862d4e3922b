"""Which names are a function's own variables, as Python's scopes have it; where in doubt, none is.

A name is a function's own when it is a parameter, or assigned in its body and neither imported there nor declared
global or nonlocal. What is inside sees it, but for the body of a class, which may look a name up in the module first.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

__all__ = ["Names", "children"]

Names: TypeAlias = frozenset[str]
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def children(node: ast.AST, own: Names) -> Iterator[tuple[ast.AST, Names]]:
    """The parts of a node, each with the variables that it is among.

    Args:
        node: of a module's tree.
        own: the variables that `node` itself is among.

    """
    if isinstance(node, _COMPREHENSIONS):
        yield from _in_comprehension(node, own)
        return
    inside, among = list[ast.AST](), own
    if isinstance(node, _FUNCTIONS):
        inside = [node.body] if isinstance(node, ast.Lambda) else [*node.body]
        among = (own | _parameters(node.args) | _stored(inside)) - _taken(inside)
    elif isinstance(node, ast.ClassDef):
        inside, among = [*node.body], frozenset()
    ids = {id(part) for part in inside}
    yield from ((part, among if id(part) in ids else own) for part in ast.iter_child_nodes(node))


def _in_comprehension(
    node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp, own: Names
) -> Iterator[tuple[ast.AST, Names]]:
    """What it goes over first is looked up outside."""
    first = node.generators[0]
    among = own | _stored([part.target for part in node.generators])
    yield first.iter, own
    for part in (*ast.iter_child_nodes(node), *ast.iter_child_nodes(first)):
        if part is not first and part is not first.iter:
            yield part, among


def _parameters(spec: ast.arguments) -> Names:
    plain = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs]
    return frozenset(part.arg for part in (*plain, spec.vararg, spec.kwarg) if part is not None)


def _stored(body: Sequence[ast.AST]) -> Names:
    """What is assigned, by whatever statement. An annotation alone looks the same and, in brackets, binds nothing."""
    bare = [part for part in _scope(body) if isinstance(part, ast.AnnAssign) and part.value is None]
    names = {id(part.target) for part in bare}
    return frozenset(
        part.id
        for part in _scope(body)
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store) and id(part) not in names
    )


def _taken(body: Sequence[ast.AST]) -> Names:
    """What comes from outside, though it may be assigned too: also by a function within, which can import it from there."""
    found = {name for part in body for node in ast.walk(part) if isinstance(node, ast.Nonlocal) for name in node.names}
    for part in _scope(body):
        if isinstance(part, ast.Global):
            found.update(part.names)
        elif isinstance(part, (ast.Import, ast.ImportFrom)):
            found.update((name.asname or name.name).split(".")[0] for name in part.names)
    return frozenset(found)


def _scope(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """The nodes of one scope, without those of the scopes in it."""
    for node in body:
        yield node
        if not isinstance(node, (*_FUNCTIONS, *_COMPREHENSIONS, ast.ClassDef)):
            yield from _scope(ast.iter_child_nodes(node))
