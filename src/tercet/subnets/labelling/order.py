"""A buyer's order: a collection in batches, the answers as they come in, and what they say together.

Answers are written down as they come, one line each, so that nothing that was paid for is lost; an order that is begun
again goes on where it was. What is labelled already is mixed into the batches, as gold. Knows nothing of markets.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tercet.errors import UsageError
from tercet.market import Task
from tercet.subnets.kit.beacon import derive, lottery
from tercet.subnets.kit.files import write_atomically
from tercet.subnets.labelling.answers import Answers, Flaw, read_answers
from tercet.subnets.labelling.items import Collection
from tercet.subnets.labelling.judge import Finding, Round, Voter, appraise
from tercet.subnets.labelling.skills import estimate
from tercet.subnets.labelling.tasks import Batch, build_task, parse_task, split_batches
from tercet.subnets.mechanism import Piece

__all__ = ["Order", "Row", "Source", "write_rows"]

Source = str
"""`given` in the file, `bought`, or `missing`."""
_GOLD_SHARE, _MOST_GOLD = 0.1, 20
"""Of a batch that is gold, where there is any."""
_LEAST_GOLD = 8
"""Known items from which voters are held against gold."""


@dataclass(frozen=True, slots=True)
class Row:
    """One item of the result."""

    id: str
    label: str
    """Empty when nobody has labelled it."""
    confidence: float
    """Probability that the label is right, as the votes and their voters' skills make it."""
    voices: int
    """Answers it rests on."""
    source: Source


@dataclass(frozen=True, slots=True)
class _Voice:
    """One miner's answer to one batch."""

    batch: int
    operator: str
    answers: Answers
    charged: int


