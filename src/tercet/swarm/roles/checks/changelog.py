"""Check a changelog's new entry: `changelog.py CHANGELOG.md`, run in the folder, with the original files in /original.

The old lines are all there, the new ones are entries of the first section, and each changed function is named.
"""

from __future__ import annotations

import ast
import difflib
import re
import sys
from collections.abc import Mapping
from pathlib import Path

WIDTH = 100
_SECTION = re.compile(r"##\s+\[?unreleased\]?.*", re.IGNORECASE)
_HEADING = re.compile(r"###\s+(Added|Changed|Deprecated|Removed|Fixed|Security)")


def changed_functions(before: Mapping[str, str], after: Mapping[str, str]) -> list[tuple[str, str]]:
    """(path, name) of functions whose code differs; a module's own name where none does. Tests do not count."""
    found: list[tuple[str, str]] = []
    for path in sorted(after):
        if before.get(path) == after[path] or not path.endswith(".py") or _is_test(path):
            continue
        old, new = functions(before.get(path, "")), functions(after[path])
        names = [name for name in new if old.get(name) != new[name]]
        inner = [name for name in names if not any(other.startswith(f"{name}.") for other in names)]
        found += [(path, name) for name in inner or [Path(path).stem]]
    return found


def functions(source: str) -> dict[str, str]:
    """Qualified name to code of every function, without its layout."""
    return {name: ast.dump(node) for name, node in _nodes(source).items()}


def function_text(source: str, name: str) -> str:
    """A function as it stands in the source, by its qualified name; empty where there is none."""
    node = _nodes(source).get(name)
    return "" if node is None else ast.get_source_segment(source, node, padded=True) or ""


def _nodes(source: str) -> dict[str, ast.AST]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return {}
    found: dict[str, ast.AST] = {}

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            name = f"{prefix}{getattr(child, 'name', '')}"
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                found[name] = child
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                visit(child, f"{name}.")

    visit(tree, "")
    return found


def faults(old: str, new: str, names: list[str]) -> list[str]:
    """What is wrong with the new changelog; `names` have to be mentioned."""
    added, found = _added(old, new)
    entries = [line for line in added if line.startswith("- ")]
    if not entries:
        found.append("there is no new entry: a line that begins with '- '")
    for line in added:
        plain = not line.strip() or line.startswith("- ") or _SECTION.fullmatch(line) or _HEADING.fullmatch(line)
        if not plain and line != "# Changelog":
            found.append(f"{line[:60]!r} is neither an entry nor a heading")
    for entry in entries:
        if len(entry) > WIDTH:
            found.append(f"an entry is longer than {WIDTH} characters: {entry[:60]!r}")
        if not entry.endswith("."):
            found.append(f"an entry does not end with a full stop: {entry[-40:]!r}")
        if not _in_first_section(new, entry):
            found.append(f"{entry[:60]!r} is not in the section 'Unreleased', the first one")
    missing = [name for name in names if not any(f"`{name}`" in entry for entry in entries)]
    return found + [f"no entry names `{name}`, which was changed" for name in missing]


def _added(old: str, new: str) -> tuple[list[str], list[str]]:
    before, after, added, found = old.splitlines(), new.splitlines(), list[str](), list[str]()
    for kind, start, end, first, last in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind in {"delete", "replace"} and any(line.strip() for line in before[start:end]):
            found.append(f"an old line is gone: {next(line for line in before[start:end] if line.strip())[:60]!r}")
        if kind in {"insert", "replace"}:
            added += after[first:last]
    return added, found


def _in_first_section(text: str, entry: str) -> bool:
    sections = [line for line in text[: text.index(entry)].splitlines() if line.startswith("## ")]
    return len(sections) == 1 and _SECTION.fullmatch(sections[0]) is not None


def _is_test(path: str) -> bool:
    name = Path(path).name
    return name.startswith("test_") or name.endswith("_test.py") or "tests" in Path(path).parts or name == "conftest.py"


def python_files(folder: Path) -> dict[str, str]:
    """The Python files below a folder, by path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes().decode(errors="replace")
        for path in folder.rglob("*.py")
        if path.is_file()
    }


def main(path: str, original: Path = Path("/original"), here: Path = Path()) -> int:
    """0 when the entry is good."""
    names = [name.rpartition(".")[2] for _, name in changed_functions(python_files(original), python_files(here))]
    old, new = original / path, here / path
    if not new.is_file():
        print(f"there is no {path}")  # noqa: T201 - a program's output
        return 1
    found = faults(old.read_text() if old.is_file() else "", new.read_text(), names)
    print("\n".join(found) or f"good: names {', '.join(names)}")  # noqa: T201 - a program's output
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
