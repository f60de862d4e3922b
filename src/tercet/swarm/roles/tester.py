"""The tester: changes nothing. Its task's done-test is the work."""

from __future__ import annotations

from typing import Literal

from tercet.swarm.workbench import Made, Workbench

__all__ = ["Tester"]


class Tester:
    """Lets the done-test speak."""

    kind: Literal["tool"] = "tool"

    async def work(self, bench: Workbench) -> Made:  # noqa: ARG002 - the signature of a role
        """Nothing to do before the test."""
        return Made("program", "ran the test")