class Order:
    """What is to be labelled, and what has come in for it. `close` it."""

    def __init__(self, collection: Collection, journal: Path, *, batch: int = 100) -> None:
        """Read the journal if there is one.

        Args:
            collection: the items.
            journal: a file of JSON lines, made when the first answer comes.
            batch: items in a batch, at most.

        Raises:
            UsageError: the journal belongs to another order, or cannot be read.

        """
        self.collection, self._journal = collection, journal
        self._seed = _digest(collection, batch)
        self._batches = self._plan(batch)
        self._parsed: dict[int, Batch] = {}
        self._voices: list[_Voice] = self._read()

    def _plan(self, most: int) -> list[list[int]]:
        """Indices of each batch: what is unknown in order, gold mixed in."""
        collection, known = self.collection, self.collection.known_indices()
        unknown = collection.unknown_indices()
        gold = min(_MOST_GOLD, len(known), round(_GOLD_SHARE * most)) if len(known) >= _LEAST_GOLD else 0
        plans = []
        for number, part in enumerate(split_batches([collection.items[at] for at in unknown], most - gold)):
            draws = lottery(self._seed, "mix", number)
            mixed = [unknown[at] for at in part] + draws.sample(known, gold)
            draws.shuffle(mixed)
            plans.append(mixed)
        return plans

    @property
    def count(self) -> int:
        """Batches."""
        return len(self._batches)

    @property
    def charged(self) -> int:
        """Credit units paid so far, earlier runs included."""
        return sum(voice.charged for voice in self._voices)

    def task(self, number: int) -> Task:
        """What miners are asked for a batch."""
        return build_task(self.collection, self._batches[number], derive(self._seed, "batch", number))

    def voices(self, number: int) -> frozenset[str]:
        """Operators that have answered a batch."""
        return frozenset(voice.operator for voice in self._voices if voice.batch == number)

    def add(self, number: int, operator: str, pieces: Sequence[Piece], charged: int) -> None:
        """Take down an answer. One that is malformed is kept as a voice that says nothing: it was paid for.

        Raises:
            Flaw: it is malformed.

        """
        flaw: Flaw | None = None
        try:
            answers = read_answers(self._batch(number), pieces)
        except Flaw as error:
            flaw, count = error, len(self._batches[number])
            answers = Answers(np.full(count, -1), np.zeros(count))
        self._voices.append(_Voice(number, operator, answers, charged))
        line = {
            "batch": number,
            "operator": operator,
            "charged": charged,
            "votes": answers.votes.tolist(),
            "confidence": answers.confidence.tolist(),
        }
        self._write(line)
        if flaw is not None:
            raise flaw

    def results(self) -> tuple[list[Row], Mapping[str, Finding]]:
        """One row per item, in the file's order, and what each operator's work was found to be."""
        collection = self.collection
        operators = sorted({voice.operator for voice in self._voices})
        votes = np.full((len(operators), len(collection.items)), -1)
        sure = np.zeros(votes.shape)
        for voice in self._voices:
            row, at = operators.index(voice.operator), self._batches[voice.batch]
            votes[row, at], sure[row, at] = voice.answers.votes, voice.answers.confidence
        return self._merge(operators, votes, sure)

    def _merge(
        self, operators: Sequence[str], votes: np.ndarray[Any, Any], sure: np.ndarray[Any, Any]
    ) -> tuple[list[Row], Mapping[str, Finding]]:
        collection = self.collection
        known = np.array(collection.known)
        asked = np.flatnonzero((votes >= 0).any(axis=0))
        findings: dict[str, Finding] = {}
        labels, confidence = np.full(len(known), -1), np.zeros(len(known))
        standing = np.arange(len(operators))
        if len(asked):
            gold = known[asked]
            if (gold >= 0).sum() >= _LEAST_GOLD:
                findings = self._findings(operators, votes[:, asked], sure[:, asked], gold)
                standing = np.array([n for n, name in enumerate(operators) if not findings[name].fault], int)
        if len(asked) and len(standing):
            consensus = estimate(votes[standing][:, asked], len(collection.classes), known[asked])
            labels[asked], confidence[asked] = consensus.labels(), consensus.confidence()
        voices = (votes[standing] >= 0).sum(axis=0) if len(standing) else np.zeros(len(known), int)
        rows = [
            self._row(at, int(labels[at]) if voices[at] else -1, float(confidence[at]), int(voices[at]))
            for at in range(len(known))
        ]
        return rows, findings

    def _findings(
        self,
        operators: Sequence[str],
        votes: np.ndarray[Any, Any],
        sure: np.ndarray[Any, Any],
        gold: np.ndarray[Any, Any],
    ) -> dict[str, Finding]:
        """Each operator by the items that it was asked about; what others were asked does not count as left out."""
        shown = gold[gold >= 0]
        chance = float(max(np.bincount(shown).max() / len(shown), 1 / len(self.collection.classes)))
        found, _ = appraise(
            Round(len(self.collection.classes), gold, chance, partial=True),
            [Voter(n, (n,), Answers(votes[n], sure[n])) for n in range(len(operators))],
        )
        return dict(zip(operators, found, strict=True))

    def _row(self, at: int, label: int, confidence: float, voices: int) -> Row:
        collection, known = self.collection, self.collection.known[at]
        if known >= 0:
            return Row(collection.ids[at], collection.classes[known], 1.0, 0, "given")
        if label < 0:
            return Row(collection.ids[at], "", 0.0, 0, "missing")
        return Row(collection.ids[at], collection.classes[label], round(confidence, 4), voices, "bought")

    # the journal

    def _batch(self, number: int) -> Batch:
        if number not in self._parsed:
            self._parsed[number] = parse_task(self.task(number))
        return self._parsed[number]

    def _write(self, line: Mapping[str, Any]) -> None:
        new = not self._journal.exists()
        with self._journal.open("a", encoding="utf-8") as sink:
            if new:
                sink.write(json.dumps({"order": self._seed.hex()}) + "\n")
            sink.write(json.dumps(line) + "\n")
            sink.flush()
            os.fsync(sink.fileno())

    def _read(self) -> list[_Voice]:
        try:
            lines = self._journal.read_text(encoding="utf-8").splitlines(keepends=True)
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{self._journal} cannot be read: {error}. Mend it, or move it away.") from error
        whole = [line for line in lines if line.endswith("\n")]  # a line cut short by a crash was not acknowledged
        if len(whole) < len(lines):
            self._journal.write_text("".join(whole), encoding="utf-8")
        try:
            mine = not whole or json.loads(whole[0]).get("order") == self._seed.hex()
            voices = [self._voice(json.loads(line)) for line in whole[1:]] if mine else []
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise UsageError(f"{self._journal} is no journal of answers: {error!r}. Move it away.") from error
        if not mine:
            raise UsageError(
                f"{self._journal} holds answers to another order: other items, labels or batches. Move it away, or name another --out."
            )
        return voices

    def _voice(self, line: Mapping[str, Any]) -> _Voice:
        number = int(line["batch"])
        votes, confidence = np.array(line["votes"], np.int64), np.array(line["confidence"], np.float64)
        if votes.shape != (len(self._batches[number]),) or confidence.shape != votes.shape:
            raise ValueError(f"batch {number} has {len(self._batches[number])} items")
        return _Voice(number, str(line["operator"]), Answers(votes, confidence), int(line["charged"]))


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """The result as a CSV file, or as JSON where the name ends so; whole or not at all."""
    fields = [[row.id, row.label, row.confidence, row.voices, row.source] for row in rows]
    names = ["id", "label", "confidence", "voices", "source"]
    if path.suffix.lower() == ".json":
        text = json.dumps([dict(zip(names, row, strict=True)) for row in fields], ensure_ascii=False, indent=1) + "\n"
    else:
        sink = io.StringIO(newline="")
        csv.writer(sink, lineterminator="\n").writerows([names, *fields])
        text = sink.getvalue()
    write_atomically(path, text.encode())


def _digest(collection: Collection, batch: int) -> bytes:
    """Names an order: its items, labels, what is known, and how it is cut."""
    whole = [collection.question, *collection.classes, *map(str, collection.known), str(batch)]
    return derive(b"labelling order", *whole, *(item.digest for item in collection.items))
