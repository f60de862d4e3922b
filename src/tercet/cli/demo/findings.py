"""What was measured and bought: the validators' verdicts, the gateway's receipts, and what they say of each miner.

Reads files that the roles left behind; asks nobody.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any, Literal, TypeAlias

from tercet.market import Receipt
from tercet.nodes.budgets import Budgets

__all__ = [
    "Dealing",
    "explain",
    "from_receipt",
    "median_or_none",
    "quality",
    "read_findings",
    "read_receipts",
    "read_verdicts",
]

Source: TypeAlias = Literal["buyer", "validator"]


@dataclass(frozen=True, slots=True)
class Dealing:
    """One question to one miner, by whomever."""

    source: Source
    uid: int
    at: float
    """Unix seconds: when it was finished."""
    answered: bool
    tokens: int
    charged: int
    """Credit units."""
    score: float | None
    """A validator's, 0 to 1; None for a buyer, who does not judge."""
    reason: str
    first_seconds: float | None
    seconds: float | None


def read_findings(folder: Path) -> list[dict[str, Any]]:
    """What one validator found, as it stands in its `verdicts.jsonl`, oldest first."""
    lines = map(json.loads, (folder / "verdicts.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == "verdict"]


def read_verdicts(folder: Path) -> list[Dealing]:
    """The challenges in one validator's `verdicts.jsonl`."""
    dealings = []
    for found in read_findings(folder):
        measures = found["measures"] or {}
        dealings.append(
            Dealing(
                source="validator",
                uid=found["uid"],
                at=found["at"],
                answered=found["kind"] == "judged",
                tokens=int(measures.get("completion", 0)),
                charged=found["charged"],
                score=found["score"],
                reason=found["reason"],
                first_seconds=measures.get("first_seconds"),
                seconds=measures.get("total_seconds"),
            )
        )
    return dealings


def read_receipts(database: Path) -> list[Receipt]:
    """Every receipt of a gateway, the oldest first."""
    with Budgets(database) as books:
        return list(reversed(books.receipts(limit=1_000_000)))


def from_receipt(receipt: Receipt) -> Dealing:
    """A buyer's call as a dealing with the miner that answered, or was tried last."""
    whole = receipt.answer is not None
    return Dealing(
        source="buyer",
        uid=receipt.uid,
        at=receipt.time_ms / 1000 + receipt.total_seconds,
        answered=whole,
        tokens=receipt.usage.completion if whole else 0,
        charged=receipt.charged,
        score=None,
        reason=receipt.detail,
        first_seconds=receipt.first_seconds if whole else None,
        seconds=receipt.total_seconds if whole else None,
    )


def explain(dealings: Sequence[Dealing]) -> str:
    """Why validators thought little of a miner: the commonest reason of its worst answers, and how many they were."""
    judged = [dealing for dealing in dealings if dealing.score is not None]
    poor = [dealing for dealing in judged if dealing.score is not None and dealing.score <= 0 and dealing.reason]
    if not poor:
        return ""
    # Reasons carry measured numbers, so two of a kind seldom read the same: compare their words only.
    kinds = Counter(_words(dealing.reason) for dealing in poor)
    commonest = kinds.most_common(1)[0][0]
    example = next(dealing.reason for dealing in poor if _words(dealing.reason) == commonest)
    return f"{len(poor)} of {len(judged)} challenges failed: {_shorten(example)}"


def _shorten(reason: str) -> str:
    """Without the middle of addresses and the operating system's own words in brackets."""
    return re.sub(
        r"0x([0-9a-fA-F]{6})[0-9a-fA-F]{34}", r"0x\1...", re.sub(r"\s*ssl:default|\s*[\[(]Connect.*", "", reason)
    ).rstrip(".: ")


def _words(reason: str) -> str:
    return " ".join(word for word in reason.split() if word.isalpha())


def quality(dealings: Sequence[Dealing]) -> float:
    """The mean of the validators' scores, 0 when there are none."""
    scores = [dealing.score for dealing in dealings if dealing.score is not None]
    return fmean(scores) if scores else 0.0


def median_or_none(values: Sequence[float | None]) -> float | None:
    """The median of what is there."""
    found = [value for value in values if value is not None]
    return median(found) if found else None
