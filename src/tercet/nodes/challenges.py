"""Measuring by challenges: every miner at once, each with a question of its own, at moments that nobody knows.

Moments, money and findings; the epoch's steps are `epochs`.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import replace

from tercet.nodes.audit_log import build_package
from tercet.nodes.desk import Desk, Errands
from tercet.nodes.directory import MinerEntry
from tercet.nodes.schedule import Agenda, EpochFacts, Window
from tercet.nodes.scores import Finding
from tercet.subnets import Submission

__all__ = ["Challenges"]

log = logging.getLogger(__name__)

_SILENCE = Submission(0, [], 0.0, 0.0, b"")


class Challenges:
    """Asks the miners of one market for one epoch after the other."""

    def __init__(self, desk: Desk, draws: random.Random, *, audited: bool) -> None:
        """Nothing is asked yet. `audited`: every finding needs a package, or it is in no log."""
        self._desk, self._draws, self._audited = desk, draws, audited
        self._agenda = Agenda(-1)
        self.errands = Errands()

    async def turn(self, facts: EpochFacts, target: int, window: Window) -> None:
        """Plan questions to whoever is new, and send off a burst when its moment has come.

        Args:
            facts: where the market stands.
            target: the epoch whose weights an answer counts for now.
            window: what is left of the time to ask for it.

        """
        if self._agenda.target != target:
            self._agenda = Agenda(target)
        miners, count = self._desk.tenants(), self._desk.policy.challenges_per_miner
        new = self._agenda.plan(miners, self._desk.book.taken(target), count, window, self._draws)
        for uid, generation in new:
            log.info("challenge.planned epoch=%d uid=%d generation=%d", target, uid, generation)
        asked = [miners[who] for who in self._agenda.due(facts.now) if who in miners]
        if asked:
            self.errands.send(self._burst(asked))

    async def _burst(self, miners: Sequence[MinerEntry]) -> None:
        """Ask all of them in one moment."""
        await self._desk.meet(miners)
        # With more miners than questions in flight, who waits must not be the same miner each time.
        for miner in self._draws.sample(miners, len(miners)):
            self.errands.send(self._challenge(miner))

    async def _challenge(self, miner: MinerEntry) -> None:
        """Ask one question and write down what was found, for the epoch that is being measured by then."""
        desk = self._desk
        try:
            response = await desk.ask(
                miner, desk.policy.challenges_per_miner, lambda: self._agenda.target, desk.asking.draw
            )
            finding = None if response is None else await desk.asking.judge(miner, response)
        except Exception:
            # A plugin's bug must not end the rounds; nothing is held against the miner.
            log.exception("challenge.failed uid=%d", miner.uid)
            return
        if finding is not None:
            self._record(finding)

    def _record(self, finding: Finding) -> None:
        package = finding.package
        if self._audited and not package:
            package = build_package(None, _SILENCE, finding.verdict)
        self._desk.book.record(replace(finding, epoch=self._agenda.target, package=package))
        log.info(
            "challenge.found epoch=%d uid=%d kind=%s score=%.3f charged=%d reason=%r",
            *(self._agenda.target, finding.uid, finding.kind, finding.verdict.score, finding.charged),
            finding.verdict.reason,
        )
