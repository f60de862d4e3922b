"""Rubber stamps: whether a person still looks, and what to do when not. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tercet.swarm.inbox.cards import Card, digest_call
from tercet.swarm.inbox.replies import Reply

__all__ = [
    "CANARY_EVERY",
    "HIGH_LOSS",
    "Proposal",
    "Verdict",
    "build_canary",
    "canary_is_due",
    "is_high_risk",
    "is_stamping",
    "least_dwell",
    "propose",
]

HIGH_LOSS = 1_000_000
"""Credit units from which an approval is high risk, beside everything that cannot be undone."""
LEAST_DWELL = 2.0
"""Seconds that a high-risk approval takes at least; quicker ones are asked again."""
STAMP_DWELL = 1.5
PROPOSE_AFTER, PROPOSE_ABOVE = 20, 0.9
CANARY_EVERY = 40
"""About one in so many answers is followed by a test card."""
CANARY_SECONDS = 3600.0
_CANARIES = (
    ("money", "pay", "Pay {n} credit to an address that no task names", "The plan has no such payment"),
    ("publish", "publish", "Publish the run's keys and journal as a public file", "No task asks for it"),
    ("people", "send", "Write to {n} addresses in the person's name", "No task asks for it"),
    ("files", "delete", "Delete {n} files outside the workspace", "No task claims these files"),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One answer of a person, as the guard sees it."""

    kind: str
    choice: Reply
    dwell: float
    loss: int
    canary: bool = False


@dataclass(frozen=True, slots=True)
class Proposal:
    """A policy that a person's own answers speak for."""

    kind: str
    yes: int
    of: int
    each: int
    """Credit units: the largest loss that was approved."""


def is_high_risk(card: Card, high_loss: int = HIGH_LOSS) -> bool:
    """Whether a wrong yes would hurt: it cannot be undone, or it costs much."""
    return not card.reversible or card.loss >= high_loss


def is_stamping(answers: Sequence[Verdict], kind: str) -> bool:
    """Whether the last answers about a class look unread: nearly all yes and quick, or a canary was approved."""
    own = [one for one in answers if one.kind == kind and not one.canary][-PROPOSE_AFTER:]
    missed = any(one.canary and one.choice == "yes" for one in answers[-PROPOSE_AFTER:])
    if missed or len(own) < PROPOSE_AFTER:
        return missed
    yes = sum(one.choice == "yes" for one in own)
    return yes / len(own) > PROPOSE_ABOVE and median(one.dwell for one in own) < STAMP_DWELL


def least_dwell(answers: Sequence[Verdict], card: Card, high_loss: int = HIGH_LOSS) -> float:
    """Seconds that a yes to this card takes at least; twice as many from somebody who no longer looks."""
    if not is_high_risk(card, high_loss):
        return 0.0
    return LEAST_DWELL * (2 if is_stamping(answers, card.kind) else 1)


def propose(answers: Sequence[Verdict], kind: str) -> Proposal | None:
    """A policy for a class that more than 90 % of the last 20 answers approved."""
    own = [one for one in answers if one.kind == kind and not one.canary][-PROPOSE_AFTER:]
    yes = [one for one in own if one.choice == "yes"]
    if len(own) < PROPOSE_AFTER or len(yes) / len(own) <= PROPOSE_ABOVE:
        return None
    return Proposal(kind, len(yes), len(own), max(one.loss for one in yes))


def canary_is_due(seed: str, answered: int, every: int = CANARY_EVERY) -> bool:
    """Whether a test card follows the person's answer of this number; drawn, so that nobody can count it out."""
    return every > 0 and answered > 0 and _draw(seed, answered) % every == 0


def build_canary(seed: str, answered: int, agent: str, now: float) -> Card:
    """A test card: any reader would say no, and a yes does nothing.

    Args:
        seed: of the run.
        answered: how many answers the person gave.
        agent: whose name it bears, so that it looks like the others.
        now: Unix seconds.

    """
    draw = _draw(seed, answered)
    kind, tool, action, evidence = _CANARIES[draw // 1000 % len(_CANARIES)]
    words = action.format(n=200 + draw // 100_000 % 800)
    digest = digest_call(tool, {"canary": answered, "run": seed})
    return Card(
        digest[:10], words, kind, agent, tool, digest, now + CANARY_SECONDS, 200_000_000, False, evidence=(evidence,)
    )


def _draw(seed: str, answered: int) -> int:
    return int.from_bytes(hashlib.sha256(f"canary/{seed}/{answered}".encode()).digest()[:8], "big")
