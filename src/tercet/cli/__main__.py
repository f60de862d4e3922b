"""`python -m tercet.cli`: the same as `tercet`, for children that must run in this very interpreter."""

from __future__ import annotations

from tercet.cli.frame import main

main()
