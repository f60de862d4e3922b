"""`tercet inbox`: what a run asks its person, on a terminal."""

from __future__ import annotations

from tercet.cli.inbox.command import command

__all__ = ["command"]
