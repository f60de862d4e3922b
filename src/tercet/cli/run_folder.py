"""What a new run begins with: a folder with a name of its own, and the roles that there are here."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from tercet.cli.frame import State
from tercet.errors import JournalError
from tercet.swarm.agents import Agents
from tercet.swarm.events import read_events
from tercet.swarm.roles import ROLES, Assistant
from tercet.swarm.workbench import Role

__all__ = ["known_roles", "new_folder", "remove_unbegun"]

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


def remove_unbegun(folder: Path) -> bool:
    """Take a run away that could not begin: there is nothing in it to look at, or to go on with.

    The run's budget is written down once its model is there to think, and before anything is planned or paid.
    """
    try:
        if any(True for _ in read_events(folder / "journal.db", kinds=("budget.set",))):
            return False
    except JournalError:
        return False
    shutil.rmtree(folder)
    return True


def known_roles(state: State) -> Mapping[str, Role]:
    """Ours, and the agents that were added."""
    agents = Agents(state.settings.home / "agents")
    if not agents.all():
        return ROLES
    from tercet.swarm.foreign import foreign_roles  # noqa: PLC0415 - seconds to import, and few have such agents

    return {**foreign_roles(agents), **ROLES, "assistant": Assistant(agents)}
