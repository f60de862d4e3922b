"""The guard: money, acts that cannot be undone and the shared memory are closed to what nobody has checked.

An act rests on the claims that it names and on all that its agent has read. Where any of that is unchecked the act is
refused, written down, and the agent is told what to check. A person can let one exact act pass: the approval holds the
digest of the act, is used once, and ends. Nobody can wave a claim into the shared memory: there it is checked or not.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from tercet.errors import GuardError
from tercet.swarm.claims import CLEAN, Claims, State, Taint

__all__ = ["Act", "Approval", "Approver", "Guard", "Reach"]

_MOST_SHOWN = 5


class Reach(StrEnum):
    """How far an act reaches, which says what it may rest on."""

    LOCAL = "local"
    """Inside the agent's own folder and sandbox: anything."""
    SHARED = "shared-memory"
    """Others will believe it."""
    IRREVERSIBLE = "irreversible"
    """It leaves the sandbox: published, sent, deleted for good."""
    MONEY = "money"
    """It spends."""


@dataclass(frozen=True, slots=True)
class Act:
    """What an agent is about to do, exactly."""

    agent: str
    tool: str
    arguments: Mapping[str, Any]
    reach: Reach = Reach.LOCAL
    task: str = ""
    amount: int = 0
    """Of money: the most credit units that it takes."""
    number: int = 0
    """Which of the agent's equal acts this is, so that an approval is for one of them."""
    step: str = ""
    """The same for an act within a step: `payment_key`, which a resume gives again, and nothing else does."""
    host: str = ""
    """Of somebody else's tool: where it is. No argument, since a tool may have one of that name."""

    @property
    def digest(self) -> str:
        """sha256 over all of it; what an approval is bound to, and the key of a payment."""
        return self._digest(self.number, self.step)

    @property
    def twin(self) -> str:
        """The same for all equal acts."""
        return self._digest(0, "")

    def _digest(self, number: int, step: str) -> str:
        where = [self.host] if self.host else []
        whole = [self.agent, self.task, self.tool, self.reach.value, self.amount, number, step, self.arguments, *where]
        encoded = json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(encoded.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's yes to one act."""

    digest: str
    """Of the act."""
    by: str
    """Who said it, or the id of the policy that did."""
    until_ms: int
    """Unix milliseconds; afterwards it is none."""
    card: str = ""
    """Id of the question that was answered."""
    despite: str = ""
    """What stood against the act when it was put to them; a yes covers no more than that."""


class Approver(Protocol):
    """Whoever can put an act before a person, such as the inbox."""

    async def approve(self, act: Act, why: str) -> Approval | None:
        """Wait for the answer; None is no. Only the asking agent waits."""


class Guard:
    """Decides, and writes down what it refused (`guard.refused`) and what of money and irreversible acts it let pass (`guard.passed`)."""

    def __init__(self, claims: Claims, *, enforce: bool = True, now_ms: Callable[[], int] | None = None) -> None:
        """`enforce=False` writes refusals down and lets everything pass: to measure what the guard is worth."""
        self.claims = claims
        self.enforce = enforce
        self._now = now_ms or (lambda: time.time_ns() // 1_000_000)
        self._order = asyncio.Lock()
        self._used: set[str] = set()
        self._in_flight: set[str] = set()
        self._before: set[str] = set()
        """Acts that cannot be undone and were let pass before the run was killed: done or not, nobody knows."""
        for event in claims.journal.events(kinds=("guard.passed", "tool")):
            if event.kind == "guard.passed":
                self._used.add(event.body["digest"])
                money = event.body["action"] == Reach.MONEY
                (self._in_flight if money else self._before).add(event.body["digest"])
            elif "charged" in event.body:
                self._in_flight.discard(event.body["digest"])

    def reopen(self, act: Act) -> None:
        """Nobody knows whether this payment was made: it may be tried again, under its approval and its key."""
        self._in_flight.add(act.digest)

    async def check(
        self, act: Act, claims: Iterable[str] = (), context: Taint = CLEAN, approval: Approval | None = None
    ) -> None:
        """Let `act` pass, or raise.

        Args:
            act: what is to be done.
            claims: ids of the claims that it rests on, as its agent says. Money rests on at least one.
            context: what else went into it: all that its agent has read.
            approval: a person's yes to exactly this.

        Raises:
            GuardError: it rests on what nobody has checked.

        """
        named = tuple(dict.fromkeys(claims))
        why = self.complaint(act.reach, named, context)
        if act.reach in {Reach.MONEY, Reach.IRREVERSIBLE}:
            async with self._order:
                why = self._unusable(act, approval, why) if approval else why
                why = _UNKNOWN if act.step and act.digest in self._before else why
                if not why or not self.enforce:
                    await self._pass(act, named, approval, why)
        if why:
            await self._refuse(act, self._open(named, context), why)

    async def _pass(self, act: Act, named: tuple[str, ...], approval: Approval | None, why: str) -> None:
        """Write down what is about to happen, before it does."""
        self._used.add(act.digest)
        self._in_flight.discard(act.digest)
        body = {
            "agent": act.agent, "action": act.reach.value, "tool": act.tool, "digest": act.digest, "twin": act.twin,
            "amount": act.amount, "claims": list(named), "by": approval.by if approval else "claims",
            "card": approval.card if approval else "", "despite": why,
        }  # fmt: skip
        await self.claims.journal.append("guard.passed", body, actor=act.agent, task=act.task)

    async def _refuse(self, act: Act, open_claims: tuple[str, ...], why: str) -> None:
        body = {
            "agent": act.agent, "action": act.reach.value, "tool": act.tool, "digest": act.digest,
            "claims": list(open_claims), "why": why, "enforced": self.enforce,
        }  # fmt: skip
        await self.claims.journal.append("guard.refused", body, actor=act.agent, task=act.task)
        if self.enforce:
            raise GuardError(f"{act.tool} was refused: {why}", open_claims)

    def _unusable(self, act: Act, approval: Approval, why: str) -> str:
        if approval.digest != act.digest:
            return "the approval is for another act. Ask for this one."
        if approval.digest in self._used and approval.digest not in self._in_flight:
            return "the approval was used before. Ask again."
        if approval.until_ms <= self._now():
            return "the approval has run out. Ask again."
        # A claim may be found false while its card waits.
        return f"this was not known when it was approved: {why} Ask again." if why not in {"", approval.despite} else ""

    def complaint(self, reach: Reach, claims: Iterable[str] = (), context: Taint = CLEAN) -> str:
        """What stands against an act of this reach, with how to mend it; empty for nothing. Asks nobody."""
        named = tuple(claims)
        if reach is Reach.LOCAL:
            return ""
        if reach is not Reach.IRREVERSIBLE and not named:
            return "it names no claim to rest on. Name the checked claims that it follows from."
        unknown = [name for name in named if name not in self.claims.known]
        if unknown:
            return f"nobody made the claim {unknown[0][:60]!r}. Name claims of this run."
        # Into the shared memory goes the claim itself: what else its agent has read is already in what it rests on.
        open_claims = self._open(named, CLEAN if reach is Reach.SHARED else context)
        if not open_claims:
            return ""
        return f"it rests on {self._in_words(open_claims)}. {_MEND[reach]}"

    def _open(self, named: Iterable[str], context: Taint) -> tuple[str, ...]:
        taint = self.claims.taint(*named) | self._fresh(context)
        # Where the rest cannot be told, at least those that the act names are.
        told = sorted(name for name in named if self.claims.taint(name)) if taint.everything else []
        return (*told, *taint.names)

    def _fresh(self, context: Taint) -> Taint:
        """What of the context is still unchecked now: it may have been checked since it was read."""
        return context if context.everything else self.claims.taint(*context.claims)

    def _in_words(self, open_claims: tuple[str, ...]) -> str:
        known = [claim for name in open_claims if (claim := self.claims.known.get(name)) is not None]
        told = []
        for claim in known[:_MOST_SHOWN]:
            false = ", found false" if claim.state is State.REFUTED else ""
            told.append(f"{claim.id} ({claim.text[:60]!r} by {claim.author}{false})")
        if more := known[_MOST_SHOWN:]:
            # A yes holds for what was told: when one of these is found false, other words stand here.
            states = hashlib.sha256(" ".join(f"{claim.id} {claim.state}" for claim in more).encode()).hexdigest()
            told.append(f"{len(more)} more (as of {states[:8]})")
        unknown = ["more than can be told"] if len(known) < len(open_claims) else []
        return f"what nobody has checked: {', '.join([*told, *unknown])}" if told else unknown[0]


_UNKNOWN = (
    "it was under way when the run was killed, and nobody knows whether it was done. Look whether it was; do it anew in a"
    " step of its own if it was not."
)
_MEND: Mapping[Reach, str] = {
    Reach.MONEY: "Have them checked by a program, or by another model with the source before it, or ask the person.",
    Reach.IRREVERSIBLE: "Have them checked, act on an extracted value alone, or ask the person for this act.",
    Reach.SHARED: "Have them checked by a program, or by another model with the source before it; keep it to yourself"
    " until then.",
}
