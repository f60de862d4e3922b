"""A smaller installation than the tests' own: what the set-up script gives a newcomer, and no package more."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_SETUP = Path(__file__).parents[2] / "scripts" / "setup.sh"
_BLOCK = """
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    missing = {missing!r}

    def find_spec(self, name, path=None, target=None):
        if path is None and name in self.missing:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


def extras_of(kind: str) -> list[str]:
    """What `scripts/setup.sh KIND` installs beside Tercet itself."""
    found = re.search(rf"^ *{kind}\).*'\.\[([a-z,]+)\]'", _SETUP.read_text(), re.MULTILINE)
    assert found is not None, kind
    return found[1].split(",")


def lean(folder: Path, extras: list[str]) -> Mapping[str, str]:
    """An environment in which every process of this Python lacks what neither Tercet nor these extras need."""
    kept = _needed("tercet", frozenset(extras))
    missing = {
        module
        for module, owners in packages_distributions().items()
        if not {canonicalize_name(owner) for owner in owners} & kept
    }
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_BLOCK.format(missing=missing))
    return {"PYTHONPATH": str(folder)}


def _needed(name: str, extras: frozenset[str]) -> set[str]:
    """The names of all distributions that one needs, itself included."""
    found: set[str] = set()
    waiting, seen = [(name, extras)], set()
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        try:
            needs = [Requirement(line) for line in requires(one[0]) or []]
        except PackageNotFoundError:
            continue  # for another platform or Python
        found.add(canonicalize_name(one[0]))
        waiting += [
            (canonicalize_name(need.name), frozenset(need.extras))
            for need in needs
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in one[1] | {""})
        ]
    return found
