"""Every way of starting the sandbox that this machine allows; the tests run in each."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest

from tercet.subnets.kit import Sandbox
from tercet.subnets.kit.sandbox.cgroups import find_places
from tercet.subnets.kit.sandbox.interpreter import find_interpreter
from tercet.subnets.kit.sandbox.launch import launches

WAYS = {
    "strongest": lambda launch: True,
    "without cgroups": lambda launch: launch.proc,
    "user namespace": lambda launch: launch.proc and launch.kind == "user namespace",
    "without proc": lambda launch: not launch.proc,
}


@pytest.fixture(scope="session", params=WAYS)
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """The sandbox that `find` gives, and the weaker ones it would give on other machines."""
    if not shutil.which("bwrap"):
        pytest.fail("bubblewrap is not installed: make tools")
    if request.param == "strongest":
        return Sandbox.find(python_packages=["pytest"])
    interpreters = [find_interpreter(["pytest"]), find_interpreter(["pytest"], prefix=Path("/usr"))]
    why = "no such way"
    for launch, interpreter in itertools.product(filter(WAYS[request.param], launches()), interpreters):
        why = launch.complaint(interpreter)
        if not why:
            return Sandbox(launch, interpreter, [] if request.param == "without cgroups" else find_places())
    pytest.skip(f"not on this machine: {why}")
