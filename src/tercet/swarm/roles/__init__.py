"""Roles: who can do which kind of task. A role is a class with `kind` and `work`, found by name in `ROLES`.

To add one, write the class and give it to the kernel: `Kernel(..., roles={**ROLES, "name": Mine()})`.
"""

from __future__ import annotations

from collections.abc import Mapping

from tercet.errors import PlanError
from tercet.swarm.roles.analyst import Analyst
from tercet.swarm.roles.assistant import Assistant
from tercet.swarm.roles.author import Author
from tercet.swarm.roles.coder import Coder
from tercet.swarm.roles.tester import Tester
from tercet.swarm.roles.writer import Writer
from tercet.swarm.workbench import Role

__all__ = ["ROLES", "Analyst", "Assistant", "Author", "Coder", "Tester", "Writer", "find_role"]

ROLES: Mapping[str, Role] = {
    "analyst": Analyst(),
    "assistant": Assistant(),
    "author": Author(),
    "coder": Coder(),
    "tester": Tester(),
    "writer": Writer(),
}
"""The roles that are always there."""


def find_role(roles: Mapping[str, Role], name: str) -> Role:
    """The role of a task.

    Raises:
        PlanError: there is none of that name.

    """
    if name not in roles:
        raise PlanError(f"There is no role {name!r}. Known: {', '.join(sorted(roles))}.")
    return roles[name]
