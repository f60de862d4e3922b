"""A mechanism is one competition: what is asked, how it is answered, how an answer is judged."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

from tercet.errors import SubnetError, UsageError
from tercet.market import Price, Task, Usage, Verdict

__all__ = [
    "Auditable",
    "Commission",
    "Commissioned",
    "Contender",
    "Contest",
    "Mechanism",
    "PayFloor",
    "Piece",
    "Prepared",
    "Recheck",
    "Role",
    "Stocked",
    "Submission",
    "Traceable",
    "UnknownSubnetError",
    "Waged",
    "least_price",
    "load_mechanism",
    "mechanism_names",
]

Role: TypeAlias = Literal["miner", "validator", "gateway"]
Piece: TypeAlias = Mapping[str, Any]
"""One line of an answer as a JSON object. The last piece of every answer carries `usage`: {"prompt": n, "completion": n}."""


class UnknownSubnetError(UsageError):
    """No mechanism of that name is installed."""


@dataclass(frozen=True, slots=True)
class Submission:
    """One miner's complete answer to a task, as a judge sees it."""

    uid: int
    pieces: Sequence[Piece]
    """Empty when the miner answered nothing, junk, or too late: see `failure`."""
    first_seconds: float
    """From sending the request to the first piece."""
    total_seconds: float
    evidence: bytes
    """The miner's signature over the answer: fixed before a judge picks what to check. Empty when there is none."""
    failure: str = ""
    """Why there is no answer; empty when there is one."""


@runtime_checkable
class Mechanism(Protocol):
    """One class per subnet. A role constructs it by name with the options of its command line, then opens it."""

    name: ClassVar[str]
    version: ClassVar[int]
    """Goes into every commit: validators of different versions never mix."""

    async def open(self, role: Role) -> None:
        """Load what the role needs (a model, a data set). Raises `SubnetError` with the mend when it cannot."""

    async def close(self) -> None:
        """Give everything back."""

    def price(self) -> Price:
        """What a miner asks unless its owner says otherwise."""

    def limit(self, task: Task) -> Usage:
        """The most `task` can consume: what a buyer must reserve. Raises `SubnetError` for a malformed task."""

    def challenge(self, beacon: bytes) -> Task:
        """A task drawn from 32 random bytes, the same for the same beacon, no different from a buyer's."""

    def answer(self, task: Task) -> AsyncIterator[Piece]:
        """Do the work, piece by piece. The last piece carries `usage`."""

    async def judge(self, task: Task, submissions: Sequence[Submission]) -> Sequence[Verdict]:
        """One verdict per submission, in order; never raises for what a miner sent."""


@dataclass(frozen=True, slots=True)
class Recheck:
    """What running an evaluation again found."""

    agrees: bool
    """The claimed score is what this judge finds, within its tolerance."""
    certain: bool = False
    """It differs by so much that any honest judge would see it: reason enough to accuse."""
    reason: str = ""
    """Why it does not agree; empty when it does."""


@runtime_checkable
class Auditable(Protocol):
    """A mechanism whose scores others can check. Without this a validator's scores are taken on trust.

    An honest validator must never be accused: widen your tolerance here beyond that of `judge`, since two honest
    judges may stand on different sides of it.
    """

    async def recheck(self, task: Task, submission: Submission, claimed: Verdict) -> Recheck:
        """Judge again what another validator judged; never raises for what is in the evidence.

        Args:
            task: what was asked.
            submission: what came, with the times that the other validator says it took.
            claimed: its score, and the `opening` that its verdict carried.

        """


@runtime_checkable
class PayFloor(Protocol):
    """A mechanism for whose work nobody is paid less than a floor, new miners on probation included."""

    def least_price(self) -> Price:
        """The floor, part by part. All roles of a market must be told the same: it is one of the subnet's options."""


@runtime_checkable
class Waged(Protocol):
    """A mechanism whose workers see what a task pays, which may be less than what the miner asks: see probation."""

    def answer_for(self, task: Task, price: Price) -> AsyncIterator[Piece]:
        """As `answer`, at the price that this buyer pays."""


def least_price(mechanism: Mechanism) -> Price:
    """The least that a miner of this mechanism may ask and be offered; nothing where there is no floor."""
    return mechanism.least_price() if isinstance(mechanism, PayFloor) else Price()


@dataclass(frozen=True, slots=True)
class Contender:
    """One miner in a round: what it was asked, and what came of it."""

    uid: int
    generation: int
    """Of its slot when it was asked: a later tenant of the same uid is another miner."""
    task: Task
    submission: Submission
    """What it sent, signed before anybody could know the seed of `judge_round`; `failure` says why there is nothing."""


@dataclass(frozen=True, slots=True)
class Commission:
    """The held job that a task belongs to: its price was put aside for one worker."""

    job: bytes
    """Its id, 32 bytes."""
    work: bytes
    """What buyer and worker agreed on; its hash stands in the job."""


