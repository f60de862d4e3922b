"""`tercet fix`: have a repository's failing tests made to pass, paid by a held job."""

from __future__ import annotations

from tercet.cli.fix.command import SCHEMA, command

__all__ = ["SCHEMA", "command"]
