"""What an inbox knows, folded from its events: what waits, what was answered, which policies hold. No clock, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Self, cast

from tercet.errors import CardError
from tercet.swarm.inbox.cards import Answer, Card, parse_card
from tercet.swarm.inbox.policies import Policy, may_cover, parse_policy
from tercet.swarm.inbox.replies import Reply
from tercet.swarm.inbox.rules import CHATTER_ASKS, Quotas, cause_of, is_chatter
from tercet.swarm.inbox.stamps import Verdict
from tercet.swarm.journal import Event

__all__ = ["INCIDENT", "KINDS", "PERSON", "QUOTA_KINDS", "STUCK", "InboxState"]

KINDS = (
    "ask.raised", "ask.shown", "ask.answered", "ask.defaulted", "ask.doubted", "ask.decided", "ask.used",
    "policy.made", "policy.revoked", "run.forked", "crew.formed", "budget.set", "budget.added",
)  # fmt: skip
"""The events that an inbox is rebuilt from."""
QUOTA_KINDS = KINDS[-3:]
"""Those that others write."""
PERSON = "person"
INCIDENT, STUCK = "incident", "stuck:"
"""Ids of containers: a flood's, and a chattering agent's, followed by its node path."""
_KEPT_VERDICTS = 400


class InboxState:
    """A fold over events: `apply` in order; the rest only reads."""

    def __init__(self) -> None:
        self.open: dict[str, Card] = {}
        """Raised and not answered, by id."""
        self.groups: dict[str, dict[str, Card]] = {}
        """Of the open cards, those that wait for the person, by common cause."""
        self.canaries: set[str] = set()
        self.raised_seq: dict[str, int] = {}
        """Open card to the event that raised it: an answer covers what was on the screen, not what came since."""
        self.answers: dict[str, Answer] = {}
        self.used: dict[str, str] = {}
        """Card to the idempotency key of the call that its approval was used for."""
        self.policies: dict[str, Policy] = {}
        """Those that were not revoked; they may be over."""
        self.arrivals: list[float] = []
        """When decisions came to the person's queue, ascending; a group counts once."""
        self.asked: dict[str, list[float]] = {}
        """Agent to its last asks that came to the queue."""
        self.shown: dict[str, float] = {}
        """Group or container that is before the person, to since when."""
        self.showings: list[tuple[float, str]] = []
        """When the person's attention was taken, and by whom: shown, from the decision on decided. Node paths."""
        self.quotas = Quotas()
        self.verdicts: list[Verdict] = []
        """The person's last answers."""
        self.tally: dict[str, dict[str, int]] = {}
        """Class to the person's answers: how many yes, no, and words."""
        self.decisions = 0
        """Of the person; one for a group."""
        self.raised = 0
        """Asks of agents, whoever answered them."""
        self.last_answer = 0.0
        """When the person last decided."""
        self.seq = 0

    @classmethod
    def of(cls, events: Iterable[Event]) -> Self:
        """The state after these events."""
        state = cls()
        for event in events:
            state.apply(event)
        return state

    def apply(self, event: Event) -> None:
        """One event more; others than `KINDS`, and bodies that cannot be read, are passed over."""
        self.seq = max(self.seq, event.seq)
        if (change := _CHANGES.get(event.kind)) is not None:
            try:
                change(self, event)
            except (CardError, KeyError, TypeError, ValueError):
                return  # written by another version: what can be read still counts

    def waiting(self) -> Iterator[Card]:
        """Open cards that wait for the person, canaries among them."""
        for members in self.groups.values():
            yield from members.values()

    def covering(self, card: Card, now: float) -> Policy | None:
        """The policy that answers the card; a no goes before a yes."""
        found = [policy for policy in self.policies.values() if may_cover(policy, card, now)]
        return min(found, key=lambda policy: policy.choice == "yes", default=None)

    def is_stuck(self, agent: str) -> bool:
        """Whether an agent asked three times within ten minutes and still waits."""
        return is_chatter(self.asked.get(agent, ()))

    def find(self, name: str) -> Mapping[str, Card]:
        """The cards that wait under a card's or a group's id, or the one that begins with `name`.

        Raises:
            CardError: none or several do.

        """
        if members := self.groups.get(name):
            return members
        if name == INCIDENT or name.startswith(STUCK):
            raise CardError(f"{name!r} gathers cards and answers none. Answer its cards one by one, or pause who asks.")
        ids = {card.id: key for key, members in self.groups.items() for card in members.values()}
        if name in ids:
            return {name: self.open[name]}
        keys = [key for key in {*self.groups, *ids} if name and key.startswith(name)]
        if len(keys) == 1:
            return self.find(keys[0])
        why = "Several cards begin so" if keys else "It was answered, withdrawn, or its deadline passed"
        raise CardError(f"No card {name!r} waits. {why}; tercet inbox --json lists what waits.")

    def _close(self, name: str) -> tuple[Card, bool] | None:
        card = self.open.pop(name, None)
        if card is None:
            return None
        key, canary = cause_of(card), name in self.canaries
        if (members := self.groups.get(key)) is not None:
            members.pop(name, None)
            if not members:
                del self.groups[key]
                self.shown.pop(key, None)
        if not self.groups:
            self.shown.pop(INCIDENT, None)
        if (stuck := STUCK + card.agent) in self.shown and all(one.agent != card.agent for one in self.waiting()):
            del self.shown[stuck]
        self.canaries.discard(name)
        self.raised_seq.pop(name, None)
        return card, canary


