"""The inbox of a running run. Here is the person's side: answers, and policies that answer the rest; `asks` is the agents'."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tercet.errors import CardError
from tercet.swarm.inbox.asks import Asks
from tercet.swarm.inbox.cards import Card, Choice, crew_of
from tercet.swarm.inbox.policies import Policy, Scope, validate_scope
from tercet.swarm.inbox.replies import Reply, validate_words
from tercet.swarm.inbox.rules import cause_of
from tercet.swarm.inbox.stamps import build_canary, canary_is_due, least_dwell
from tercet.swarm.inbox.state import PERSON

__all__ = ["Decision", "Inbox"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of an answer."""

    status: Literal["answered", "again"]
    """again: it came too quickly for what is at stake, nothing was answered."""
    cards: Sequence[str] = ()
    policy: str = ""
    """Id of the policy it made."""
    wait: float = 0.0
    """Seconds that the card has to be looked at longer."""
    canary: bool = False
    """It was a test card: nothing was done."""


class Inbox(Asks):
    """One for a run; one writer."""

    async def answer(
        self, name: str, choice: Reply, *, words: str = "", scope: Scope | None = None, seen: int | None = None,
        dwell: float | None = None, by: str = PERSON,
    ) -> Decision:  # fmt: skip
        """Answer a card or all of a common cause; returns when it is on the disk.

        Args:
            name: id of the card or group, or how it begins.
            choice: yes or no; words, to a question.
            words: what is said to a question, such as one of its options.
            scope: makes a policy of a yes or a no.
            seen: the newest event that whoever answers had seen: cards raised since are not covered.
            dwell: seconds that the card was looked at; since it was shown by default.
            by: who.

        Raises:
            CardError: no such card waits, it is not answered so, or the scope is none.

        """
        now = self.clock.now()
        members = self.state.find(name)
        cards = [card for card in members.values() if seen is None or self.state.raised_seq[card.id] <= seen]
        if not cards:
            raise CardError(f"The cards of {name!r} came after what you saw. Look again, then answer.")
        _validate_reply(cards[0], choice, words, scope)
        key = cause_of(cards[0])
        looked = now - self.state.shown.get(key, now - 3600) if dwell is None else dwell
        if choice != "no" and (short := self._too_quick(cards, looked)) > 0:
            self._record.note("ask.doubted", {"card": cards[0].id, "group": key, "dwell": looked, "at": now}, by)
            return Decision("again", wait=short)
        policy = self._build_policy(scope, choice, cards, by) if scope is not None and choice != "words" else None
        canary, shown = cards[0].id in self.state.canaries, self.state.shown.get(key)
        for card in cards:
            first = card is cards[0]  # a group is one verdict of the person
            body = {"dwell": looked, "group": key, "counts": first, "policy": policy.id if policy else ""}
            body |= {"words": words} if words else {}
            self._record.settle("ask.answered", card, choice, by, body)
        if policy is not None:
            self._record.note("policy.made", {"policy": policy.to_json(), "at": now}, by)
            self._cover(policy)
        who = next((agent for at, agent in self.state.showings if at == shown), cards[0].agent)
        decided = {
            "group": key, "cards": len(cards), "answer": choice, "dwell": looked, "canary": canary, "shown": shown,
            "agent": who, "crew": crew_of(who), "at": now,
        }  # fmt: skip
        self.state.apply(await self.journal.append("ask.decided", decided, actor=by))
        self._release(cards)
        self._plant(cards[0].agent, now)
        self.tick()
        return Decision("answered", [card.id for card in cards], policy.id if policy else "", canary=canary)

    def option(self, name: str, number: int) -> str:
        """The answer that a question names at this place, from 1 on.

        Raises:
            CardError: no such card waits, or it names fewer.

        """
        card = next(iter(self.state.find(name).values()))
        if not 0 < number <= len(card.options):
            has = f"has {len(card.options)} options" if card.options else "names no options"
            raise CardError(f"Card {card.id} {has}; there is no {number}. tercet inbox --json lists what waits.")
        return card.options[number - 1]

    async def make_policy(self, scope: Scope, choice: Choice = "yes", *, by: str = PERSON) -> Policy:
        """A policy that nobody asked for, such as `tercet run --yes-to network`.

        Raises:
            CardError: it is not bounded.

        """
        policy = self._build_policy(scope, choice, (), by)
        made = await self.journal.append("policy.made", {"policy": policy.to_json(), "at": self.clock.now()}, actor=by)
        self.state.apply(made)
        self._cover(policy)
        self.tick()
        return policy

    async def revoke(self, name: str, *, by: str = PERSON) -> Policy:
        """End a policy now; what it let through stays done.

        Raises:
            CardError: there is no such policy.

        """
        found = [policy for policy in self.state.policies.values() if name and policy.id.startswith(name)]
        if len(found) != 1:
            raise CardError(f"{name!r} names {len(found)} policies. tercet inbox policies lists them.")
        body = {"policy": found[0].id, "by": by, "at": self.clock.now()}
        self.state.apply(await self.journal.append("policy.revoked", body, actor=by))
        return found[0]

    def _too_quick(self, cards: Sequence[Card], looked: float) -> float:
        return max(least_dwell(self.state.verdicts, card, self.high_loss) for card in cards) - looked

    def _build_policy(self, scope: Scope, choice: Choice, cards: Sequence[Card], by: str) -> Policy:
        now = self.clock.now()
        validate_scope(scope, now)
        if any(not card.reversible for card in cards) and choice == "yes":
            raise CardError("What cannot be undone is approved one by one, never by a policy. Answer without --for.")
        each = scope.each if scope.each is not None else max((card.loss for card in cards), default=scope.up_to)
        seed = f"{self._seed}/{self.state.seq}/{scope.kind}/{now}"
        name = "p" + hashlib.sha256(seed.encode()).hexdigest()[:7]
        return Policy(name, scope.kind, choice, each, scope.up_to, scope.until, scope.node, scope.tool, scope.cause, by)

    def _cover(self, policy: Policy) -> None:
        """Answer what waits and a new policy covers, in the order in which it was asked."""
        covered = []
        for card in sorted(self.state.waiting(), key=lambda card: self.state.raised_seq[card.id]):
            found = self.state.covering(card, self.clock.now())
            if found is not None and found.id == policy.id and card.id not in self.state.canaries:
                self._record.settle("ask.answered", card, policy.choice, f"policy:{policy.id}", {})
                covered.append(card)
        self._release(covered)

    def _plant(self, agent: str, now: float) -> None:
        if canary_is_due(self._seed, self.state.decisions, self.canary_every):
            card = build_canary(self._seed, self.state.decisions, agent, now)
            self._record.note("ask.raised", {"card": card.to_json(), "to": "canary", "at": now})


def _validate_reply(card: Card, choice: Reply, words: str, scope: Scope | None) -> None:
    """An act is approved or not; a question has an answer, and its own where it names options."""
    if choice != "words":
        if words:
            raise CardError("An answer is yes, no, or words, and not two of them.")
        if card.options:
            raise CardError(
                f"Card {card.id} asks which one, so yes and no do not answer it. Choose, or say it in words."
            )
        return
    if not card.is_question:
        raise CardError(f"Card {card.id} asks for an act: answer yes or no. Only a question is answered in words.")
    if scope is not None:
        raise CardError("Words answer one question, so there is no policy of them. Answer without --for.")
    validate_words(words)
