"""What may a patch say in a process that also holds the tests? A list of ways to cheat a test runner, and none of them new.

Tests of a library run in one process with its code, which could end that process, replace the runner's parts, or hand
out values that equal everything. A patch is refused when it *adds* any of what such tricks need: modules beyond the
pure ones, the program's own frames and namespaces, attributes by computed names, special methods. What the program
did before, it may do still. A function's own variable may be called as a module is: it gives nothing that another name
would not. This is no sandbox: it stands in front of one, and of tests that must fail.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tercet.subnets.coding.scopes import Names, children

__all__ = ["find_tricks"]

_PURE = frozenset(
    {
        "__future__", "bisect", "collections", "copy", "datetime", "decimal", "difflib", "fractions", "functools", "hashlib",
        "heapq", "html", "itertools", "json", "math", "random", "re", "statistics", "string", "textwrap", "typing",
        "unicodedata",
    }
)  # fmt: skip
"""Modules that a patch may begin to import."""
_IMPURE = frozenset(sys.stdlib_module_names) - _PURE | {"pytest", "_pytest", "pluggy", "tercet_outcomes"}
_WORDS = frozenset(
    {
        "eval", "exec", "compile", "open", "globals", "locals", "vars", "getattr", "setattr", "delattr", "hasattr", "input",
        "breakpoint", "exit", "quit", "help", "memoryview", "object", "super", "classmethod", "staticmethod", "property",
        "type", "SystemExit", "KeyboardInterrupt", "GeneratorExit", "BaseException", "AssertionError", "attrgetter",
        "methodcaller", "update_wrapper", "wraps", "mro", "make_dataclass", "new_class", "get_type_hints", "ForwardRef",
        "NamedTuple", "namedtuple", "TypedDict", "Formatter", "get_field", "gi_frame", "gi_code", "cr_frame", "cr_code",
        "ag_frame", "ag_code", "tb_frame", "tb_next", "f_back", "f_globals", "f_locals", "f_builtins", "f_code", "f_trace",
    }
)  # fmt: skip
"""Names of functions that reach what one has no name for, and of attributes that lead there."""
_ENDINGS = ("Meta", "Type")
"""Of things that make classes when they are called."""
_CHAIN = (ast.Attribute, ast.Call, ast.Subscript, ast.Starred, ast.keyword)


def find_tricks(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """What a patch adds that a fix does not need, each in a few words; empty when there is nothing.

    Args:
        before: files by path; those that are no Python are not looked at.
        after: the same after the patch.

    """
    found: set[str] = set()
    for path in sorted(after):
        if path.endswith(".py") and after[path] != before.get(path):
            new = _tricks(after[path])
            # What nobody can read is refused, also where it could not be read before.
            added = new if _UNREADABLE in new else new - _tricks(before.get(path, ""))
            found |= {f"{path} {trick.what}" for trick in added}
    return sorted(found)


@dataclass(frozen=True, slots=True)
class _Trick:
    what: str
    where: str
    """The function around it, and the whole expression: the same words elsewhere, or of something else, are new."""


_UNREADABLE = _Trick("is no Python, or nested too deep to be read", "")


def _tricks(source: str) -> Counter[_Trick]:
    try:
        tree = ast.parse(source)
        return Counter(_walk(tree, "", None, frozenset()))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Counter([_UNREADABLE])


def _walk(node: ast.AST, function: str, root: ast.AST | None, own: Names) -> Iterator[_Trick]:
    """Down a tree, with the name of the function, the outermost expression and the variables that it is among."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        inside = f"{function}.{node.name}"
    else:
        inside = function
    top = (root or node) if isinstance(node, _CHAIN) or root is not None else None
    whats = list(_look(node, own))
    if whats:
        leaf = isinstance(node, ast.expr | ast.alias | ast.arg | ast.Import | ast.ImportFrom)
        where = f"{function}:{ast.dump(top or node) if leaf else type(node).__name__}"
        for what in whats:
            yield _Trick(what, where)
    for child, among in children(node, own):
        keeps = isinstance(child, (*_CHAIN, ast.Name, ast.Constant)) and isinstance(node, _CHAIN)
        # Only names of modules matter; all others would be copied with each scope.
        yield from _walk(child, inside, top if keeps else None, own if among is own else among & _IMPURE)


def _look(node: ast.AST, own: Names) -> Iterator[str]:
    match node:
        case ast.Import(names=modules):
            for each in modules:
                if each.name.split(".")[0] in _IMPURE:
                    yield f"imports {each.name}"
        case ast.ImportFrom(module=module, names=parts, level=level):
            if not level and (module or "").split(".")[0] in _IMPURE:
                yield f"imports {module}"
            for part in parts:
                yield from _word(part.name, "imports")
        case ast.Name(id=name):
            yield from _word(name, "uses", module=name not in own)
        case ast.Attribute(attr=name, value=value):
            yield from _word(name, "uses the attribute")
            if name.startswith("_") and not name.startswith("__") and not _is_self(value):
                yield f"uses the attribute {name}"
            if isinstance(node.ctx, (ast.Store, ast.Del)) and not _is_self(value):
                yield f"sets the attribute {name}"
        case ast.Constant(value=str(text)):
            if "__" in text:
                yield "holds a text with two underscores"
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield from _word(name, "defines")
        case ast.ClassDef():
            yield "defines a class"
        case ast.Global() | ast.Nonlocal():
            yield "changes names outside a function"
        case ast.ExceptHandler(type=None) | ast.TryStar():
            yield "catches everything"
        case ast.arg(arg=name) | ast.keyword(arg=str(name)):
            yield from _word(name, "names", module=False)
        case ast.MatchClass(kwd_attrs=names):
            for name in names:
                yield from _word(name, "uses the attribute")


def _word(name: str, verb: str, *, module: bool = True) -> Iterator[str]:
    """`module`: the name may be a module's."""
    leads_out = module and name.lstrip("_") in _IMPURE
    if leads_out or name in _WORDS or name.endswith(_ENDINGS) or name.startswith("__"):
        yield f"{verb} {name}"


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in {"self", "cls"}
