"""What tools need from outside: somebody who moves money, and somewhere to remember."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from tercet.swarm.claims import Claim
from tercet.swarm.journal import Journal

__all__ = ["Bought", "Desires", "OpenPurse", "Purse", "Shelf"]

Desires: TypeAlias = Mapping[str, Any]
"""What is to be bought, as the purse that buys it reads it."""


@dataclass(frozen=True, slots=True)
class Bought:
    """What came of a purchase."""

    receipt: str
    charged: int
    """Credit units, never more than was offered."""
    result: str = ""


class Purse(Protocol):
    """Whoever moves money. The same key twice is one payment."""

    async def pay(self, agent: str, to: str, amount: int, key: str) -> str:
        """Pay exactly this; the receipt's id. RefusedError: nothing was paid."""

    async def buy(self, agent: str, wanted: Desires, most: int, key: str) -> Bought:
        """Buy for at most this. RefusedError: nothing was bought."""

    async def find(self, key: str) -> str | None:
        """The receipt of what was paid or bought under this key; None where nothing was."""


OpenPurse: TypeAlias = Callable[[Journal], AbstractAsyncContextManager[Purse]]
"""Opens the purse of the run that has this journal."""


class Shelf(Protocol):
    """Where agents remember, such as `Memory`."""

    async def put(self, claim: Claim, *, agent: str, shared: bool) -> None:
        """Keep it."""

    async def recall(self, question: str, *, agent: str, most: int, states: Sequence[str] = ()) -> Sequence[Claim]:
        """The nearest of the agent's own and the shared ones."""
