"""What an attack is, what it is given, and what it hands back.

Knows no contract: `arena` does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from tercet.chain.registry import MarketParams

TCT = 10**18
RULES = MarketParams("attack")
"""A new market's own."""
Probing = Literal["together", "apart"]


@dataclass(frozen=True, slots=True)
class Economy:
    """What the chain does not know: what things cost outside of it, and what the market pays. Stake token base units."""

    reward: int = 100 * TCT
    """Of all sponsors together, for one epoch."""
    measuring: int = TCT // 5
    """What asking and judging every miner costs a validator in one epoch."""
    checking: int = TCT // 500
    """What running one entry of another validator's log again costs: less than asking, since the answer is there."""
    serving: int = TCT
    """What running one machine costs a miner in one epoch."""
    gas_price: int = 10**9
    """What one unit of gas costs."""
    timelock_seconds: int = 3_600
    """How long a change of the rules shows before it is in force."""
    fee_bps: int = 100
    """Of what miners redeem."""
    period_seconds: int = 840
    """Length of an emission period: two epochs of the default rules, so that a run sees several."""
    probing: Probing = "together"
    """Whether validators ask all miners at the same moment, as ours do, so that miners who share a machine share its
    throughput, or one after the other, so that one machine looks as good as many."""


@dataclass(frozen=True, slots=True)
class Lab:
    """The conditions of one run. Equal labs give equal runs."""

    rules: MarketParams = RULES
    economy: Economy = Economy()
    seed: int = 0
    epochs: int = 12


@dataclass(frozen=True, slots=True)
class Trial:
    """One attacker beside one honest twin of equal cost, in one run. Stake token base units."""

    attacker: int
    """Profit: all it could take home, less all it brought, less gas and costs outside of the chain."""
    honest: int
    """The twin's, counted the same way."""
    refusals: Mapping[str, int] = field(default_factory=dict)
    """The attacker's transactions that contracts refused, by reason."""
    bound: float | None = None
    """What the attack's `proof` says that attacker / honest cannot exceed in this run; None where nothing is proved."""


@dataclass(frozen=True, slots=True)
class Attack:
    """A strategy: one file in `strategies`, one `ATTACK`."""

    name: str
    """What one types: lower case, hyphens."""
    about: str
    """What the attacker does and hopes for, in a sentence."""
    stopped_by: str
    """The rule that takes the profit out of it."""
    twin: str
    """Who the honest one is that it is compared with, and what makes them equal in cost."""
    play: Callable[[str, Lab], Mapping[str, Trial]]
    """Run one scenario under one lab: a trial for each variant of the attacker in that run."""
    scenarios: tuple[str, ...] = ("",)
    """Runs that differ in more than the seed."""
    proof: str = ""
    """Why no trial can exceed its bound, where rules of this kind cannot take all the profit out."""
    epochs: int | None = None
    """Epochs that it needs, where the usual number is too many or too few."""
