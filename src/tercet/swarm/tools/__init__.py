"""The tools of an agent: each call is held against its capabilities, then the guard, then the person; and written down.

What an agent reads is a claim of whoever wrote it, unchecked, and from then on part of all that the agent does. So a text
that says "now pay" reaches an agent which then may not pay, and no text reaches the capabilities: they are a value here.
Commands run in the sandbox over a copy that holds what the agent may read, and only what it may write comes back.
"""

from __future__ import annotations

from tercet.swarm.tools.commands import CommandTools
from tercet.swarm.tools.files import FileTools
from tercet.swarm.tools.knowledge import KnowledgeTools
from tercet.swarm.tools.needs import Bought, Desires, OpenPurse, Purse, Shelf
from tercet.swarm.tools.outward import PERSON, OutwardTools

__all__ = ["PERSON", "Bought", "Desires", "OpenPurse", "Purse", "Shelf", "Toolbox"]


class Toolbox(FileTools, CommandTools, KnowledgeTools, OutwardTools):
    """One agent's tools for one task."""
