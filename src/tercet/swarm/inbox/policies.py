"""Answers that hold for a class: bounded in credit and in time, revocable, never a yes to what cannot be undone. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from tercet.errors import CardError
from tercet.swarm.inbox.cards import MEMBRANE, Card, Choice, under

__all__ = ["Policy", "Scope", "may_cover", "parse_policy", "validate_scope"]

LONGEST_POLICY_SECONDS = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Scope:
    """The bounds that turn one answer into a policy: for this class up to `up_to` until `until`."""

    kind: Annotated[str, Field(max_length=200)]
    up_to: Annotated[int, Field(ge=0)]
    """Credit units that all calls under it may lose together."""
    until: float
    """Unix seconds."""
    each: Annotated[int, Field(ge=0)] | None = None
    """Credit units that one call may lose; None: no more than the card that was answered."""
    node: str = "run"
    """Whose calls."""
    tool: str = ""
    """Only this tool; empty: any."""
    cause: str = ""
    """Only this cause; empty: any."""


@dataclass(frozen=True, slots=True)
class Policy:
    """An answer that holds for a class: bounded, until a moment, revocable, written into the journal."""

    id: Annotated[str, Field(max_length=64)]
    kind: str
    """The class; a policy for `network` holds for `network:example.org` as well."""
    choice: Choice
    each: Annotated[int, Field(ge=0)]
    """Credit units that one call may lose at most: what the person had on the card."""
    up_to: Annotated[int, Field(ge=0)]
    """Credit units that all calls under it may lose together."""
    until: float
    node: str = "run"
    tool: str = ""
    """Only this tool; empty: any."""
    cause: str = ""
    """Only asks with this cause; empty: any."""
    by: str = "person"
    used: int = 0
    """Credit units at risk through calls that it let through."""
    count: int = 0
    """Asks that it answered."""

    def to_json(self) -> dict[str, Any]:
        """As it stands in the journal; `used` and `count` follow from the answers."""
        found = asdict(self)
        del found["used"], found["count"]
        return {**found, "class": self.kind}


def may_cover(policy: Policy, card: Card, now: float) -> bool:
    """Whether the policy answers this card. What cannot be undone is never answered by a policy's yes."""
    fits = (
        now < policy.until
        and (card.kind == policy.kind or card.kind.startswith(policy.kind + ":"))
        and under(card.agent, policy.node)
        and policy.tool in {"", card.tool}
        and policy.cause in {"", card.cause}
    )
    if card.options:
        return False  # yes and no are no answers to it
    if policy.choice == "no":
        return fits
    return fits and card.reversible and card.loss <= policy.each and policy.used + card.loss <= policy.up_to


def parse_policy(raw: Any) -> Policy:
    """Read a policy from a journal; what it let through follows from the answers.

    Raises:
        CardError: it is none.

    """
    try:
        return replace(_POLICY.validate_python(raw), used=0, count=0)
    except ValidationError as error:
        raise CardError(f"This is no policy: {error.errors()[0]['msg']}.") from error


_POLICY = TypeAdapter(Policy)


def validate_scope(scope: Scope, now: float) -> None:
    """A policy is bounded in money and in time.

    Raises:
        CardError: it is not.

    """
    if scope.kind.partition(":")[0] not in MEMBRANE:
        raise CardError(f"{scope.kind!r} is no class that asks. Known: {', '.join(MEMBRANE)}.")
    if scope.up_to < 0 or (scope.each is not None and scope.each < 0):
        raise CardError("A policy's bounds are 0 or more credit. Say --up-to 2, for example.")
    if not now < scope.until <= now + LONGEST_POLICY_SECONDS:
        raise CardError("A policy ends, within a week and not before now. Say --until 1h, for example.")
