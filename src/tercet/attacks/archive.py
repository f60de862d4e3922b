"""Validators' evaluation logs, and what is true: the side of audits that is not on chain.

A log's entries point to answers that miners gave to that validator. Whoever runs an entry again finds the score that
the answer deserves, so an entry is true when its answer exists, was given to this validator, and got this score.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tercet.chain.keys import keccak
from tercet.market import build_row
from tercet.market.audit import SCORE_SCALE, Evaluation, EvaluationLog, sample_index


@dataclass(frozen=True, slots=True)
class Log:
    """What one validator publishes behind its row."""

    entries: tuple[Evaluation, ...]
    row: tuple[int, ...]
    asked: frozenset[int]
    """Uids of the miners that were there to be asked."""
    tree: EvaluationLog

    @property
    def count(self) -> int:
        """Of entries."""
        return len(self.entries)


class Archive:
    """All logs by epoch and pool, and every answer that a miner gave."""

    def __init__(self) -> None:
        self._logs: dict[tuple[int, int], Log] = {}
        self._answers: dict[bytes, tuple[int, int]] = {}
        """By package: whose it is (pool), and the score it deserves."""

    def measure(
        self, market: str, epoch: int, pool: int, scores: Mapping[int, float], born: Mapping[int, int]
    ) -> list[Evaluation]:
        """The entries of somebody who asked every miner, one true entry for each."""
        entries = self.invent(market, epoch, pool, scores, born)
        for entry in entries:
            self._answers[entry.package] = pool, entry.score
        return entries

    @staticmethod
    def invent(
        market: str, epoch: int, pool: int, scores: Mapping[int, float], born: Mapping[int, int]
    ) -> list[Evaluation]:
        """Entries that look the same, with no answers behind them."""
        return [
            Evaluation(
                market,
                epoch,
                pool,
                index,
                uid,
                born[uid],
                "judged",
                min(SCORE_SCALE * 100, round(scores[uid] * SCORE_SCALE)),
                keccak(f"answer {epoch} {pool} {uid}".encode()),
            )
            for index, uid in enumerate(sorted(scores))
        ]

    @staticmethod
    def falsify(entries: Iterable[Evaluation], uid: int, factor: float) -> list[Evaluation]:
        """The same log with another score for one miner."""
        return [replace(e, score=round(e.score * factor)) if e.uid == uid else e for e in entries]

    def publish(self, entries: Sequence[Evaluation], row: Sequence[int], asked: Iterable[int]) -> bytes:
        """Offer a log to the other validators; what its owner reveals as evidence."""
        tree = EvaluationLog([entry.leaf for entry in entries])
        log = Log(tuple(entries), tuple(row), frozenset(asked), tree)
        self._logs[entries[0].epoch, entries[0].pool] = log
        return tree.evidence

    def fetch(self, epoch: int, pool: int) -> Log | None:
        """A validator's log, if it offers one."""
        return self._logs.get((epoch, pool))

    def is_true(self, entry: Evaluation) -> bool:
        """What running it again finds."""
        return self._answers.get(entry.package) == (entry.pool, entry.score)

    def find_lie(self, log: Log, beacon: bytes, samples: int) -> int | None:
        """The first sample whose entry does not reproduce."""
        pool = log.entries[0].pool
        picked = (log.entries[sample_index(beacon, pool, sample, log.count)] for sample in range(samples))
        return next((sample for sample, entry in enumerate(picked) if not self.is_true(entry)), None)

    @staticmethod
    def is_complete(log: Log) -> bool:
        """Whether every miner was asked, and the row is what these scores make."""
        scores = {entry.uid: entry.score / SCORE_SCALE for entry in log.entries}
        return set(scores) >= log.asked and tuple(build_row(scores, len(log.row))) == log.row
