"""What a gateway needs of the market: a list of miners, and a way to pay and ask them. Shapes only.

`tercet.nodes.directory.Directory` and `tercet.nodes.buyer.Buyer` have them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from tercet.market import Answer, Price, Task, Usage
from tercet.nodes.directory import MinerEntry
from tercet.subnets import Piece

__all__ = ["Buying", "Exchange", "Listing"]


class Exchange(Protocol):
    """One request and its answer as it comes: iterate over the pieces, then read the rest."""

    def __aiter__(self) -> AsyncIterator[Piece]:
        """The pieces."""

    @property
    def answer(self) -> Answer | None:
        """The verified trailer, after the end."""

    @property
    def charged(self) -> int:
        """Credit units, after the end."""

    @property
    def first_seconds(self) -> float:
        """Until the first piece."""

    @property
    def total_seconds(self) -> float:
        """Until the end."""

    @property
    def request_hash(self) -> bytes:
        """sha256 of the canonical request text."""


class Listing(Protocol):
    """Where miners are found."""

    def miners(self) -> Sequence[MinerEntry]:
        """Those registered now."""


class Buying(Protocol):
    """Who pays miners and asks them."""

    def ask(
        self, miner: MinerEntry, task: Task, usage_limit: Usage, *, deadline_seconds: float, price: Price | None = None
    ) -> AbstractAsyncContextManager[Exchange]:
        """Open an exchange; raises a `MinerError` here or while it is read."""