def _raised(state: InboxState, event: Event) -> None:
    card, to, at = parse_card(event.body["card"]), str(event.body.get("to", PERSON)), float(event.body["at"])
    if card.id not in state.open and to != "canary" and not event.body.get("again"):
        state.raised += 1
    state.answers.pop(card.id, None)
    state.open[card.id] = card
    if to not in {PERSON, "canary"}:
        return
    state.raised_seq.setdefault(card.id, event.seq)
    members = state.groups.setdefault(cause_of(card), {})
    if to == "canary":
        state.canaries.add(card.id)
    elif card.id not in members:
        if not members and not state.is_stuck(card.agent):
            state.arrivals.append(at)
        state.asked[card.agent] = [*state.asked.get(card.agent, ()), at][-CHATTER_ASKS:]
    members[card.id] = card


def _shown(state: InboxState, event: Event) -> None:
    state.shown[str(event.body["group"])] = float(event.body["at"])
    recent = [one for one in state.showings if one[0] > float(event.body["at"]) - 7200]
    state.showings = [*recent, (float(event.body["at"]), _who(event))]


def _answered(state: InboxState, event: Event) -> None:
    body = event.body
    name, choice, by = str(body["card"]), _reply(body["answer"]), str(body.get("by", "default"))
    closed = state._close(name)  # noqa: SLF001 - the fold's own
    if closed is None:
        return
    card, canary = closed
    at, dwell = float(body["at"]), float(body.get("dwell", 0.0))
    if by == PERSON and body.get("counts", True):
        state.verdicts = [*state.verdicts[-_KEPT_VERDICTS:], Verdict(card.kind, choice, dwell, card.loss, canary)]
    if canary:
        return
    expires = float(body.get("expires", at))
    why, words = str(body.get("why", "")), str(body.get("words", ""))
    state.answers[name] = Answer(name, choice, by, card.digest, at, expires, why, dwell, words)
    if by == PERSON:
        counts = state.tally.setdefault(card.kind, {"yes": 0, "no": 0})
        counts[choice] = counts.get(choice, 0) + 1
    if policy := state.policies.get(by.removeprefix("policy:")):
        risked = card.loss if choice == "yes" else 0
        state.policies[policy.id] = replace(policy, used=policy.used + risked, count=policy.count + 1)


def _decided(state: InboxState, event: Event) -> None:
    state.decisions += 1
    # Attention is spent when the decision is made; one that was opened out of a container was never shown before.
    taken = (event.body.get("shown"), _who(event))
    if taken in state.showings:
        state.showings.remove(taken)
    state.showings.append((float(event.body["at"]), taken[1]))
    state.last_answer = float(event.body["at"])


def _who(event: Event) -> str:
    """Whose decision it was: the agent's node path; in older journals its crew's."""
    return str(event.body.get("agent") or event.body.get("crew", ""))


def _crew_formed(state: InboxState, event: Event) -> None:
    state.quotas.crews.add(str(event.body["crew"]))


def _limited(state: InboxState, event: Event) -> None:
    node, limit = str(event.body["node"]), event.body.get("attention")
    if limit is None:
        state.quotas.limits.pop(node, None)
    else:
        state.quotas.limits[node] = float(limit)


def _raised_limit(state: InboxState, event: Event) -> None:
    node = str(event.body["node"])
    if node in state.quotas.limits:
        state.quotas.limits[node] += float(event.body.get("attention") or 0)


def _used(state: InboxState, event: Event) -> None:
    state.used[str(event.body["card"])] = str(event.body.get("key", ""))


def _policy_made(state: InboxState, event: Event) -> None:
    policy = parse_policy(event.body["policy"])
    state.policies[policy.id] = policy


def _policy_revoked(state: InboxState, event: Event) -> None:
    named: Any = event.body["policy"]
    state.policies.pop(str(named["id"] if isinstance(named, Mapping) else named), None)


def _forked(state: InboxState, _event: Event) -> None:
    """A yes up to an amount is one run's: in its fork as well it would be twice the amount, and revoked in one of them."""
    state.policies = {name: policy for name, policy in state.policies.items() if policy.choice == "no"}


def _reply(text: Any) -> Reply:
    if text not in {"yes", "no", "words"}:
        raise ValueError(text)
    return cast("Reply", text)


_CHANGES: Mapping[str, Callable[[InboxState, Event], None]] = {
    "ask.raised": _raised,
    "ask.shown": _shown,
    "ask.answered": _answered,
    "ask.defaulted": _answered,
    "ask.decided": _decided,
    "ask.used": _used,
    "policy.made": _policy_made,
    "policy.revoked": _policy_revoked,
    "run.forked": _forked,
    "crew.formed": _crew_formed,
    "budget.set": _limited,
    "budget.added": _raised_limit,
}
