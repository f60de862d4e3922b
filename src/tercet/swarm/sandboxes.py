"""The sandbox of a run, with the Python packages that its plan needs lent into it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from tercet.subnets.kit import Sandbox
from tercet.swarm.plan import Plan, slots_of

__all__ = ["find_sandbox"]

_BY_ROLE = {"analyst": ("matplotlib",)}
_ALWAYS = ("pytest",)


def find_sandbox(plan: Plan, lend: Sequence[str] = ()) -> Sandbox:
    """The sandbox for a plan.

    Raises:
        SandboxMissingError: this machine has none.
        SandboxError: a package that was asked for is not installed.

    """
    roles = {slot.role for task in plan.tasks for slot in slots_of(task)}
    wanted = [*_ALWAYS, *(name for role in sorted(roles) for name in _BY_ROLE.get(role, ()))]
    return Sandbox.find(python_packages=[*(name for name in wanted if _installed(name)), *lend])


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
