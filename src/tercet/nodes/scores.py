"""From what a validator saw to a row of weights. Pure: knows verdicts, not the network, the disk or the clock.

The rule (docs/decisions/0060-scores.md):

1. A miner's *value* is the mean of its scores in the epoch, with one imagined miss added to the sample and one
   standard error taken off: few or uneven answers are worth less than many even ones.
2. One answer proven wrong and the value is zero for the epoch. An answer that never came only counts as a score of 0.
3. The row divides in proportion to value. The market asks for `capacity` miners' worth of perfect work; what
   is missing of it is a vote for the unspent slot 0, and goes back to the sponsors.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, pstdev
from typing import Literal, TypeAlias

from tercet.market import Verdict, build_row

__all__ = ["Decision", "Finding", "Kind", "Score", "decide", "score_miner"]

Kind: TypeAlias = Literal["judged", "missed", "forged"]
"""judged: an answer came and the mechanism judged it. missed: none came in time, or a refusal did.
forged: the miner's own signature stands under something that breaks the protocol, such as an overcharge."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one challenge found out about one miner."""

    epoch: int
    """The epoch whose weights this counts for."""
    uid: int
    generation: int
    """Of the slot when it was asked: a later tenant of the same uid is another miner."""
    kind: Kind
    verdict: Verdict
    charged: int = 0
    """Credit units paid for the answer."""
    at: float = 0.0
    """Unix seconds."""
    package: bytes = field(default=b"", repr=False, compare=False)
    """What an auditor needs to run it again: `nodes.audit_log.build_package`. Empty when nothing is kept."""

    @property
    def wrong(self) -> bool:
        """Whether this answer proves that the miner cheated."""
        return self.kind == "forged" or (self.kind == "judged" and self.verdict.score <= 0)


@dataclass(frozen=True, slots=True)
class Score:
    """One miner's epoch in a line."""

    uid: int
    value: float
    """0 to 1: what its share of the row is in proportion to."""
    mean: float
    """0 to 1: the plain mean of its scores, 0 for a cheat: its contribution to the capacity."""
    samples: int
    reason: str
    """Why it is not a full score; empty when it is."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a validator commits, and why."""

    row: Sequence[int]
    """u16 weights, slot 0 unspent, sum 65_535."""
    scores: Sequence[Score]
    """By uid, every miner that was asked."""


def score_miner(uid: int, findings: Sequence[Finding]) -> Score:
    """The score of one miner from its findings of one epoch, at least one."""
    samples = len(findings)
    wrong = next((finding for finding in findings if finding.wrong), None)
    if wrong:
        return Score(uid, 0.0, 0.0, samples, wrong.verdict.reason or "an answer was wrong")
    scores = [_score(finding) for finding in findings]
    mean = fmean(scores)
    value = max(0.0, mean * samples / (samples + 1) - pstdev(scores) / math.sqrt(samples))
    reason = next((finding.verdict.reason for finding in findings if finding.verdict.reason), "")
    return Score(uid, value, mean, samples, reason)


def decide(findings: Iterable[Finding], generations: Mapping[int, int], *, capacity: float = 1.0) -> Decision:
    """The row for an epoch.

    Args:
        findings: of that epoch; those of an earlier tenant of a slot are passed over.
        generations: uid to generation of every registered miner, now.
        capacity: miners' worth of perfect work that the market asks for, 0 or more. 0 withholds nothing.

    """
    by_uid: dict[int, list[Finding]] = {}
    for finding in findings:
        if generations.get(finding.uid) == finding.generation:
            by_uid.setdefault(finding.uid, []).append(finding)
    scores = [score_miner(uid, by_uid[uid]) for uid in sorted(by_uid)]
    supplied = sum(score.mean for score in scores if score.value > 0)
    unspent = max(0.0, 1 - supplied / capacity) if capacity > 0 else 0.0
    columns = max(generations, default=0) + 1
    return Decision(build_row({score.uid: score.value for score in scores}, columns, unspent=unspent), scores)


def _score(finding: Finding) -> float:
    """0 to 1; what a judge may say above, below or beside that is cut off, so that no plugin breaks the row."""
    score = finding.verdict.score
    return min(1.0, max(0.0, score)) if finding.kind == "judged" and math.isfinite(score) else 0.0
