"""Recipes: plans that are known to work for a kind of goal, recognised by what is in the folder and what is asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from tercet.subnets.coding import is_protected
from tercet.swarm.workbench import CHECKS

__all__ = ["RECIPES", "Recipe", "find_recipe"]

Recipe = Callable[[str, Sequence[str]], dict[str, Any] | None]
"""(goal, paths of the files) to a plan without money, or None where it is another kind of goal."""
_PYTEST = ("python3", "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider")
_MOST_CLAIMS = 200
_REPAIR = re.compile(r"\b(fix|repair|mend|debug|bugs?|failing|tests? (to )?pass|make the tests)\b", re.IGNORECASE)
_ANALYSE = re.compile(r"\b(analy[sz]e|analysis|report|plots?|charts?|explore|summari[sz]e|findings)\b", re.IGNORECASE)
_LOG = re.compile(r"change ?log|release notes?", re.IGNORECASE)


def find_recipe(goal: str, paths: Sequence[str]) -> tuple[str, dict[str, Any]] | None:
    """The first recipe that fits, by name, and its plan."""
    for name, recipe in RECIPES.items():
        plan = recipe(goal, paths)
        if plan is not None:
            return name, plan
    return None


def repair(goal: str, paths: Sequence[str]) -> dict[str, Any] | None:
    """Python with tests, and a goal that speaks of mending it."""
    code = [path for path in paths if path.endswith(".py") and not is_protected(path)]
    tests = [path for path in paths if path.endswith(".py") and is_protected(path)]
    if not code or not tests or not _REPAIR.search(goal):
        return None
    log = next((path for path in paths if PurePosixPath(path).name.lower() == "changelog.md"), None)
    wants_log = log is not None or _LOG.search(goal) is not None
    log = log or "CHANGELOG.md"
    claims = code if len(code) <= _MOST_CLAIMS else sorted({_folder(path) for path in code})
    tasks = [
        {
            "id": "repair",
            "title": "Change the program until its tests pass",
            "role": "coder",
            "outputs": claims,
            "done": {"command": _PYTEST, "seconds": 120},
            "seconds": 1800,
            "crew": "repair",
        }
    ]
    if wants_log:
        tasks.append(
            {
                "id": "changelog",
                "title": "Write the changelog entry",
                "role": "writer",
                "needs": ["repair"],
                "outputs": [log],
                "done": {"command": ["python3", f"{CHECKS}/changelog.py", log]},
                "seconds": 900,
                "crew": "repair",
                "options": {"text": "changelog"},
            }
        )
    tasks.append(
        {
            "id": "verify",
            "title": "Run all tests again, and see that none was touched",
            "role": "tester",
            "needs": [str(task["id"]) for task in tasks],
            "done": {"command": ["python3", f"{CHECKS}/repair.py"], "seconds": 120},
            "crew": "repair",
        }
    )
    return {"goal": goal, "tasks": tasks}


def analyse(goal: str, paths: Sequence[str]) -> dict[str, Any] | None:
    """One CSV, or one that the goal names, and a goal that asks for an analysis."""
    tables = [path for path in paths if path.lower().endswith((".csv", ".tsv"))]
    named = [path for path in tables if PurePosixPath(path).name.lower() in goal.lower()]
    if not _ANALYSE.search(goal) or len(named or tables) != 1:
        return None
    data = (named or tables)[0]
    facts, report = "analysis/facts.json", "analysis/report.md"
    tasks = [
        {
            "id": "facts",
            "title": f"Compute what {data} says",
            "role": "analyst",
            "inputs": [data],
            "outputs": [facts],
            "done": {"command": ["python3", f"{CHECKS}/facts.py", data, "--check", facts]},
            "crew": "analysis",
            "options": {"part": "facts", "data": data},
        },
        {
            "id": "report",
            "title": "Choose plots and findings, and write the report",
            "role": "analyst",
            "needs": ["facts"],
            "inputs": [data, facts],
            "outputs": [report, "analysis/plots/*.png"],
            "done": {"command": ["python3", f"{CHECKS}/report.py", data, report]},
            "seconds": 1800,
            "crew": "analysis",
            "options": {"part": "report", "data": data, "facts": facts},
        },
    ]
    return {"goal": goal, "tasks": tasks}


RECIPES: Mapping[str, Recipe] = {"repair": repair, "analyse": analyse}
"""In the order they are tried."""


def _folder(path: str) -> str:
    """A claim for all Python files of its folder."""
    parent = PurePosixPath(path).parent
    return "*.py" if parent == PurePosixPath() else f"{parent}/*.py"
