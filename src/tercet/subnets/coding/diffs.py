"""Read a unified diff from a stranger, and apply it to a set of files. Strict: what is not plainly right is refused.

Files are text by path. A diff may change and add them; it may not leave their folder, make links, change modes, touch
tests or what configures them, or put something in the way of the standard library.
"""

from __future__ import annotations

import configparser
import difflib
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from tercet.errors import SubnetError

__all__ = [
    "MAX_DIFF_BYTES",
    "DiffError",
    "FilePatch",
    "apply_diff",
    "build_diff",
    "is_protected",
    "is_test",
    "parse_diff",
    "validate_path",
]

MAX_DIFF_BYTES = 256 * 1024
_MAX_FILES = 32
_MAX_PATH = 200
_MAX_RESULT_BYTES = 2 << 20

_HUNK = re.compile(r"@@ -(\d{1,7})(?:,(\d{1,7}))? \+(\d{1,7})(?:,(\d{1,7}))? @@(?: .*)?")
_INDEX = re.compile(r"index [0-9a-f]{4,64}\.\.[0-9a-f]{4,64}(?: 100644| 100755)?")
_REFUSED_HEADERS = (
    ("old mode", "changes a file's mode"),
    ("new mode", "changes a file's mode"),
    ("rename ", "renames a file: send it as a deletion and an addition"),
    ("copy ", "copies a file: send it as an addition"),
    ("similarity index", "renames or copies a file: make it with git diff --no-renames"),
    ("dissimilarity index", "rewrites a file in git's short form: make it with git diff --no-renames"),
    ("GIT binary patch", "is binary"),
    ("Binary files", "is binary"),
)
_TEST_FOLDERS = frozenset({"test", "tests", "testing"})
_PROTECTED = frozenset({"conftest.py", "pytest.ini", ".pytest.ini", "sitecustomize.py", "usercustomize.py"})
_CONFIGURES = {"pyproject.toml": "toml", "setup.cfg": "tool:pytest", "tox.ini": "pytest"}
_IN_THE_WAY = frozenset(sys.stdlib_module_names) | {
    "pytest", "_pytest", "pluggy", "iniconfig", "packaging", "py", "pygments", "hypothesis", "tercet_outcomes",
}  # fmt: skip


class DiffError(SubnetError):
    """A diff that cannot be applied; the message says which rule it breaks."""


@dataclass(frozen=True, slots=True)
class Hunk:
    """One place of one file."""

    start: int
    """Line in the old file, from 1; 0 in an empty one."""
    old: tuple[str, ...]
    """Lines with their ends, as they must stand there."""
    new: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FilePatch:
    """What a diff does to one file."""

    path: str
    hunks: tuple[Hunk, ...]
    adds: bool = False
    deletes: bool = False


def validate_path(path: str) -> None:
    """Raise `DiffError` unless `path` names a file inside the folder, on any system."""
    parts = path.split("/")
    inside = path and not path.startswith("/") and all(part not in {"", ".", ".."} for part in parts)
    plain = path.isprintable() and not set(path) & set('\\:"<>|?*') and len(path) <= _MAX_PATH
    if not inside or not plain:
        raise DiffError(f"the path {path[:80]!r} does not name a file inside the folder")


def is_test(path: str) -> bool:
    """Whether a file is a test, by pytest's customs."""
    pure = PurePosixPath(path)
    named = pure.name.startswith("test_") or pure.stem.endswith("_test") or pure.stem == "tests"
    return named or bool(_TEST_FOLDERS & set(pure.parts[:-1]))


def is_protected(path: str) -> bool:
    """Whether nobody but the owner may touch a file: tests, their settings, and what Python runs by itself."""
    pure = PurePosixPath(path)
    hidden = any(part.startswith(".") or part == "__pycache__" for part in pure.parts)
    return is_test(path) or hidden or pure.name in _PROTECTED or pure.suffix in {".pth", ".pyc", ".pyd", ".so"}


def parse_diff(text: str) -> list[FilePatch]:
    """Read a diff.

    Raises:
        DiffError: it is no unified diff, too large, or does what none may.

    """
    if not text.strip():
        raise DiffError("the diff is empty")
    if len(text) > MAX_DIFF_BYTES or len(text.encode(errors="replace")) > MAX_DIFF_BYTES:
        raise DiffError(f"the diff is longer than {MAX_DIFF_BYTES} bytes")
    if "\0" in text:
        raise DiffError("the diff is not text")
    patches = list(_Reader(_split(text)).patches())
    paths = [patch.path for patch in patches]
    if len(paths) > _MAX_FILES or len(set(paths)) != len(paths):
        raise DiffError(f"a diff changes at most {_MAX_FILES} files, each of them once")
    return patches