@runtime_checkable
class Commissioned(Protocol):
    """A mechanism with tasks that are paid by held jobs. It knows no chain: its miner's process looks the job up."""

    def commission(self, task: Task) -> Commission | None:
        """The job that pays for `task`, or None for an ordinary one. `task` passed `limit`."""

    def delivery(self, pieces: Sequence[Piece]) -> bytes | None:
        """What an answer delivers, whose hash goes on chain; None when there is nothing, and the price goes back."""


@runtime_checkable
class Stocked(Protocol):
    """A mechanism whose challenges take work to make: it makes some ahead, so that asking waits for none.

    Both `beacon` and its `challenge` are called in threads, several at a time.
    """

    def beacon(self) -> bytes:
        """32 random bytes that nobody saw before, for a `challenge` that is ready or soon will be."""


@runtime_checkable
class Contest(Protocol):
    """A mechanism whose miners compete over one piece of work, asked and judged together once in an epoch.

    Beside `Mechanism`, whose `challenge` and `judge` still work for a single answer: for buyers. A validator asks
    every miner in the same moment of epoch T - 1, and judges all answers when T has begun; the verdicts count for the
    weights of T (docs/decisions/0064-rounds.md).
    """

    def assign(self, seed: bytes, uid: int) -> Task:
        """What the miner `uid` is asked in this round.

        Args:
            seed: 32 bytes that nobody knew an epoch ago, the same for every validator of the market. It stands on
                chain some time before the miner is asked: where working ahead would pay, mix in a nonce of your own.
            uid: the miner's slot. Take no notice of it where all do the same work.

        """

    async def judge_round(self, seed: bytes, contenders: Sequence[Contender]) -> Sequence[Verdict]:
        """One verdict per contender, in order; never raises for what a miner sent.

        Args:
            seed: 32 bytes that nobody knew when the answers were signed, the same for every validator: draw the
                sample from it that all are measured on.
            contenders: every miner that was asked and is still there, by uid; also those that did not answer.

        """


@runtime_checkable
class Prepared(Protocol):
    """A contest with something to do before its miners are asked, such as publishing what they start from."""

    async def begin(self, epoch: int) -> None:
        """Get ready to ask; called before the miners are asked, and once more when a restart comes in between.

        Args:
            epoch: the one whose weights the round counts for: it names the round.

        Raises:
            SubnetError: it cannot be done, so nobody is asked in this round.

        """


@runtime_checkable
class Traceable(Protocol):
    """A contest whose tasks follow from their seeds, so that auditors find a validator that asks something easier.

    Without this they take the task as it stands in the evidence; `Auditable.recheck` may look at it.
    """

    def is_assigned(self, seed: bytes, uid: int, task: Task) -> bool:
        """Whether the round of this seed asks `task` of the miner `uid`; never raises for what is in the evidence.

        It is asked up to two epochs later, and a no is reason enough to accuse: say yes to what you cannot tell any
        more, as where a task names a checkpoint that is gone.
        """


def mechanism_names() -> list[str]:
    """The installed subnets, sorted."""
    return sorted(point.name for point in entry_points(group="tercet.subnets"))


def load_mechanism(name: str, **options: Any) -> Mechanism:
    """The mechanism called `name`, constructed with `options`.

    Args:
        name: an installed subnet, or `module:Class` for one that is still being written.
        options: passed to its constructor.

    Raises:
        UnknownSubnetError: nothing of that name is installed; the message lists what is.
        SubnetError: the class does not take these options, or lacks methods of `Mechanism`.

    """
    factory = _find_factory(name)
    try:
        mechanism = factory(**options)
    except TypeError as error:
        raise SubnetError(f"The subnet {name!r} does not take these options: {error}.") from error
    if not isinstance(mechanism, Mechanism):
        raise SubnetError(f"The subnet {name!r} lacks methods of Mechanism; see docs/how-to/write-a-subnet.md.")
    return mechanism


def _find_factory(name: str) -> Callable[..., Any]:
    module, colon, attribute = name.partition(":")
    found = entry_points(group="tercet.subnets", name=name)
    try:
        factory: Callable[..., Any] = getattr(import_module(module), attribute) if colon else next(iter(found)).load()
    except (StopIteration, ImportError, AttributeError) as error:
        known = ", ".join(mechanism_names()) or "none"
        why = f" ({error})" if str(error) else ""
        raise UnknownSubnetError(
            f"No subnet is called {name!r}{why}. Installed: {known}. Install a plugin with an entry point in the group "
            "'tercet.subnets', or name a class as module:Class with its folder on PYTHONPATH."
        ) from error
    if not callable(factory):
        raise SubnetError(f"{name!r} is not a class.")
    return factory
