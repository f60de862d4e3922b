"""A validator's rounds: it measures every miner, commits and reveals a row of weights, closes what nobody else closes.

load (where the market stands) -> decide (`schedule.next_step`, `scores.decide`: pure) -> apply (one transaction).
Challenges run beside that, bounded in number, time and money. Every moment is the chain's, never this machine's clock.
Whatever fails is logged and tried again; an epoch that is missed is skipped, and the next one is like any other.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from tercet.errors import AlreadyDoneError, ChainError, UnreachableError, WrongPhaseError
from tercet.market import Price, Verdict
from tercet.market.audit import EMPTY_EVIDENCE, EvaluationLog
from tercet.nodes.audit_log import build_entries, build_package
from tercet.nodes.book import Book, Pledge
from tercet.nodes.buyer import offer_price
from tercet.nodes.directory import MinerEntry
from tercet.nodes.examiner import Question
from tercet.nodes.schedule import Agenda, EpochFacts, Moments, Phase, Step, next_step
from tercet.nodes.scores import Decision, Finding, decide
from tercet.subnets import Submission

__all__ = ["Policy", "Validator"]

log = logging.getLogger(__name__)

LONGEST_BACK_OFF_SECONDS = 30.0
_SILENCE = Submission(0, [], 0.0, 0.0, b"")


@dataclass(frozen=True, slots=True)
class Policy:
    """How a validator measures. Validators of one market do best with the same capacity."""

    challenges_per_miner: int = 4
    """Questions to each miner in one epoch."""
    budget: int = 1_000_000
    """Credit units for challenges in one epoch, shared evenly by the miners."""
    capacity: float = 1.0
    """Miners' worth of perfect work that the market asks for; what is missing is a vote for unspent."""
    concurrency: int = 2
    """Questions in flight."""
    answer_seconds: float = 30.0
    """How long a miner has for an answer."""
    judge_seconds: float = 60.0
    """How long the mechanism has for a verdict; longer is our fault, not the miner's."""
    poll_seconds: float = 1.0
    """How often the chain is looked at."""
    margin_seconds: float = 0.0
    """The commit leaves between this and half of it before the phase ends; 0 means a quarter of it, 60 at most."""


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


class Asking(Protocol):
    """Whoever asks and judges: `nodes.examiner.Examiner`."""

    def draw(self, miner: MinerEntry, price: Price) -> Question:
        """A question nobody could have prepared."""

    async def examine(self, question: Question) -> Finding | None:
        """What came of it; None when the fault is ours."""


class Listing(Protocol):
    """Who is registered: `nodes.directory.Directory`."""

    def miners(self) -> Sequence[MinerEntry]:
        """Those registered at the last look."""


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
        self._policy, self._seat, self._listing, self._asking, self._book = policy, seat, listing, asking, book
        self._identify = identify
        self._draws = random.SystemRandom()
        self._agenda = Agenda(-1)
        self._moments: tuple[int, Moments] | None = None
        self._abstained = -1
        """The last epoch in which there was nothing to decide from."""
        self._errands: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(policy.concurrency)
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
            for errand in self._errands:
                errand.cancel()
            await asyncio.gather(*self._errands, return_exceptions=True)

    def _pause(self, failures: int) -> float:
        """Seconds until the next turn: longer after each failure, spread so that validators do not come in step."""
        return min(self._longest_pause, self._policy.poll_seconds * 2.0 ** min(failures, 10)) * self._draws.uniform(
            0.75, 1.0
        )

    async def turn(self) -> Step:
        """Look, ask whom it is time to ask, and take the one step that is due."""
        facts = await self._seat.look()
        moments = self._pick_moments(facts)
        self._ask_around(facts, moments)
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

    def _ask_around(self, facts: EpochFacts, moments: Moments) -> None:
        """Plan questions to whoever is new, and send off those whose moment has come."""
        target, end = self._aim(facts, moments)
        if self._agenda.target != target:
            self._agenda = Agenda(target)
        miners = {(miner.uid, miner.generation): miner for miner in self._listing.miners()}
        taken = self._book.taken(target)
        window, count = (facts.now, end), self._policy.challenges_per_miner
        for uid, generation in self._agenda.plan(miners, taken, count, window, self._draws):
            log.info("challenge.planned epoch=%d uid=%d generation=%d", target, uid, generation)
        allowance = self._policy.budget // max(1, self._policy.challenges_per_miner * len(miners))
        for who in self._agenda.due(facts.now):
            if who in miners:
                errand = asyncio.create_task(self._challenge(miners[who], allowance))
                self._errands.add(errand)
                errand.add_done_callback(self._errands.discard)

    def _aim(self, facts: EpochFacts, moments: Moments) -> tuple[int, float]:
        """Which epoch an answer counts for now, and when the last one for it is asked.

        After our commit it is the next one, whose commit phase ends at the soonest when this one's reveal phase and
        one more commit phase are over.
        """
        undecided = self._abstained != facts.epoch and self._book.pledged(facts.epoch) is None
        if undecided and facts.phase is Phase.COMMIT and not facts.committed and facts.now < moments.commit_at:
            return facts.epoch, moments.measure_ends
        next_ends = facts.reveal_ends + (facts.commit_ends - facts.started_at)
        return facts.epoch + 1, next_ends - sum(self._margins(facts))

    async def _challenge(self, miner: MinerEntry, allowance: int) -> None:
        """Ask one question and write down what was found, for the epoch that is being measured by then."""
        try:
            async with self._turns:
                # A queue may be longer than an epoch's end is away: what counts is who the miner is, and what it is
                # paid, when it is asked.
                finding = await self._examine(self._newest(miner), allowance)
        except Exception:
            # A plugin's bug must not end the rounds; nothing is held against the miner.
            log.exception("challenge.failed uid=%d", miner.uid)
            return
        if finding is not None:
            package = finding.package
            if self._identify is not None and not package:
                package = build_package(None, _SILENCE, finding.verdict)
            self._book.record(replace(finding, epoch=self._agenda.target, package=package))
            log.info(
                "challenge.found epoch=%d uid=%d kind=%s score=%.3f charged=%d reason=%r",
                *(self._agenda.target, miner.uid, finding.kind, finding.verdict.score, finding.charged),
                finding.verdict.reason,
            )

    def _newest(self, miner: MinerEntry) -> MinerEntry:
        """The listing's newest word on this tenant; the last one known when it has left."""
        tenants = {(entry.uid, entry.generation): entry for entry in self._listing.miners()}
        return tenants.get((miner.uid, miner.generation), miner)

    async def _examine(self, miner: MinerEntry, allowance: int) -> Finding | None:
        price = offer_price(miner)
        if price is None:
            return _missed(miner, "nobody answers at its endpoint: /tercet/v1/info is silent")
        question = self._asking.draw(miner, price)
        if question.cost > allowance:
            return _missed(miner, f"asks up to {question.cost} units, a validator may spend {allowance} on a question")
        target = self._agenda.target
        if self._book.spent(target) + question.cost > self._policy.budget:
            log.warning("budget.spent epoch=%d units=%d", target, self._policy.budget)
            return None
        self._book.spend(target, question.cost)
        finding = await self._asking.examine(question)
        self._book.spend(target, (finding.charged if finding else 0) - question.cost)
        return finding

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


def _missed(miner: MinerEntry, reason: str) -> Finding:
    return Finding(0, miner.uid, miner.generation, "missed", Verdict(0.0, reason), at=time.time())
