"""What a fair came to: the object that `tercet demo --all --json` prints. Values only; money in base units, as text."""

from __future__ import annotations

from typing import Literal

from tercet.cli.record import Books, Earned, Units, Value

__all__ = ["FairRecord", "MarketRecord", "TraderRecord"]


class TraderRecord(Value):
    """One miner."""

    name: str
    kind: Literal["honest", "cheat", "mortal"]
    story: str
    answers: int
    good: int
    """Answers that were worth something."""
    units: float
    """Of the market's unit, in its good answers."""
    quality: float
    """Mean score, 0 to 1."""
    earned: Earned
    share: float
    """Of what an honest miner of this market earns on average, in stake token."""
    why: str
    """Why it earned no more; empty when there is nothing to say."""


class MarketRecord(Value):
    """One market."""

    subnet: str
    address: str
    unit: str
    told: str
    """What its miners' good answers came to, in a sentence."""
    epochs: int
    """Closed and paid for."""
    units: list[float]
    """Of good work, epoch by epoch."""
    losses: list[float]
    """Of the model that all train, on text that nobody was assigned: nats a byte before the first round and after each; empty elsewhere."""
    spent: Units
    """Credit units that the validator paid for answers."""
    returned: Units
    """Reward that went back to the sponsor."""
    miners: list[TraderRecord]


class FairRecord(Value):
    """A whole run."""

    format: Literal["tercet-fair/1"] = "tercet-fair/1"
    version: str
    started: str
    seconds: float
    cores: int
    chain_id: int
    markets: list[MarketRecord]
    books: Books
    balanced: bool
    folder: str
    report: str
