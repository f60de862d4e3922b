"""The one queue: groups, stuck agents and incidents, ranked, with what is over quota behind the line. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tercet.swarm.inbox.cards import Card
from tercet.swarm.inbox.rules import (
    averted,
    cause_of,
    common_node,
    denied_share,
    in_flood,
    reading_seconds,
)
from tercet.swarm.inbox.stamps import is_high_risk
from tercet.swarm.inbox.state import INCIDENT, STUCK, InboxState

__all__ = ["Item", "Queue", "Shape", "build_queue", "open_container"]

Shape: TypeAlias = Literal["ask", "cause", "stuck", "incident"]


@dataclass(frozen=True, slots=True)
class Item:
    """One decision: a card, a common cause, or a container that only gathers cards and answers none of them."""

    id: str
    shape: Shape
    cards: Sequence[Card]
    """The most at stake first."""
    rank: float
    """Expected credit units averted per second of attention."""
    shown: float | None
    """Since when it is before the person; None: not yet."""
    held: bool
    """Over quota: it waits behind the line."""

    @property
    def node(self) -> str:
        """The subtree that one key pauses: the asking agent, or what all of them lie in."""
        return common_node(self.cards)

    @property
    def top(self) -> Card:
        """The card that stands for all."""
        return self.cards[0]

    @property
    def deadline(self) -> float:
        """The first of its cards'."""
        return min(card.deadline for card in self.cards)

    @property
    def is_container(self) -> bool:
        """Whether it gathers cards that are answered one by one."""
        return self.shape in {"stuck", "incident"}

    @property
    def agents(self) -> int:
        """How many ask."""
        return len({card.agent for card in self.cards})


@dataclass(frozen=True, slots=True)
class Queue:
    """What is before the person, the best use of a second first."""

    items: Sequence[Item]
    held: Sequence[Item]
    """Over quota: they come later, or their default comes first."""
    flood: bool


def build_queue(state: InboxState, now: float) -> Queue:
    """Rank what waits at a moment, in Unix seconds."""
    flood = in_flood(state.arrivals, now)
    stuck: dict[str, list[Card]] = {}
    single: dict[str, list[Card]] = {}
    for key, members in state.groups.items():
        for card in members.values():
            if state.is_stuck(card.agent) and card.id not in state.canaries:
                stuck.setdefault(STUCK + card.agent, []).append(card)
            else:
                single.setdefault(key, []).append(card)
    found = [_item(state, key, "stuck", cards) for key, cards in stuck.items()]
    found += [_item(state, key, "ask" if len(cards) == 1 else "cause", cards) for key, cards in single.items()]
    if flood:
        found = _collapse(state, found)
    return _split(state, sorted(found, key=_order), now, flood=flood)


def open_container(state: InboxState, item: Item) -> Sequence[Item]:
    """The decisions in a container, ranked; each is answered by itself."""
    inside = {card.id for card in item.cards}
    groups: dict[str, list[Card]] = {}
    for card in item.cards:
        key = cause_of(card)  # an answer to a group would reach cards that are not in here
        whole = inside >= state.groups.get(key, {}).keys()
        groups.setdefault(key if whole else card.id, []).append(card)
    found = [_item(state, key, "ask" if len(cards) == 1 else "cause", cards) for key, cards in groups.items()]
    return sorted(found, key=_order)


def _item(state: InboxState, key: str, shape: Shape, cards: Iterable[Card]) -> Item:
    ordered = sorted(cards, key=lambda card: (-card.loss, card.deadline, card.id))
    denied = denied_share(state.tally.get(ordered[0].kind, _NOBODY))
    rank = averted(ordered, denied) / reading_seconds(words_of(ordered[0]))
    return Item(key, shape, tuple(ordered), rank, state.shown.get(key), held=False)


_NOBODY: Mapping[str, int] = {}


def words_of(card: Card) -> int:
    """How many words a person reads on the card."""
    return sum(len(text.split()) for text in (card.action, card.cause, *card.evidence, *card.options)) + 12


def _order(item: Item) -> tuple[float, float, str]:
    return (-item.rank, item.deadline, item.id)


def _collapse(state: InboxState, found: Sequence[Item]) -> list[Item]:
    """In a flood everything that can be undone gathers in one incident; what cannot stays in sight."""
    apart = [item for item in found if any(not card.reversible for card in item.cards)]
    gathered = [card for item in found if all(card.reversible for card in item.cards) for card in item.cards]
    return [*apart, _item(state, INCIDENT, "incident", gathered)] if gathered else apart


def _hidden_decisions(item: Item, most: int) -> int:
    """A container is shown when the hour has room for the decisions in it as well."""
    return min(len({cause_of(card) for card in item.cards}), most) if item.is_container else 0


def _split(state: InboxState, ranked: Sequence[Item], now: float, *, flood: bool) -> Queue:
    items: list[Item] = []
    held: list[Item] = []
    showings = list(state.showings[-64:])
    for item in ranked:
        who = item.top.agent
        if item.shown is None and item.shape != "incident":
            taken = [*showings, *[(now, who)] * _hidden_decisions(item, state.quotas.an_hour)]
            if not state.quotas.may_show(taken, who, now, weighty=is_high_risk(item.top)):
                held.append(Item(item.id, item.shape, item.cards, item.rank, None, held=True))
                continue
            showings.append((now, who))
        items.append(item)
    return Queue(items, held, flood)
