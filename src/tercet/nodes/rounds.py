"""Measuring by contests: every miner is asked the round's work in one moment, and all answers are judged together.

The round of epoch T: tasks are drawn from the beacon of T - 2, asked and answered in the commit phase of T - 1, and
judged in T by a sample that is drawn from the beacon of T - 1, which nobody can know before the reveals of T - 1 begin
(docs/decisions/0064-rounds.md). Answers wait on disk, so a crash between asking and judging loses nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from tercet.errors import SubnetError
from tercet.market import Price, Task, Verdict
from tercet.nodes.audit_log import with_package
from tercet.nodes.desk import Desk, Errands, Tenant
from tercet.nodes.directory import MinerEntry
from tercet.nodes.examiner import Question
from tercet.nodes.response import Response, decode_response, encode_response
from tercet.nodes.schedule import Agenda, EpochFacts, Phase, Window
from tercet.nodes.scores import Finding
from tercet.subnets import Contender, Contest, Prepared

__all__ = ["OPENING_BYTES", "ROUND_BYTES", "Chance", "Rounds", "draw_seed"]

log = logging.getLogger(__name__)

ROUND_BYTES = 1 << 30
"""What the answers of one round may take on disk, compressed; shared evenly by the miners."""
OPENING_BYTES = 1 << 20
"""What a mechanism may hand to auditors with one verdict."""
TRIES = 3
"""A judgement that fails is tried again so often, then the epoch is given up."""


class Chance(Protocol):
    """Where seeds come from: `nodes.seat.ChainSeat`."""

    @property
    def market(self) -> str:
        """Address of the market."""

    async def beacon(self, epoch: int) -> bytes:
        """32 bytes that nobody knew before the reveals of `epoch`; zeros while they are not known, or no longer."""


def draw_seed(purpose: Literal["ask", "judge"], beacon: bytes, market: str, epoch: int) -> bytes:
    """The seed of a round, the same for every validator.

    Args:
        purpose: the tasks, or the sample that all are judged on.
        beacon: of the last closed epoch, 32 bytes; zeros before there is one: then everybody knows the seed.
        market: its address.
        epoch: the one whose weights the round counts for.

    """
    place = bytes.fromhex(market.removeprefix("0x")) + epoch.to_bytes(8, "big")
    return hashlib.sha256(b"tercet round " + purpose.encode() + b"\n" + place + beacon).digest()


@dataclass(slots=True)
class _Round:
    """One that is being asked."""

    agenda: Agenda
    seed: bytes
    state: Literal["new", "beginning", "open", "void"] = "new"
    """open: miners can be asked. void: the mechanism could not begin, so nobody is."""


class Rounds:
    """One contest after the other, in one market."""

    def __init__(self, desk: Desk, contest: Contest, chance: Chance, draws: random.Random, *, audited: bool) -> None:
        """Nothing is asked yet. `audited`: every finding needs a package, or it is in no log."""
        self._desk, self._contest, self._chance, self._draws = desk, contest, chance, draws
        self._audited = audited
        self._round: _Round | None = None
        self._facts: EpochFacts | None = None
        self._judgement: asyncio.Task[None] | None = None
        self._failures: dict[int, int] = {}
        """By epoch: how often judging it went wrong."""
        self.errands = Errands()

    async def turn(self, facts: EpochFacts, _target: int, _window: Window) -> None:
        """Judge what waits for it, then ask for the next epoch: a contest may start from what it has just judged."""
        self._facts = facts
        if facts.phase is not Phase.COMMIT:
            return
        if self.is_judging(facts.epoch):
            await self._begin_judgement(facts.epoch)
        else:
            await self._ask_around(facts)

    def is_judging(self, epoch: int) -> bool:
        """Whether a commit of `epoch` has to wait: answers are there, and there is no verdict on them."""
        given_up = self._failures.get(epoch, 0) >= TRIES
        return not given_up and self._desk.book.pledged(epoch) is None and bool(self._desk.book.answered(epoch))

    # Asking

    async def _ask_around(self, facts: EpochFacts) -> None:
        asked = await self._find_round(facts)
        if asked is None or not self._has_begun(asked):
            return
        book, target, miners = self._desk.book, asked.agenda.target, self._desk.tenants()
        taken = dict.fromkeys(book.answered(target), 1)
        for uid, generation in asked.agenda.plan(miners, taken, 1, self._window(facts), self._draws):
            log.info("round.planned epoch=%d uid=%d generation=%d", target, uid, generation)
        due = [miners[who] for who in asked.agenda.due(facts.now) if who in miners]
        if due:
            until = asyncio.get_running_loop().time() + facts.commit_ends - facts.now
            self.errands.send(self._burst(target, asked.seed, due, until))

    async def _find_round(self, facts: EpochFacts) -> _Round | None:
        """The round to ask now; None while its seed is not known."""
        target = facts.epoch + 1
        if self._round is None or self._round.agenda.target != target:
            beacon = await self._chance.beacon(facts.epoch - 1) if facts.epoch else bytes(32)
            if facts.epoch and not any(beacon):
                return None  # the epoch was closed since we looked
            self._desk.book.forget_answers(facts.epoch)
            self._round = _Round(Agenda(target), draw_seed("ask", beacon, self._chance.market, target))
        return self._round

    def _window(self, facts: EpochFacts) -> Window:
        """When to ask so that answers are in before anybody reveals.

        From the first reveal on, whoever still has to reveal knows more of the next beacon than others do.
        """
        tail = min(self._desk.policy.answer_seconds, (facts.commit_ends - facts.started_at) / 2)
        return Window(facts.now, facts.commit_ends - tail)

    def _has_begun(self, asked: _Round) -> bool:
        """Whether the mechanism is ready to ask; the first time it is told to get ready."""
        if asked.state == "new" and isinstance(self._contest, Prepared):
            asked.state = "beginning"
            self.errands.send(self._begin(asked, self._contest))
        elif asked.state == "new":
            asked.state = "open"
        return asked.state == "open"

    async def _begin(self, asked: _Round, contest: Prepared) -> None:
        try:
            await contest.begin(asked.agenda.target)
        except SubnetError as error:
            asked.state = "void"
            log.warning("round.not_begun epoch=%d why=%r", asked.agenda.target, str(error))
        except Exception:
            asked.state = "void"
            log.exception("round.not_begun epoch=%d", asked.agenda.target)
        else:
            asked.state = "open"

    async def _burst(self, target: int, seed: bytes, miners: Sequence[MinerEntry], until: float) -> None:
        """Ask all of them in one moment."""
        await self._desk.meet(miners)
        # All tasks first: making one must not run on the clock of those that are asked already.
        tasks = [(miner, task) for miner in miners if (task := self._assign(target, seed, miner)) is not None]
        for miner, task in self._draws.sample(tasks, len(tasks)):
            self.errands.send(self._ask(target, miner, task, until))

    def _assign(self, target: int, seed: bytes, miner: MinerEntry) -> Task | None:
        """The miner's task; None when the mechanism breaks over it, which is held against nobody."""
        try:
            return self._contest.assign(seed, miner.uid)
        except Exception:
            log.exception("round.not_assigned epoch=%d uid=%d", target, miner.uid)
            return None

    async def _ask(self, target: int, miner: MinerEntry, task: Task, until: float) -> None:
        """Ask one miner, and have on disk what it sent."""

        async def pose(newest: MinerEntry, price: Price) -> Question:
            return self._desk.asking.pose(newest, price, task)

        try:
            response = await self._desk.ask(miner, 1, lambda: target, pose, task=task, until=until)
            if response is not None:
                await self._keep(target, miner, response)
        except Exception:
            # A plugin's bug must not end the rounds; nothing is held against the miner.
            log.exception("round.failed epoch=%d uid=%d", target, miner.uid)

    async def _keep(self, target: int, miner: MinerEntry, response: Response) -> None:
        facts = self._facts
        if facts is None or facts.epoch >= target:
            log.info("round.too_late epoch=%d uid=%d", target, miner.uid)
            return
        if response.kind == "judged" and facts.phase is not Phase.COMMIT:
            # As of the last look: somebody may have revealed, so the sample is no secret any more.
            response = Response.failed("missed", response.task, miner.uid, "the answer came when reveals had begun")
        data = await asyncio.to_thread(encode_response, response)
        share = ROUND_BYTES // max(1, len(self._desk.tenants()))
        if len(data) > share:
            why = f"the answer takes {len(data):,} bytes, a validator keeps {share:,} of each"
            response = Response.failed("missed", response.task, miner.uid, why)
            data = encode_response(response)
        self._desk.book.keep_answer(target, (miner.uid, miner.generation), data)
        log.info(
            "round.answered epoch=%d uid=%d kind=%s bytes=%d charged=%d reason=%r",
            *(target, miner.uid, response.kind, len(data), response.charged, response.submission.failure),
        )

    # Judging

    async def _begin_judgement(self, epoch: int) -> None:
        if self._judgement is not None and not self._judgement.done():
            return
        beacon = await self._chance.beacon(epoch - 1)
        if any(beacon):
            seed = draw_seed("judge", beacon, self._chance.market, epoch)
            self._judgement = self.errands.send(self._judge(epoch, seed))

    async def _judge(self, epoch: int, seed: bytes) -> None:
        """Judge the whole round, and put its findings in the place of its answers."""
        try:
            findings = await self._find(epoch, seed)
        except TimeoutError:
            self._fail(epoch, f"no verdict within {self._desk.policy.judge_seconds:g} s for each contender")
        except SubnetError as error:
            self._fail(epoch, str(error))
        except Exception:
            log.exception("round.judge_broke epoch=%d", epoch)
            self._fail(epoch, "the mechanism raised what is not an error of ours")
        else:
            self._desk.book.judge_round(epoch, findings)
            log.info("round.judged epoch=%d contenders=%d", epoch, len(findings))

    def _fail(self, epoch: int, why: str) -> None:
        """Nobody is blamed; the answers stay where they are."""
        self._failures = {epoch: self._failures.get(epoch, 0) + 1}
        log.warning("round.unjudged epoch=%d failures=%d why=%r", epoch, self._failures[epoch], why)

    async def _find(self, epoch: int, seed: bytes) -> list[Finding]:
        """A finding for each contender that is still there."""
        book, tenants = self._desk.book, self._desk.tenants()
        responses: dict[Tenant, Response] = {}
        for tenant in book.answered(epoch):
            if tenant in tenants:
                responses[tenant] = await asyncio.to_thread(decode_response, book.answer(epoch, tenant))
        contenders = [
            Contender(uid, generation, response.task, response.submission)
            for (uid, generation), response in responses.items()
        ]
        if not contenders:
            return []
        async with asyncio.timeout(self._desk.policy.judge_seconds * len(contenders)):
            verdicts = await self._contest.judge_round(seed, contenders)
        if len(verdicts) != len(contenders):
            raise SubnetError(f"The contest gave {len(verdicts)} verdicts on {len(contenders)} contenders.")
        return [
            self._build_finding(epoch, tenant, response, verdict)
            for (tenant, response), verdict in zip(responses.items(), verdicts, strict=True)
        ]

    def _build_finding(self, epoch: int, tenant: Tenant, response: Response, verdict: Verdict) -> Finding:
        if len(verdict.opening.encode()) > OPENING_BYTES:
            raise SubnetError(
                f"A verdict's opening has {len(verdict.opening):,} characters; {OPENING_BYTES:,} bytes fit."
            )
        if response.kind != "judged":
            verdict = replace(verdict, score=0.0, reason=response.submission.failure)
        finding = replace(self._desk.asking.find(tenant, response, verdict), epoch=epoch)
        return with_package(finding) if self._audited else finding
