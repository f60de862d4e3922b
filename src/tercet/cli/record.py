"""What a demo run found out: the object that `tercet demo --json` prints and that the report is drawn from.

Values only. Money is in base units and travels as text, because JSON readers round beyond 2^53.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, PlainSerializer

__all__ = [
    "Account",
    "AgentCall",
    "AgentTask",
    "AgentsRecord",
    "Books",
    "Earned",
    "EpochRecord",
    "Flow",
    "MinerRecord",
    "Record",
    "RequestRecord",
    "Units",
    "ValidatorRecord",
    "Value",
]

Units = Annotated[int, PlainSerializer(str, return_type=str)]
"""Base units of a token."""


class Value(BaseModel):
    """Frozen, and nothing beside its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Earned(Value):
    """An income in both tokens."""

    credit: Units = 0
    stake: Units = 0


class MinerRecord(Value):
    """One miner's run."""

    name: str
    uid: int
    owner: str
    kind: Literal["honest", "cheat", "mortal"]
    story: str
    """What it does, in a few words."""
    requests: int
    """Answers it was asked for, by buyers and validators alike."""
    answered: int
    """Of these, the whole ones."""
    tokens: int
    """Completion tokens it was paid for."""
    quality: float
    """Mean of the validators' scores, 0 to 1."""
    first_seconds: float | None
    """Median time to the first piece; None when it answered nothing."""
    seconds: float | None
    """Median time of a whole answer."""
    weight: float
    """Mean share of the validators' rows in the last epoch that it could be weighed in, 0 to 1."""
    consensus: int
    """Its consensus weight in the last epoch, 0 to 65,535."""
    earned: Earned
    per_request: Earned
    """Earned over `requests`, rounded down."""
    ratio: tuple[float, float]
    """Earnings per request over the honest miners' mean: credit, stake."""
    why: str
    """Why it earned no more; empty when there is nothing to say."""


class ValidatorRecord(Value):
    """One validator's run."""

    name: str
    vid: int
    owner: str
    challenges: int
    spent: Units
    """Credit units paid for answers to challenges."""
    earned: Earned


class EpochRecord(Value):
    """One closed epoch. Miners by name, `unspent` among them where shares are given."""

    number: int
    seconds: float
    consensus: dict[str, int]
    weights: dict[str, dict[str, float]]
    """Validator to miner to share of its row; a validator that revealed nothing is absent."""
    stake: dict[str, Units]
    """Reward of each miner and validator."""
    credit: dict[str, Units]
    """What buyers and validators paid each miner during the epoch."""
    returned: Units
    """Reward that went back to the sponsor."""


class RequestRecord(Value):
    """One paid request through the gateway."""

    at: float
    """Seconds since the first request."""
    miner: str
    """Who answered; empty when nobody did."""
    status: str
    stream: bool
    attempts: int
    tokens: int
    charged: Units
    first_seconds: float
    seconds: float


class Account(Value):
    """Who holds what at the end."""

    name: str
    address: str
    credit: Units
    stake: Units


class Flow(Value):
    """Two sides that must be equal."""

    name: str
    unit: Literal["credit", "TCT"]
    left: Units
    right: Units

    @property
    def balanced(self) -> bool:
        """Whether they are."""
        return self.left == self.right


class Books(Value):
    """Everything owned, and every flow, to the last unit."""

    accounts: list[Account]
    flows: list[Flow]

    @property
    def balanced(self) -> bool:
        """Whether every flow adds up."""
        return all(flow.balanced for flow in self.flows)


class AgentTask(Value):
    """A task of the agents' run."""

    id: str
    title: str
    agent: str
    state: str
    """done or failed."""
    attempts: int
    spent: Units
    text: str
    """What was written; empty where nothing was."""


class AgentCall(Value):
    """One answer that an agent bought, from its task to the chain."""

    receipt: str
    """Id of the gateway's receipt."""
    agent: str
    task: str
    miner: str
    """Who answered; empty when nobody did."""
    tokens: int
    charged: Units
    miner_earned: Units
    """What that miner charged in all, this answer among it."""
    miner_redeemed: Units
    """What the chain paid out to that miner."""


class AgentsRecord(Value):
    """A run of agents that bought from this market."""

    run: str
    goal: str
    status: str
    seconds: float
    budget: Units
    spent: Units
    returned: Units
    tasks: list[AgentTask]
    calls: list[AgentCall]


class Record(Value):
    """A whole run."""

    format: Literal["tercet-demo/1"] = "tercet-demo/1"
    version: str
    started: str
    """ISO 8601, UTC."""
    seconds: float
    """From the command to the table."""
    set_up_seconds: float
    """Of these, until the first request."""
    model: str
    served_by_liar: str
    cores: int
    chain_id: int
    market: str
    miners: list[MinerRecord]
    validators: list[ValidatorRecord]
    epochs: list[EpochRecord]
    requests: list[RequestRecord]
    latencies: dict[str, list[tuple[float, float]]]
    """Miner to (first piece, whole answer) of each whole answer, challenges included, in seconds."""
    books: Books
    balanced: bool
    agents: AgentsRecord | None = None
    """What agents bought and made of it; None where no sandbox could hold them."""
    folder: str
    report: str
