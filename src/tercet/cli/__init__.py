"""The commands, one module per noun. `main` is what `tercet` and `python -m tercet.cli` run."""

from __future__ import annotations

from tercet.cli.frame import main

__all__ = ["main"]