def apply_diff(files: Mapping[str, str], text: str, *, protected: Iterable[str] = ()) -> dict[str, str]:
    """The files after a stranger's diff.

    Args:
        files: text by path.
        text: the diff.
        protected: paths that it may not touch, beside those that `is_protected` names.

    Raises:
        DiffError: it does not apply, or does what it may not.

    """
    after, forbidden = dict(files), set(protected)
    for patch in parse_diff(text):
        _validate_target(patch, files, forbidden)
        if patch.deletes:
            after.pop(patch.path)
            continue
        after[patch.path] = _patched(files.get(patch.path, ""), patch)
        _validate_settings(patch.path, files.get(patch.path, ""), after[patch.path])
    if sum(len(content) for content in after.values()) > _MAX_RESULT_BYTES:
        raise DiffError(f"the files would be longer than {_MAX_RESULT_BYTES} characters together")
    if after == files:
        raise DiffError("the diff changes nothing")
    return after


def build_diff(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """The diff from one set of files to another; empty when they are equal."""
    return "".join(
        line
        for path in sorted({*before, *after})
        if before.get(path) != after.get(path)
        for line in _file_diff(path, before.get(path), after.get(path))
    )


def _file_diff(path: str, before: str | None, after: str | None) -> Iterator[str]:
    old_name = "/dev/null" if before is None else f"a/{path}"
    new_name = "/dev/null" if after is None else f"b/{path}"
    yield f"diff --git a/{path} b/{path}\n"
    if before is None:
        yield "new file mode 100644\n"
    if after is None:
        yield "deleted file mode 100644\n"
    for line in difflib.unified_diff(_split(before or ""), _split(after or ""), old_name, new_name):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _split(text: str) -> list[str]:
    """Lines with their ends. Only a line feed ends one: other separators are characters to a diff."""
    lines = text.split("\n")
    return [f"{line}\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


class _Reader:
    """A diff, line by line."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines, self._at = lines, 0

    def patches(self) -> Iterator[FilePatch]:
        while self._at < len(self._lines):
            self._skip_headers()
            if self._at < len(self._lines):
                yield self._file()

    def _head(self) -> str:
        """The line that is next, without its end; headers may come with any."""
        return self._lines[self._at].rstrip("\r\n") if self._at < len(self._lines) else ""

    def _skip_headers(self) -> None:
        """Git's lines before a file's own two."""
        while self._at < len(self._lines) and not self._head().startswith("--- "):
            head = self._head()
            for start, why in _REFUSED_HEADERS:
                if head.startswith(start):
                    raise DiffError(f"line {self._at + 1} of the diff {why}")
            plain = head.startswith("diff --git ") or _INDEX.fullmatch(head) or not head.strip()
            if head.startswith(("new file mode", "deleted file mode")):
                if head.split()[-1] not in {"100644", "100755"} or (head.startswith("new") and head.endswith("755")):
                    raise DiffError(f"line {self._at + 1} of the diff makes something that is no plain file")
            elif not plain:
                raise DiffError(f"line {self._at + 1} of the diff is no header: {head[:60]!r}")
            self._at += 1

    def _file(self) -> FilePatch:
        old = _strip_name(self._head()[4:], "a/")
        self._at += 1
        if not self._head().startswith("+++ "):
            raise DiffError(f"line {self._at + 1} of the diff should begin with '+++ '")
        new = _strip_name(self._head()[4:], "b/")
        self._at += 1
        path = old if new is None else new
        if path is None or (old is not None and new is not None and old != new):
            raise DiffError("a diff may not rename a file")
        validate_path(path)
        hunks = []
        while self._head().startswith("@@"):
            hunks.append(self._hunk())
        if not hunks:
            raise DiffError(f"the diff says nothing of what changes in {path!r}")
        return FilePatch(path, tuple(hunks), adds=old is None, deletes=new is None)

    def _hunk(self) -> Hunk:
        found = _HUNK.fullmatch(self._head())
        if found is None:
            raise DiffError(f"line {self._at + 1} of the diff is no hunk: {self._head()[:60]!r}")
        self._at += 1
        start = int(found[1])
        left, right = (1 if group is None else int(group) for group in (found[2], found[4]))
        old: list[str] = []
        new: list[str] = []
        while len(old) < left or len(new) < right:
            self._line(old, new)
        if len(old) != left or len(new) != right:
            raise DiffError(f"the hunk that ends at line {self._at} of the diff has more lines than it says")
        self._unended(old, new)
        return Hunk(start, tuple(old), tuple(new))

    def _line(self, old: list[str], new: list[str]) -> None:
        if self._at >= len(self._lines):
            raise DiffError("the diff ends inside a hunk")
        line = self._lines[self._at]
        self._at += 1
        mark, text = line[:1], line[1:]
        if line in {"\n", "\r\n"}:  # editors strip the space of an empty context line
            mark, text = " ", line
        if mark not in {" ", "+", "-"}:
            raise DiffError(f"line {self._at} of the diff should begin with ' ', '+' or '-'")
        if not text.endswith("\n"):
            raise DiffError("the diff ends inside a line")
        sides = {" ": (old, new), "-": (old,), "+": (new,)}[mark]
        for side in sides:
            side.append(text)
        if self._head().startswith("\\"):
            self._at += 1
            for side in sides:
                side[-1] = side[-1][:-1]

    def _unended(self, *sides: list[str]) -> None:
        """Only the last line of a side may lack its end."""
        if any(not line.endswith("\n") for side in sides for line in side[:-1]):
            raise DiffError(f"the hunk that ends at line {self._at} of the diff goes on after the end of the file")


def _strip_name(name: str, prefix: str) -> str | None:
    name = name.split("\t", maxsplit=1)[0]
    if name == "/dev/null":
        return None
    return name.removeprefix(prefix)


def _validate_target(patch: FilePatch, files: Mapping[str, str], forbidden: set[str]) -> None:
    path = patch.path
    if path in forbidden or is_protected(path):
        raise DiffError(f"{path!r} is a test, or decides which tests run and how: leave it alone")
    if patch.adds == (path in files):
        raise DiffError(f"{path!r} is there already" if patch.adds else f"there is no file {path!r}")
    if patch.adds:
        top = path.split("/")[0].removesuffix(".py")
        beside = {other.split("/")[0] for other in files}
        if top in _IN_THE_WAY and path.split("/")[0] not in beside:
            raise DiffError(f"{path!r} would stand in the way of the module {top!r}")
        if any(other.startswith(f"{path}/") or path.startswith(f"{other}/") for other in files):
            raise DiffError(f"{path!r} is a file and a folder at once")
    if patch.deletes and len(patch.hunks) != 1:
        raise DiffError(f"the deletion of {path!r} does not show the whole file")
    if patch.deletes:
        _patched(files[path], patch)


def _patched(content: str, patch: FilePatch) -> str:
    lines, result, done = _split(content), list[str](), 0
    for hunk in patch.hunks:
        at = hunk.start - 1 if hunk.old else hunk.start
        if at < done or tuple(lines[at : at + len(hunk.old)]) != hunk.old:
            raise DiffError(f"the diff does not apply to {patch.path!r} at line {hunk.start}: other lines stand there")
        result += lines[done:at]
        result += hunk.new
        done = at + len(hunk.old)
    result += lines[done:]
    if any(not line.endswith("\n") for line in result[:-1]):
        raise DiffError(f"the diff glues lines of {patch.path!r} together")
    if patch.deletes and result:
        raise DiffError(f"the deletion of {patch.path!r} does not show the whole file")
    return "".join(result)


def _validate_settings(path: str, before: str, after: str) -> None:
    """A project's own settings may change, what they say to the test runner may not."""
    form = _CONFIGURES.get(PurePosixPath(path).name)
    if form is None:
        return
    try:
        same = _pytest_part(form, before) == _pytest_part(form, after)
    except (tomllib.TOMLDecodeError, configparser.Error, UnicodeDecodeError):
        same = False
    if not same:
        raise DiffError(f"the diff changes what {path!r} says to the test runner")


def _pytest_part(form: str, text: str) -> Any:
    if form == "toml":
        tool = tomllib.loads(text).get("tool", {})
        return tool.get("pytest") if isinstance(tool, dict) else tool
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    return {name: dict(parser[name]) for name in ("pytest", "tool:pytest") if parser.has_section(name)}
