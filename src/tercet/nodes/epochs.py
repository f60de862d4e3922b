"""A validator's rounds: it measures every miner, commits and reveals a row of weights, closes what nobody else closes.

load (where the market stands) -> decide (`schedule.next_step`, `scores.decide`: pure) -> apply (one transaction).
Measuring (`challenges`) runs beside that, bounded in number, time and money. Every moment is the chain's, never this machine's clock.
Whatever fails is logged and tried again; an epoch that is missed is skipped, and the next one is like any other.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import asdict
from typing import Protocol

from tercet.errors import AlreadyDoneError, ChainError, UnreachableError, WrongPhaseError
from tercet.market.audit import EMPTY_EVIDENCE, EvaluationLog
from tercet.nodes.audit_log import build_entries
from tercet.nodes.book import Book, Pledge
from tercet.nodes.challenges import Challenges
from tercet.nodes.desk import Asking, Desk, Listing, Policy
from tercet.nodes.schedule import EpochFacts, Moments, Phase, Step, Window, next_step
from tercet.nodes.scores import Decision, decide

__all__ = ["Asking", "Policy", "Validator"]

log = logging.getLogger(__name__)

LONGEST_BACK_OFF_SECONDS = 30.0


class Seat(Protocol):
    """What a validator does on chain: `nodes.seat.ChainSeat` does it on a real one."""

    async def look(self) -> EpochFacts:
        """Where the market stands now."""

    async def commit(self, pledge: Pledge) -> None:
        """Send the digest of `pledge`."""

    async def reveal(self, pledge: Pledge) -> None:
        """Send the row and the salt."""

    async def close_epoch(self) -> None:
        """Do what is left of closing the epoch; harmless when somebody else is faster."""


class Validator:
    """Follows the epochs of one market until it is cancelled or the market ends."""

    def __init__(
        self,
        policy: Policy,
        seat: Seat,
        listing: Listing,
        asking: Asking,
        book: Book,
        identify: Callable[[], Awaitable[tuple[str, int]]] | None = None,
    ) -> None:
        """Nothing is done yet. `identify` tells (market, pool) for the evaluation log; without it no log is kept."""
        self._policy, self._seat, self._listing, self._book = policy, seat, listing, book
        self._identify = identify
        self._draws = random.SystemRandom()
        desk = Desk(policy, listing, asking, book)
        self._measuring = Challenges(desk, self._draws, audited=identify is not None)
        self._moments: tuple[int, Moments] | None = None
        self._abstained = -1
        """The last epoch in which there was nothing to decide from."""
        self._longest_pause = LONGEST_BACK_OFF_SECONDS

    async def run(self) -> None:
        """Turn after turn, whatever fails. Ends when the market does; cancel it to stop."""
        failures = 0
        try:
            while True:
                try:
                    if await self.turn() is Step.STOP:
                        log.info("validator.done why=%r", "the market is wound down")
                        return
                    failures = 0
                except UnreachableError as error:
                    failures += 1
                    log.warning("chain.unreachable failures=%d why=%r", failures, str(error))
                except ChainError as error:
                    failures += 1
                    log.warning("chain.refused failures=%d why=%r", failures, str(error))
                await asyncio.sleep(self._pause(failures))
        finally:
            await self._measuring.errands.close()

    async def quiet(self) -> None:
        """Wait until no question is in flight and no answer waits for its verdict."""
        await self._measuring.errands.done()

    def _pause(self, failures: int) -> float:
        """Seconds until the next turn: longer after each failure, spread so that validators do not come in step."""
        return min(self._longest_pause, self._policy.poll_seconds * 2.0 ** min(failures, 10)) * self._draws.uniform(
            0.75, 1.0
        )

    async def turn(self) -> Step:
        """Look, ask whom it is time to ask, and take the one step that is due."""
        facts = await self._seat.look()
        moments = self._pick_moments(facts)
        await self._measuring.turn(facts, *self._aim(facts, moments))
        step = next_step(facts, moments)
        match step:
            case Step.COMMIT:
                await self._tolerantly(self._commit(facts), "commit", facts.epoch)
            case Step.REVEAL:
                await self._tolerantly(self._reveal(facts), "reveal", facts.epoch)
            case Step.CLOSE:
                await self._tolerantly(self._seat.close_epoch(), "close", facts.epoch)
        return step

    async def _tolerantly(self, action: Coroutine[None, None, None], name: str, epoch: int) -> None:
        """Somebody was faster, or the phase ended on the way: the next look tells what is true now."""
        try:
            await action
        except (AlreadyDoneError, WrongPhaseError) as error:
            log.info("%s.late epoch=%d why=%r", name, epoch, error.reason)

    def _pick_moments(self, facts: EpochFacts) -> Moments:
        if self._moments is None or self._moments[0] != facts.epoch:
            if self._moments is not None and self._book.pledged(self._moments[0]) is None:
                log.warning("epoch.missed epoch=%d", self._moments[0])
            # Short beside the reveal phase: a chain that comes back in it finds us awake.
            self._longest_pause = min(LONGEST_BACK_OFF_SECONDS, (facts.reveal_ends - facts.commit_ends) / 8)
            self._moments = (facts.epoch, Moments.draw(facts, *self._margins(facts), self._draws))
            log.info("epoch.began epoch=%d phase=%s", facts.epoch, facts.phase.name.lower())
        return self._moments[1]

    def _margins(self, facts: EpochFacts) -> tuple[float, float]:
        """(seconds kept for the commit, seconds kept for the last answers)."""
        commit_seconds = facts.commit_ends - facts.started_at
        margin = self._policy.margin_seconds or min(60.0, commit_seconds / 4)
        return margin, min(self._policy.answer_seconds, commit_seconds / 4)

    # Measuring

    def _aim(self, facts: EpochFacts, moments: Moments) -> tuple[int, Window]:
        """Which epoch an answer counts for now, and what is left of the time to ask for it.

        After our commit it is the next one, whose commit phase ends at the soonest when this one's reveal phase and
        one more commit phase are over.
        """
        margin, tail = self._margins(facts)
        undecided = self._abstained != facts.epoch and self._book.pledged(facts.epoch) is None
        if undecided and facts.phase is Phase.COMMIT and not facts.committed and facts.now < moments.commit_at:
            return facts.epoch, Window(facts.now, moments.measure_ends, tail)
        next_ends = facts.reveal_ends + (facts.commit_ends - facts.started_at)
        return facts.epoch + 1, Window(facts.now, next_ends - margin - tail, tail)

    # Deciding

    async def _commit(self, facts: EpochFacts) -> None:
        pledge = self._book.pledged(facts.epoch)
        if pledge is None and self._abstained != facts.epoch:
            identity = None if self._identify is None else await self._identify()
            pledge = self._pledge(facts.epoch, identity)
        if pledge is None:
            return
        await self._seat.commit(pledge)
        log.info("epoch.committed epoch=%d", facts.epoch)

    def _pledge(self, epoch: int, identity: tuple[str, int] | None) -> Pledge | None:
        """Decide the row, and have it on disk with its salt before anybody hears of it. None: nothing was measured."""
        generations = {miner.uid: miner.generation for miner in self._listing.miners()}
        findings = self._book.findings(epoch)
        if generations and not findings:
            self._abstained = epoch
            log.warning("epoch.abstained epoch=%d why=%r", epoch, "nothing was measured")
            return None
        decision = decide(findings, generations, capacity=self._policy.capacity)
        # Whoever takes over a slot after this look gets a higher generation, so no weight reaches it.
        evidence = EMPTY_EVIDENCE
        if identity is not None and (kept := self._book.start_log(epoch, identity[1])):
            entries = build_entries(identity[0], epoch, identity[1], kept)
            evidence = EvaluationLog([entry.leaf for entry in entries]).evidence
        pledge = Pledge(epoch, max(generations.values(), default=0), os.urandom(32), decision.row, evidence)
        self._book.pledge(pledge)
        self._publish(epoch, decision)
        return pledge

    def _publish(self, epoch: int, decision: Decision) -> None:
        for score in decision.scores:
            self._book.say("score", {"epoch": epoch, **asdict(score), "weight": decision.row[score.uid]})
        self._book.say("row", {"epoch": epoch, "unspent": decision.row[0], "weights": list(decision.row)})

    async def _reveal(self, facts: EpochFacts) -> None:
        pledge = self._book.pledged(facts.epoch)
        if pledge is None:
            log.error("reveal.impossible epoch=%d why=%r", facts.epoch, "the salt of this commit is not in the state")
            return
        await self._seat.reveal(pledge)
        log.info("epoch.revealed epoch=%d", facts.epoch)
