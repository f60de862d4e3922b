"""What a new run begins with: a folder with a name of its own, and the roles that there are here."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Mapping
from pathlib import Path

from tercet.cli.frame import State
from tercet.swarm.agents import Agents
from tercet.swarm.roles import ROLES, Assistant
from tercet.swarm.workbench import Role

__all__ = ["known_roles", "new_folder"]

_FIRST = [
    "amber",
    "brisk",
    "calm",
    "deft",
    "eager",
    "fair",
    "glad",
    "keen",
    "lucid",
    "merry",
    "noble",
    "quiet",
    "swift",
    "warm",
]
_SECOND = [
    "badger",
    "crane",
    "falcon",
    "heron",
    "ibex",
    "kestrel",
    "lynx",
    "marten",
    "otter",
    "plover",
    "raven",
    "stoat",
    "tern",
    "wren",
]


def new_folder(state: State) -> Path:
    """An empty folder for a run; its name is the run's."""
    runs = state.folder("runs", None)
    while True:
        folder = runs / f"{secrets.choice(_FIRST)}-{secrets.choice(_SECOND)}-{secrets.token_hex(2)}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            return folder


def known_roles(state: State) -> Mapping[str, Role]:
    """Ours, and the agents that were added."""
    agents = Agents(state.settings.home / "agents")
    if not agents.all():
        return ROLES
    from tercet.swarm.foreign import foreign_roles  # noqa: PLC0415 - seconds to import, and few have such agents

    return {**foreign_roles(agents), **ROLES, "assistant": Assistant(agents)}
