"""The specialists that Tercet knows how to install and to talk with. A table; nothing runs here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tercet.subnets.coding.miners import SWE_DRIVER

__all__ = ["SPECIALISTS", "Specialist"]

_INSIDE = Path(__file__).parent / "inside"


@dataclass(frozen=True, slots=True)
class Specialist:
    """Somebody else's agent: what it is made of, and how it is spoken to."""

    name: str
    what: str
    """What it is good for, in one line."""
    needs: Sequence[str]
    """What pip is told, with versions."""
    shows: str
    """The distribution whose presence shows that it is installed."""
    driver: Path
    """The program that speaks for it, in lines."""
    commands: bool = False
    """True: it only thinks, and has us run its commands. False: it works in its own copy of the folder."""
    tools: bool = False
    """It can be handed tools: by MCP, or where it only thinks on the command line of its sandbox."""
    below: tuple[int, int] | None = None
    """The first Python that it does not run on."""
    megabytes: int = 0
    """About what it takes on disk."""


SPECIALISTS: Mapping[str, Specialist] = {
    one.name: one
    for one in (
        Specialist(
            "mini-swe-agent",
            "changes programs by running commands, until it thinks that it is done",
            ("mini-swe-agent==2.4.6", "mcp>=2.2,<3"),
            "mini-swe-agent",
            SWE_DRIVER,
            commands=True,
            tools=True,
            megabytes=780,
        ),
        Specialist(
            "pandasai",
            "answers questions about CSV files by writing and running Python",
            ("pandasai==3.0.0",),
            "pandasai",
            _INSIDE / "pandasai_driver.py",
            below=(3, 12),
            megabytes=640,
        ),
        Specialist(
            "crewai",
            "a writer and a reviewer that work on a text together",
            ("crewai==1.15.30",),
            "crewai",
            _INSIDE / "crewai_driver.py",
            tools=True,
            below=(3, 14),
            megabytes=1020,
        ),
        Specialist(
            "research-agent",
            "reads the documents it is given and answers with quotations, which a program checks",
            ("pydantic-ai-slim[openai,mcp]==2.68.0",),
            "pydantic-ai-slim",
            _INSIDE / "research_driver.py",
            tools=True,
            megabytes=120,
        ),
    )
}
"""By the name that a plan's task gives as its role."""
