"""`tercet demo`: a whole market on this machine, measured, paid, audited and drawn."""

from __future__ import annotations

from tercet.cli.demo.command import command

__all__ = ["command"]
