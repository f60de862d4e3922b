"""What a miner sent for a batch, read with suspicion: junk ends here as one sentence, in bounded time.

The last piece of an answer is `{"answers": [{"id", "label", "confidence"}, ...], "usage"}`; pieces before it may say
how far a person has come (`{"progress": n}`) and are passed over. Items may be left out: they are not paid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tercet.market import Usage
from tercet.subnets.labelling.tasks import Batch
from tercet.subnets.mechanism import Piece

__all__ = ["Answers", "Flaw", "build_answer", "read_answers"]

_MAX_PIECES = 4096


class Flaw(Exception):  # noqa: N818  a verdict on its way, not an error of ours
    """An answer is worth nothing; the text says why, to its miner."""


@dataclass(frozen=True, slots=True)
class Answers:
    """A well-formed answer; nothing in it is believed yet."""

    votes: npt.NDArray[np.int64]
    """(items,) index of the label, -1 where the item was left out."""
    confidence: npt.NDArray[np.float64]
    """(items,) 0 to 1."""


def build_answer(batch: Batch, votes: Sequence[int], confidence: Sequence[float]) -> Piece:
    """The last piece of an answer: everything with a vote of 0 or more."""
    answered = [index for index, vote in enumerate(votes) if vote >= 0]
    usage = batch.usage(answered)
    return {
        "answers": [
            {"id": batch.ids[at], "label": batch.labels[votes[at]], "confidence": round(float(confidence[at]), 4)}
            for at in answered
        ],
        "usage": {"prompt": usage.prompt, "completion": usage.completion},
    }


def read_answers(batch: Batch, pieces: Sequence[Any]) -> Answers:
    """Read an answer. Raises `Flaw` when it is not of the promised form."""
    last = pieces[-1] if pieces else None
    rows = last.get("answers") if isinstance(last, Mapping) else None
    if len(pieces) > _MAX_PIECES or not isinstance(last, Mapping) or not isinstance(rows, (list, tuple)):
        raise Flaw("the last piece has no list of answers")
    if len(rows) > len(batch.items):
        raise Flaw(f"{len(rows)} answers to {len(batch.items)} items")
    if not rows:
        raise Flaw("no item is answered")
    if not all(issubclass(kind, Mapping) for kind in {type(row) for row in rows}):
        raise Flaw("an answer is not an object of id, label and confidence")
    # Column by column: several times faster than row by row, and every answer of a round is read.
    strange = "an answer is to an item that was not asked about: it belongs to another task"
    places = _find(batch.places, rows, "id", strange)
    if len(set(places)) < len(places):
        raise Flaw("an item is answered twice")
    votes, confidence = np.full(len(batch.items), -1), np.zeros(len(batch.items))
    labels = {name: place for place, name in enumerate(batch.labels)}
    votes[places] = _find(labels, rows, "label", "an answer's label is none of those to choose from")
    confidence[places] = _read_confidence(rows)
    _check_usage(last.get("usage"), batch.usage(places))
    return Answers(votes, confidence)


def _find(known: Mapping[str, int], rows: Sequence[Mapping[str, Any]], key: str, otherwise: str) -> list[int]:
    """What is known of each row's text under `key`; a flaw where that is nothing."""
    try:
        return [known[row[key]] for row in rows]
    except (KeyError, TypeError):  # missing, another text, or nothing that can be looked up
        raise Flaw(otherwise) from None


def _read_confidence(rows: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.float64]:
    sure: list[Any] = [row.get("confidence") for row in rows]
    flaw = Flaw("an answer's confidence is not a number from 0 to 1")
    if not {*map(type, sure)} <= {int, float}:  # a bool is an int to Python, and none here
        raise flaw
    try:
        found = np.array(sure, np.float64)
    except OverflowError:
        raise flaw from None
    if not ((found >= 0) & (found <= 1)).all():  # NaN is neither
        raise flaw
    return found


def _check_usage(usage: Any, true: Usage) -> None:
    claimed = (usage.get("prompt"), usage.get("completion")) if isinstance(usage, Mapping) else (None, None)
    if any(type(each) is not int for each in claimed) or claimed != (true.prompt, true.completion):
        raise Flaw(f"the usage is not {true.prompt} seconds and {true.completion} items, which these answers are")
