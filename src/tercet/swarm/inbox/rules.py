"""What keeps an inbox short: common causes, floods, chatter, quotas, rank. Pure; time comes in as a value."""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from tercet.swarm.inbox.cards import Card, under

__all__ = [
    "CEILING_AN_HOUR",
    "CHATTER_ASKS",
    "DECISIONS_AN_HOUR",
    "WINDOW",
    "Quotas",
    "averted",
    "cause_of",
    "common_node",
    "in_flood",
    "is_chatter",
    "may_show",
    "reading_seconds",
    "share_of",
]

DECISIONS_AN_HOUR = 6
"""One alarm in ten minutes is "very likely acceptable" (Bransby and Jenkinson 1998, EEMUA 191); flat in the number of agents."""
CEILING_AN_HOUR = 12
WINDOW = 600.0
"""Seconds over which floods and chatter are counted."""
FLOOD_ENTER, FLOOD_LEAVE = 10, 5
"""A flood starts above so many new decisions in a window and is over below so many (ISA-18.2)."""
CHATTER_ASKS = 3
WORDS_A_SECOND = 4.0
"""A person's silent reading, about 240 words a minute."""
DECIDE_SECONDS = 1.35
"""To make up one's mind (keystroke-level model, Card, Moran and Newell 1980: M)."""


def cause_of(card: Card) -> str:
    """Key of the group that a card belongs to: same class, tool and cause are one card for all agents.

    What cannot be undone, and what no common cause made, stands alone: its id.
    """
    if not card.cause or not card.reversible:
        return card.id
    return "c" + hashlib.sha256(f"{card.kind}\x00{card.tool}\x00{card.cause}".encode()).hexdigest()[:9]


def in_flood(times: Sequence[float], now: float) -> bool:
    """Whether a flood is on: entered above 10 new decisions in 10 minutes, left below 5.

    Args:
        times: when decisions came, ascending.
        now: until when to look.

    """
    end = bisect_right(times, now)

    def recent(at: float) -> int:
        return bisect_right(times, at, hi=end) - bisect_right(times, at - WINDOW, hi=end)

    entered = next((times[i] for i in reversed(range(end)) if recent(times[i]) > FLOOD_ENTER), None)
    if entered is None:
        return False
    # The count only falls when a time drops out of the window.
    drops = [at + WINDOW for at in times[bisect_left(times, entered - WINDOW) : end] if entered < at + WINDOW <= now]
    return not any(recent(at) < FLOOD_LEAVE for at in drops)


def is_chatter(times: Sequence[float]) -> bool:
    """Whether an agent's last three asks came within ten minutes."""
    return len(times) >= CHATTER_ASKS and times[-1] - times[-CHATTER_ASKS] <= WINDOW


def share_of(crews: int, decisions: int = DECISIONS_AN_HOUR) -> int:
    """Decisions an hour that a crew may ask for: its part of all, at least one."""
    return max(1, math.ceil(decisions / max(1, crews)))


def may_show(
    shown: Sequence[tuple[float, str]], node: str, now: float, *, crews: int, decisions: int, weighty: bool = False,
    limits: Mapping[str, float] = MappingProxyType({}),
) -> bool:  # fmt: skip
    """Whether the next decision that `node` asks for may be put before the person.

    A crew over its share waits while others need the hour, and one over a limit that the person set waits in any case;
    except with what weighs much. Nobody gets past the ceiling.

    Args:
        shown: when a decision was shown, and whose: node paths.
        node: who asks.
        now: Unix seconds.
        crews: how many there are.
        decisions: the run's decisions an hour; the ceiling is twice as many.
        weighty: the decision cannot be undone, or much is lost if it is wrong.
        limits: decisions an hour that crews and agents may ask for, by node path.

    """
    hour = [whose for at, whose in shown if at > now - 3600]
    if len(hour) >= decisions * CEILING_AN_HOUR // DECISIONS_AN_HOUR:
        return False
    if weighty:
        return True

    def taken(above: str) -> int:
        return sum(under(whose, above) for whose in hour)

    parts = node.split("/")
    crew, own = "/".join(parts[:2]), ["/".join(parts[: end + 1]) for end in range(1, len(parts))]
    if any(taken(each) >= limits[each] for each in own if each in limits):
        return False
    return len(hour) < decisions or taken(crew) < limits.get(crew, share_of(crews, decisions))


@dataclass(slots=True)
class Quotas:
    """Who shares the person's attention, and how much of it anybody may take; folded from a run's journal."""

    crews: set[str] = field(default_factory=set)
    limits: dict[str, float] = field(default_factory=dict)
    """Decisions an hour, by node path; `run` is the whole."""

    @property
    def an_hour(self) -> int:
        """Decisions of the run: at least one, since what cannot be undone is decided by nobody else."""
        return max(1, int(self.limits.get("run", DECISIONS_AN_HOUR)))

    def may_show(self, shown: Sequence[tuple[float, str]], node: str, now: float, *, weighty: bool) -> bool:
        """See `may_show`."""
        return may_show(
            shown, node, now, crews=len(self.crews), decisions=self.an_hour, weighty=weighty, limits=self.limits
        )


def reading_seconds(words: int) -> float:
    """What it costs a person to read so many words and decide."""
    return words / WORDS_A_SECOND + DECIDE_SECONDS


def averted(cards: Sequence[Card], denied: float) -> float:
    """Credit units that looking is expected to save, against the default.

    Args:
        cards: one group.
        denied: share of this class that the person said no to, between 0 and 1.

    """
    wrong = denied if cards[0].default == "yes" else 1 - denied
    return sum(max(card.loss, 1) for card in cards) * wrong


def common_node(cards: Sequence[Card] | Sequence[str]) -> str:
    """Node path of the smallest subtree that all the asking agents lie in."""
    paths = [(card if isinstance(card, str) else card.agent).split("/") for card in cards]
    shared = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return "/".join(shared) or "run"


def denied_share(answers: Mapping[str, int]) -> float:
    """Of a class's answers, the share of no, with one of each assumed beforehand."""
    return (answers.get("no", 0) + 1) / (answers.get("no", 0) + answers.get("yes", 0) + 2)
