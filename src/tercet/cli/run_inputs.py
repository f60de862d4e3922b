"""What `tercet run` is told, read before anything is begun: whoever mistypes has no run of it.

Raises `UsageError` for all that is wrong.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Collection, Sequence
from pathlib import Path

from tercet.errors import PlanError, UsageError
from tercet.swarm.hidden import load_hidden
from tercet.swarm.planner import Planner
from tercet.swarm.run_memory import OFF

__all__ = [
    "goal_folder",
    "hidden_folder",
    "memory_place",
    "plan_file",
    "validate_candidates",
    "validate_lent",
    "validate_plan",
]


def goal_folder(chosen: str | None) -> str:
    """The folder that a goal is about, in full; empty where none was named."""
    if not chosen:
        return ""
    folder = _in_full(chosen)
    if not folder.is_dir():
        raise UsageError(f"{chosen!r} is no folder. Name one with --dir.")
    return str(folder)


def plan_file(chosen: str | None) -> str:
    """The file with the plan, in full; empty where none was named."""
    if not chosen:
        return ""
    file = _in_full(chosen)
    if not file.is_file():
        raise UsageError(f"{chosen!r} is no file. Name a plan with --plan, or say none and have one made.")
    return str(file)


def validate_plan(file: str, goal: str, budget: int, roles: Collection[str], candidates: Sequence[str]) -> None:
    """The plan in a file can be run, within `budget` credit units and by these roles."""
    if not file:
        return
    try:
        Planner(goal, budget, "", list(roles), Path(file), candidates=candidates).known([])
    except PlanError as error:
        raise UsageError(f"--plan {file}: {error}") from error


def validate_candidates(roles: Collection[str], named: Sequence[str]) -> None:
    """Each is ROLE=OTHER or ROLE=OTHER@MODEL, of roles that there are."""
    for each in named:
        role, _, other = each.partition("=")
        if not role or not other:
            raise UsageError(
                f"--candidate {each!r} names nobody. Say ROLE=OTHER, such as coder=mini-swe-agent or coder=coder@NAME."
            )
        unknown = [name for name in (role, other.partition("@")[0]) if name not in roles]
        if unknown:
            raise UsageError(
                f"--candidate {each!r}: nobody has the role {unknown[0]!r}. Known: {', '.join(sorted(roles))};"
                " tercet agent list shows who can be added."
            )


def validate_lent(packages: Sequence[str]) -> None:
    """Each is installed beside Tercet: the sandbox gets it from there."""
    for package in packages:
        try:
            importlib.metadata.distribution(package)
        except (importlib.metadata.PackageNotFoundError, ValueError):
            raise UsageError(f"--lend {package!r} is not installed here. Install it: pip install {package}.") from None


def hidden_folder(chosen: str | None) -> str:
    """The folder of hidden tests, in full, once it reads as one; empty where none was named."""
    if not chosen:
        return ""
    folder = _in_full(chosen)
    if not folder.is_dir():
        raise UsageError(f"{chosen!r} is no folder. --hidden takes a folder of tests: docs/how-to/hide-tests.md.")
    load_hidden(folder)
    return str(folder)


def memory_place(chosen: str) -> str:
    """Where the agents' memory is: as it was said, a folder in full."""
    return chosen if chosen in {"", OFF} or "://" in chosen else str(_in_full(chosen))


def _in_full(chosen: str) -> Path:
    return Path(chosen).expanduser().absolute()
