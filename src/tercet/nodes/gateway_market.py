"""What a gateway needs of the market: who is there, and a way to pay and ask them. Shapes only.

`tercet.nodes.directory.Directory` and `tercet.nodes.buyer.Buyer` have them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from tercet.market import Answer, Price, Task, Usage
from tercet.subnets import Piece

__all__ = ["Buying", "Exchange", "Listing", "Miner"]


class Miner(Protocol):
    """One registered miner, as the ledger and its own signed word have it."""

    @property
    def uid(self) -> int:
        """Its slot, 1 to 255."""

    @property
    def generation(self) -> int:
        """Which holder of the slot."""

    @property
    def operator(self) -> str:
        """Whose signature its answers carry."""

    @property
    def share(self) -> float:
        """Its consensus weight over the best miner's, 0 to 1."""

    @property
    def proven(self) -> bool:
        """Whether it is paid its ask in full."""

    @property
    def price(self) -> Price | None:
        """What it asks; None until that is known."""


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

    def miners(self) -> Sequence[Miner]:
        """Those registered now."""


class Buying(Protocol):
    """Who pays miners and asks them."""

    def ask(
        self, miner: Miner, task: Task, usage_limit: Usage, *, deadline_seconds: float, price: Price | None = None
    ) -> AbstractAsyncContextManager[Exchange]:
        """Open an exchange; raises a `MinerError` here or while it is read."""
