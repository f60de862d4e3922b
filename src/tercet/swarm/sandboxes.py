"""The sandbox of a run, with the Python packages that its plan needs lent into it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from tercet.errors import PlanError
from tercet.subnets.kit import Sandbox
from tercet.swarm.plan import Plan, slots_of

__all__ = ["find_sandbox"]

_NEEDS = {"analyst": "matplotlib", "assistant": "pydantic-ai-slim"}
"""By role, of packages that not every installation has."""
_TESTS = "pytest"
"""Needed where a done-test names it."""
_LENT = ("matplotlib", _TESTS)
_EXTRAS = {"matplotlib": "swarm", "pydantic-ai-slim": "swarm", _TESTS: "coding"}


def find_sandbox(plan: Plan, lend: Sequence[str] = ()) -> Sandbox:
    """The sandbox for a plan.

    Raises:
        SandboxMissingError: this machine has none.
        PlanError: the plan needs a package that is not installed.
        SandboxError: a package that was to be lent is not installed.

    """
    roles = {slot.role for task in plan.tasks for slot in slots_of(task)}
    needed = {name for role, name in _NEEDS.items() if role in roles}
    needed |= {_TESTS for task in plan.tasks if _TESTS in task.done.command}
    if missing := sorted(name for name in needed if not _installed(name)):
        extras = ",".join(sorted({_EXTRAS[name] for name in missing}))
        raise PlanError(
            f"The plan needs {' and '.join(missing)}, not installed here. Install: pip install 'tercet[{extras}]', and start again."
        )
    if _installed(_TESTS):  # an agent may run tests that no done-test names
        needed.add(_TESTS)
    return Sandbox.find(python_packages=[*(name for name in _LENT if name in needed), *lend])


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
