"""`tercet demo --all`: every competition on one machine, side by side, on one chain and under one set of books."""

from __future__ import annotations

from tercet.cli.demo.fair.fair import Fair
from tercet.cli.demo.fair.record import FairRecord
from tercet.cli.demo.fair.show import print_fair, render_fair

__all__ = ["Fair", "FairRecord", "print_fair", "render_fair"]
