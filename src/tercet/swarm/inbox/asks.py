"""The agents' side of a run's inbox: they ask and wait, spend what was approved, and silence answers in time.

`ask` parks only who asks. Everything is written into the journal before it counts, and is rebuilt from there, so an ask
outlives the kernel: who asks again after a `kill -9` finds its answer, or its place in the queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeAlias

from tercet.errors import ApprovalError
from tercet.swarm.inbox.alarm import Alarm
from tercet.swarm.inbox.cards import Answer, Card, Choice, crew_of, may_absorb, under, validate_card
from tercet.swarm.inbox.clock import Clock, WallClock
from tercet.swarm.inbox.policies import Policy
from tercet.swarm.inbox.queue import Queue, build_queue
from tercet.swarm.inbox.record import Record
from tercet.swarm.inbox.stamps import CANARY_EVERY, HIGH_LOSS
from tercet.swarm.inbox.state import KINDS, PERSON, InboxState
from tercet.swarm.journal import Journal, read_events

__all__ = ["Asks", "Lead"]

Lead: TypeAlias = Callable[[Card], Awaitable[str | None]]
"""A crew lead: says `yes`, or something else, which is no yes; None passes the card on to the person."""
_OVER_QUOTA = "it was over quota until its time was up"
HELD_SECONDS = 30.0
"""How often what is held back is looked at again."""


class Asks:
    """What agents do with the inbox; `Inbox` adds what the person does."""

    def __init__(
        self, journal: Journal, *, clock: Clock | None = None, leads: Mapping[str, Lead] | None = None,
        high_loss: int = HIGH_LOSS, canary_every: int = CANARY_EVERY,
    ) -> None:  # fmt: skip
        """Rebuild it from the journal.

        Args:
            journal: of the run.
            clock: the time; this machine's by default.
            leads: node path of a crew to its lead, who is asked first.
            high_loss: credit units from which an approval is high risk.
            canary_every: one test card after about so many answers; 0 for none.

        """
        self.journal = journal
        self.clock = clock or WallClock()
        self.leads = dict(leads or {})
        self.high_loss = high_loss
        self.canary_every = canary_every
        self.state = InboxState.of(read_events(journal.path, kinds=KINDS))
        self._record = Record(journal, self.state, self.clock, high_loss)
        self._alarm = Alarm(self.clock, self.tick)
        self._seed = journal.path.parent.name
        self._parked: dict[str, asyncio.Future[Answer]] = {}

    async def ask(self, card: Card) -> Answer:
        """Wait for an answer; only the caller waits.

        A policy answers at once, then the crew's lead may; else it waits for the person, or for its deadline.
        The same ask has one answer: whoever asks again after a resume gets what was answered.

        Raises:
            CardError: it names too little, or comes from inside the sandbox.

        """
        validate_card(card)
        if (known := self._standing(card)) is not None:
            return known
        if not self._waits(card.id):
            if (answer := await self._absorb(card)) is not None:
                return answer
            self._record.raised(card, PERSON)
        parked = self._parked.get(card.id)
        if parked is None:
            parked = self._parked[card.id] = asyncio.get_running_loop().create_future()
        self.tick()
        if not parked.done():
            self._record.mark(card, "waiting", f"for the person: {card.action}")
        answer = await asyncio.shield(parked)
        if answer.by != "kernel" and not self.awaits(card.agent):
            self._record.mark(card, "working")
        return answer

    def queue(self) -> Queue:
        """What is before the person now."""
        return build_queue(self.state, self.clock.now())

    def awaits(self, node: str) -> bool:
        """Whether this agent waits for the person: meanwhile no clock of its task runs."""
        return any(card.agent == node and card.id not in self.state.canaries for card in self.state.waiting())

    async def use(self, answer: Answer, digest: str, key: str = "") -> None:
        """Spend an approval, just before the call; returns when that is on the disk.

        Args:
            answer: what `ask` returned.
            digest: of the call that is about to be made.
            key: its idempotency key: the same call may come again after a resume, another may not.

        Raises:
            ApprovalError: it was a no, is for another call, is over, or was used.

        """
        known = self.state.answers.get(answer.card)
        if known is None or not known.yes:
            raise ApprovalError(f"Card {answer.card} was not approved, so its call is not made.")
        if known.digest != digest:
            raise ApprovalError(
                f"Card {answer.card} approves the call {known.digest[:12]}, not {digest[:12]}. Ask for this one."
            )
        if (used := self.state.used.get(answer.card)) is not None:
            if used == key:
                return
            raise ApprovalError(f"The approval of card {answer.card} was used. Ask again for another call.")
        now = self.clock.now()
        if now > known.expires:
            raise ApprovalError(
                f"The approval of card {answer.card} is over since {now - known.expires:.0f} s. Ask again."
            )
        self.state.used[answer.card] = key  # before the disk has it: nobody else may use it meanwhile
        body = {"card": answer.card, "digest": digest, "key": key, "at": now}
        self.state.apply(await self.journal.append("ask.used", body))

    def withdraw(self, node: str, why: str) -> int:
        """Deny what a subtree waits for, since it was ended; how many cards that were."""
        cards = [card for card in list(self.state.waiting()) if under(card.agent, node)]
        for card in cards:
            self._record.settle("ask.answered", card, "no", "kernel", {"why": why})
        self._release(cards)
        return len(cards)

    def tick(self) -> None:
        """Let time do its work: deadlines pass, what has room is shown. Called by itself when something is due."""
        self._record.hear_of_quotas()
        now = self.clock.now()
        late = [card for card in self.state.waiting() if card.deadline <= now]
        held = {card.id for item in self.queue().held for card in item.cards} if late else set()
        for card in late:
            why = _OVER_QUOTA if card.id in held else "nobody answered in time"
            self._record.settle("ask.defaulted", card, card.default, "default", {"why": why})
        self._release(late)
        found = self.queue()
        for item in found.items:
            if item.shown is None:
                who = item.top.agent
                body = {"group": item.id, "agent": who, "crew": crew_of(who), "shape": item.shape, "at": now}
                self._record.note("ask.shown", body)
        due = min((card.deadline for card in self.state.waiting()), default=0.0)
        again = bool(found.held or found.flood)
        self._alarm.set(min(due, now + HELD_SECONDS) if due and again else due)

    def close(self) -> None:
        """Stop the timer; who waits is left waiting, and asks again after the resume."""
        self._alarm.stop()

    def _standing(self, card: Card) -> Answer | None:
        known = self.state.answers.get(card.id)
        if known is None or known.digest != card.digest:
            return None
        # A yes to a question lets nothing happen, so it does not run out. One that was used may have been acted on, and
        # nobody is asked again for what is not done twice; but a payment is, when it was not made: under its own key.
        used = card.id in self.state.used and card.kind != "money"
        return known if not known.yes or card.is_question or used or self.clock.now() <= known.expires else None

    def _waits(self, name: str) -> bool:
        return name in self.state.raised_seq

    async def _absorb(self, card: Card) -> Answer | None:
        """What policies and the crew's lead answer before a person is asked."""
        if (policy := self.state.covering(card, self.clock.now())) is not None:
            return self._by_policy(card, policy)
        lead = self.leads.get(card.crew)
        if lead is None or not may_absorb(card, self.high_loss):
            return None
        self._record.raised(card, f"lead:{card.crew}")
        words = await lead(card)
        if words is None or self._waits(card.id):
            return None
        said: Choice = "yes" if words == "yes" else "no"
        self._record.settle("ask.answered", card, said, f"lead:{card.crew}", {"why": words})
        return self.state.answers[card.id]

    def _by_policy(self, card: Card, policy: Policy) -> Answer:
        if card.id not in self.state.open:
            self._record.raised(card, f"policy:{policy.id}")
        self._record.settle("ask.answered", card, policy.choice, f"policy:{policy.id}", {})
        return self.state.answers[card.id]

    def _release(self, cards: Iterable[Card]) -> None:
        for card in cards:
            parked = self._parked.pop(card.id, None)
            answer = self.state.answers.get(card.id)
            if parked is not None and answer is not None and not parked.done():
                parked.set_result(answer)
