"""The sandbox of a run, with the Python packages that its plan needs lent into it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise

from tercet.errors import PackageMissingError
from tercet.subnets.kit import Sandbox
from tercet.swarm.plan import Plan, slots_of

__all__ = ["find_replay_sandbox", "find_sandbox", "validate_packages"]

_PLOTS, _TOOLS, _TESTS = "matplotlib", "pydantic-ai-slim", "pytest"
_NEEDS = {"analyst": _PLOTS, "assistant": _TOOLS}
"""By role, of packages that not every installation has."""
_NEEDS_AGAIN = {"assistant": _TOOLS, "coder": _TESTS}
"""The same for a replay: plots and done-tests are read back, and a coder runs its tests between its steps."""
_EXTRAS = {_PLOTS: "swarm", _TOOLS: "swarm", _TESTS: "coding"}


def find_sandbox(plan: Plan, lend: Sequence[str] = ()) -> Sandbox:
    """The sandbox for a plan.

    Raises:
        SandboxMissingError: this machine has none.
        PackageMissingError: the plan needs a package that is not installed, or one was to be lent.

    """
    validate_packages(plan, lend)
    plots = [_PLOTS] if _PLOTS in _needs(plan, _NEEDS) else []
    tests = [_TESTS] if _installed(_TESTS) else []  # an agent may run tests that no done-test names
    return Sandbox.find(python_packages=[*plots, *tests, *lend])


def find_replay_sandbox(plan: Plan, lend: Sequence[str] = ()) -> Sandbox:
    """The sandbox in which a plan's tasks are played again; it lends what is installed.

    Raises:
        SandboxMissingError: this machine has none.
        PackageMissingError: one is not installed without which a task would come out otherwise.

    """
    needed = _needs(plan, _NEEDS_AGAIN)
    _validate([*needed, *(lend if _TESTS in needed else ())])  # what tests import counts as the tests do
    return Sandbox.find(python_packages=[name for name in (_TESTS, *lend) if _installed(name)])


def validate_packages(plan: Plan, lend: Sequence[str] = ()) -> None:
    """Raise PackageMissingError where a package is not installed that the plan needs, or that is to be lent."""
    tests = {_TESTS for task in plan.tasks if _runs_tests(task.done.command)}
    _validate([*_needs(plan, _NEEDS), *tests, *lend])


def _needs(plan: Plan, by_role: Mapping[str, str]) -> set[str]:
    roles = {slot.role for task in plan.tasks for slot in slots_of(task)}
    return {name for role, name in by_role.items() if role in roles}


def _runs_tests(command: Sequence[str]) -> bool:
    """Whether it runs pytest, and does not just speak of it."""
    return command[0] == _TESTS or ("-m", _TESTS) in pairwise(command)


def _validate(needed: Collection[str]) -> None:
    missing = sorted({name for name in needed if not _installed(name)})
    if not missing:
        return
    extras = ",".join(sorted({_EXTRAS[name] for name in missing if name in _EXTRAS}))
    wanted = [f"'tercet[{extras}]'"] if extras else []
    wanted += [name for name in missing if name not in _EXTRAS]
    raise PackageMissingError(
        f"The run needs {' and '.join(missing)}, not installed here. Install: pip install {' '.join(wanted)}."
    )


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
