"""What a person sees while the demo runs: lines on stderr, and on a terminal a table that stays up to date."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tercet.cli.plain import printable_lines

__all__ = ["Progress"]

COLUMNS = ("miner", "challenges", "last score", "requests", "credit", "weight")


class Progress:
    """Speaks on stderr only; quiet says nothing at all."""

    def __init__(self, *, colour: bool = True) -> None:
        self._console = Console(stderr=True, highlight=False, no_color=not colour, soft_wrap=True)
        self._began = time.monotonic()
        self._live: Live | None = None

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._began

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(console=self._console, transient=True, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, text: str) -> None:
        """One line, with the time since the start."""
        self._console.print(Text.assemble((f"{self.seconds:6.1f} s", "dim"), "  ", printable_lines(text)))

    def show(self, title: str, rows: Sequence[Sequence[str]]) -> None:
        """Redraw the table; without a terminal nothing is shown."""
        if self._live is None:
            return
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for i, column in enumerate(COLUMNS):
            table.add_column(column, justify="left" if i == 0 else "right", style="bold" if i == 0 else "")
        for row in rows:
            table.add_row(*row)
        self._live.update(table)
