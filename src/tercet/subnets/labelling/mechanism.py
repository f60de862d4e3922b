"""The `labelling` mechanism: ties items, workers and judge to the three roles."""

from __future__ import annotations

import asyncio
import json
import math
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from tercet.errors import SubnetError, TaskError, UsageError
from tercet.market import Price, Task, Usage, Verdict
from tercet.market.text import decode_json
from tercet.subnets.kit.beacon import derive, lottery
from tercet.subnets.labelling.answers import Answers, Flaw, build_answer, read_answers
from tercet.subnets.labelling.features import featurise
from tercet.subnets.labelling.items import Collection, read_collection
from tercet.subnets.labelling.judge import (
    COPY,
    COPY_SHARE,
    Round,
    Voter,
    appraise,
    best_score,
    draw_gold,
    is_guess,
    shared_errors,
)
from tercet.subnets.labelling.page import Crew, PageConfig, read_training
from tercet.subnets.labelling.pay import PEOPLE_FLOOR, parse_rate, price_of_rate, rate_of_price
from tercet.subnets.labelling.rogues import BEHAVIOURS, Behaviour, Rogue
from tercet.subnets.labelling.skills import Floats, Votes
from tercet.subnets.labelling.tasks import MAX_BATCH, Batch, build_task, parse_task
from tercet.subnets.labelling.value import Exam
from tercet.subnets.labelling.workers import MODELS, ModelWorker
from tercet.subnets.mechanism import Contender, Piece, Recheck, Role, Submission

__all__ = ["Labelling"]

_MODEL_RATE, _PEOPLE_RATE = "0.05", "12"
"""Credit for an hour of estimated work, asked by models and by people."""
_SLACK = 0.02
"""Of a score, between two honest judges of the same answers."""
_EQUAL = 0.85
"""Of all answers: what a copy that made no errors to speak of has in common with its original."""
_KEPT_ROUNDS = 64
_LEAST_KNOWN = 8


class Labelling:
    """A market in labels: people and models say what things are, and are paid by how right they are.

    A task is `{"kind": "label", "question", "labels", "items"}`; the last piece of an answer is
    `{"answers": [{"id", "label", "confidence"}, ...], "usage"}`.

    Args:
        data: what a validator asks about and knows: digits, a CSV file or a folder of pictures, partly labelled.
        question: to ask about it; a usual one when absent.
        labels: to choose from, when the data do not say all of them.
        by: who answers at a miner: a model (knn, logreg, bayes, tree), or people.
        own: what a model learns from, and people train on: digits, or a CSV file or folder that is labelled.
        seed: which of the digits are this miner's own.
        behaviour: honest, or one of `rogues`.
        rate: credit that a miner asks for an hour of estimated work.
        floor: credit for such an hour below which nobody works in this market. All its roles name the same.
        items: of one challenge.
        gold: share of them that is gold.
        page: port of the page for people; 0 takes a free one.
        page_host: address that the page listens on; people elsewhere come in by an invitation that it prints.
        patience: seconds that people have for a batch; what they have by then is sent.

    """

    name: ClassVar[str] = "labelling"
    version: ClassVar[int] = 1

    def __init__(
        self,
        data: str | Path = "digits",
        *,
        question: str = "",
        labels: Sequence[str] | str = (),
        by: str = "knn",
        own: str = "digits",
        seed: int = 0,
        behaviour: Behaviour = "honest",
        rate: str | float | None = None,
        floor: str | float | None = None,
        items: int = 200,
        gold: float = 0.25,
        page: int = 0,
        page_host: str = "127.0.0.1",
        patience: float = 900.0,
    ) -> None:
        if behaviour not in BEHAVIOURS:
            raise UsageError(f"No behaviour is called {behaviour!r}. Known: {', '.join(BEHAVIOURS)}.")
        if by != "people" and by not in MODELS:
            raise UsageError(f"Nobody called {by!r} labels here. Known: {', '.join(MODELS)}, people.")
        if by == "people" and behaviour != "honest":
            raise UsageError("People behave as they like: leave behaviour out with by=people.")
        if not 2 <= items <= MAX_BATCH or not 0 < gold <= 1:
            raise UsageError(f"A challenge has 2 to {MAX_BATCH} items, and a share of gold above 0 and at most 1.")
        people = by == "people"
        self._data, self._question = data, question
        self._labels = tuple(labels.split(",")) if isinstance(labels, str) else tuple(labels)
        self._by, self._own, self._seed, self._behaviour = by, own, seed, behaviour
        self.floor = parse_rate(str(floor if floor is not None else PEOPLE_FLOOR if people else 0))
        """Credit units an hour."""
        self.rate = parse_rate(str(rate if rate is not None else _PEOPLE_RATE if people else _MODEL_RATE))
        """Credit units an hour that a miner asks."""
        if rate is None:
            self.rate = max(self.rate, self.floor)
        if self.rate < self.floor:
            raise UsageError(f"A rate of {rate} credit an hour is under the market's floor of {floor}. Ask for more.")
        self._count, self._gold = items, gold
        self._page = PageConfig(page_host, page, rate=self.rate, least=self.floor)
        self._patience = patience
        self._worker: ModelWorker | None = None
        self._rogue: Rogue | None = None
        self._crew: Crew | None = None
        self._collection: Collection | None = None
        self._truths: dict[bytes, int] = {}
        self._held_out: tuple[Floats, Votes] | None = None
        """(held out, features) and their labels."""
        self._chance = 0.0
        self._asked: tuple[bytes, Task] | None = None
        """The last round's seed and batch: it is made once, however many are asked."""
        self._judged: OrderedDict[bytes, bytes] = OrderedDict()
        """Rounds judged here: what was asked to the seed of its gold."""

    # roles

    async def open(self, role: Role) -> None:
        """A validator reads its data, a miner trains its model or opens its page; a gateway needs nothing.

        Raises:
            SubnetError: a package is missing.
            UsageError: the data cannot be read, or say too little.

        """
        if role == "validator":
            await asyncio.to_thread(self._read_data)
        elif role == "miner" and self._by == "people":
            training = await asyncio.to_thread(read_training, self._own)
            self._crew = Crew(self._page, training)
            await self._crew.start()
        elif role == "miner":
            worker = await asyncio.to_thread(ModelWorker.train, self._by, self._own, self._seed)
            self._worker = worker
            if self._behaviour != "honest":
                self._rogue = Rogue(self._behaviour, worker, self._seed)

    async def close(self) -> None:
        """Close the page; forget the model."""
        crew, self._crew, self._worker, self._rogue = self._crew, None, None, None
        if crew is not None:
            await crew.stop()

    def _read_data(self) -> None:
        collection = read_collection(self._data, classes=self._labels, question=self._question)
        known = collection.known_indices()
        if len(known) < _LEAST_KNOWN:
            raise UsageError(
                f"{collection.name} has {len(known)} labelled items. A validator needs some to measure by: label at least {_LEAST_KNOWN}."
            )
        self._collection, self._truths, self._asked = collection, dict(collection.truths()), None
        counts = np.bincount([collection.known[at] for at in known], minlength=len(collection.classes))
        self._chance = max(float(counts.max() / counts.sum()), 1 / len(collection.classes))
        if collection.held_out:
            features = featurise([item for item, _ in collection.held_out])
            self._held_out = features, np.array([label for _, label in collection.held_out])

    def price(self) -> Price:
        """What a miner asks unless its owner says otherwise: its rate for each second of estimated work."""
        return price_of_rate(self.rate)

    def least_price(self) -> Price:
        """The pay floor: what anybody is offered and asks at least in this market, unproven miners included."""
        return price_of_rate(self.floor)

    def limit(self, task: Task) -> Usage:
        """Seconds of estimated work, and items. Raises `TaskError` for a task that is malformed, or not for this miner."""
        batch = parse_task(task)
        if self._worker is not None:
            self._worker.check(batch)
        return batch.limit

    # asking

    def challenge(self, beacon: bytes) -> Task:
        """A batch like a buyer's, with gold among its items. The same for the same beacon."""
        collection = self._opened()
        draws = lottery(beacon, "batch")
        known, unknown = collection.known_indices(), collection.unknown_indices()
        if unknown:
            # More than will be gold, so that knowing which items are known does not tell which are gold.
            shown = min(len(known), math.ceil(1.5 * self._gold * self._count))
            chosen = draws.sample(known, shown) + draws.sample(unknown, min(self._count - shown, len(unknown)))
        else:
            chosen = draws.sample(known, min(self._count, len(known)))
        draws.shuffle(chosen)
        return build_task(collection, chosen, beacon)

    def assign(self, seed: bytes, uid: int) -> Task:  # noqa: ARG002  # all miners label the same batch
        """The round's batch, the same for everybody: several voices on each item."""
        if self._asked is None or self._asked[0] != seed:
            self._asked = seed, self.challenge(seed)
        return self._asked[1]

    def is_assigned(self, seed: bytes, uid: int, task: Task) -> bool:
        """Whether the round asks this; of data that validators bring themselves nobody else can say."""
        return self._data != "digits" or self._collection is None or task == self.assign(seed, uid)

    async def answer(self, task: Task) -> AsyncIterator[Piece]:
        """Label the batch, by model, people or rogue.

        Raises:
            TaskError: the task is malformed, or the model does not know such items.
            SubnetError: the role is not open; or nobody was there to label anything in time.

        """
        async for piece in self.answer_for(task, self.price()):
            yield piece

    async def answer_for(self, task: Task, price: Price) -> AsyncIterator[Piece]:
        """The same; people see what this buyer pays, and not what the miner asks."""
        batch = parse_task(task)
        if self._crew is not None:
            async for piece in self._by_people(self._crew, batch, rate_of_price(price)):
                yield piece
            return
        if self._worker is None:
            raise SubnetError("The labelling mechanism is not open. Call open('miner') first.")
        self._worker.check(batch)
        labelling = self._rogue.label(batch) if self._rogue else asyncio.to_thread(self._worker.label, batch)
        votes, confidence = await labelling
        yield build_answer(batch, votes.tolist(), confidence.tolist())

    async def _by_people(self, crew: Crew, batch: Batch, rate: int) -> AsyncIterator[Piece]:
        async for done in crew.progress(batch, self._patience, rate):
            yield {"progress": done}
        votes, confidence = crew.collect(batch)
        if not any(vote >= 0 for vote in votes):
            raise SubnetError("Nobody was on the page to label anything.")
        yield build_answer(batch, votes, confidence)

    # judging

    async def judge(self, task: Task, submissions: Sequence[Submission]) -> Sequence[Verdict]:
        """One verdict per submission, by all items of the task whose label is known here."""
        batch = parse_task(task)
        gold = self._truth_of(batch)
        what = self._round(batch, gold)
        return [self._verdict(batch, what, submission) for submission in submissions]

    async def judge_round(self, seed: bytes, contenders: Sequence[Contender]) -> Sequence[Verdict]:
        """One verdict per contender: by gold that `seed` draws, and by what the others say, copies left out."""
        if not contenders:
            return []
        batch = parse_task(contenders[0].task)
        return await asyncio.to_thread(self._judge_round, seed, batch, contenders)

    def _judge_round(self, seed: bytes, batch: Batch, contenders: Sequence[Contender]) -> Sequence[Verdict]:
        self._judged[_name_of(batch)] = seed
        while len(self._judged) > _KEPT_ROUNDS:
            self._judged.popitem(last=False)
        gold = self._gold_of(batch, seed)
        verdicts: dict[int, Verdict] = {}
        voters: dict[int, Voter] = {}
        for place, contender in enumerate(contenders):
            submission = contender.submission
            answers = _read(batch, submission)
            if isinstance(answers, str):
                verdicts[place] = Verdict(0.0, answers)
                continue
            order = (round(1000 * submission.total_seconds), contender.generation)
            voters[place] = Voter(contender.uid, order, answers)
        findings, _ = appraise(self._round(batch, gold), list(voters.values()))
        by_uid = {voter.uid: voter.answers for voter in voters.values()}
        for place, finding in zip(voters, findings, strict=True):
            copied = by_uid[finding.original].votes if finding.fault == COPY else None
            opening = _write_opening(seed, copied)
            verdicts[place] = Verdict(finding.score, finding.reason, finding.measures, opening)
        return [verdicts[place] for place in range(len(contenders))]

    async def recheck(self, task: Task, submission: Submission, claimed: Verdict) -> Recheck:
        """Gold again, exactly; what others said cannot be seen from here, and bounds the claim from above only."""
        try:
            batch = parse_task(task)
        except TaskError as error:
            return Recheck(agrees=False, certain=True, reason=str(error))
        answers = _read(batch, submission)
        if isinstance(answers, str):
            wrong = claimed.score > 0
            return Recheck(agrees=not wrong, certain=wrong, reason=answers if wrong else "")
        seed, copied = _read_opening(claimed.opening, batch)
        own = self._judged.get(_name_of(batch))
        if own is not None and seed != own:
            return Recheck(agrees=False, certain=True, reason="its gold was not drawn by the seed of the round")
        gold = self._truth_of(batch) if seed is None else self._gold_of(batch, seed)
        what = self._round(batch, gold)
        most = best_score(what, answers)
        if claimed.score > most + _SLACK:
            reason = f"claims {claimed.score:.3f}, and gold allows {most:.3f} at the most"
            return Recheck(agrees=False, certain=True, reason=reason)
        if claimed.score > 0:
            return Recheck(agrees=True)
        return self._recheck_zero(batch, what, answers, copied)

    def _recheck_zero(self, batch: Batch, what: Round, answers: Answers, copied: Votes | None) -> Recheck:
        """A zero stands where a copy is shown, or where gold does not show good work."""
        if copied is not None:
            share = float(shared_errors(answers.votes, copied, self._truth_of(batch)))
            same = float((answers.votes == copied).mean())
            agrees = share >= COPY_SHARE or (share == 0 and same >= _EQUAL)
            return Recheck(agrees=agrees, reason="" if agrees else "claims a copy, and their errors differ")
        if is_guess(what, answers):
            return Recheck(agrees=True)
        (found,), _ = appraise(what, [Voter(1, (0,), answers)])
        agrees = found.score <= 0
        return Recheck(agrees=agrees, reason="" if agrees else f"claims worthless work, found {found.score:.3f}")

    def _verdict(self, batch: Batch, what: Round, submission: Submission) -> Verdict:
        answers = _read(batch, submission)
        if isinstance(answers, str):
            return Verdict(0.0, answers)
        (found,), _ = appraise(what, [Voter(submission.uid, (0,), answers)])
        return Verdict(found.score, found.reason, found.measures)

    def _round(self, batch: Batch, gold: Votes) -> Round:
        exam = None
        if self._held_out is not None:
            exam = Exam(featurise(batch.items), *self._held_out, len(batch.labels))
        return Round(len(batch.labels), gold, self._chance, exam)

    def _truth_of(self, batch: Batch) -> Votes:
        """(items,): the label where it is known here, else -1."""
        collection = self._opened()
        places = {name: index for index, name in enumerate(batch.labels)}
        known = [self._truths.get(item.digest, -1) for item in batch.items]
        truth = np.array([places.get(collection.classes[label], -1) if label >= 0 else -1 for label in known])
        if not (truth >= 0).any():
            raise SubnetError("Nothing in this task is known here: it was not drawn from this validator's data.")
        return truth

    def _gold_of(self, batch: Batch, seed: bytes) -> Votes:
        """(items,): the label where the item is gold in this round, else -1."""
        truth = self._truth_of(batch)
        chosen = draw_gold(seed, np.flatnonzero(truth >= 0).tolist(), max(_LEAST_KNOWN, round(self._gold * len(truth))))
        gold = np.full(len(truth), -1)
        gold[chosen] = truth[chosen]
        return gold

    def _opened(self) -> Collection:
        if self._collection is None:
            raise SubnetError("The labelling mechanism has no data. Call open('validator') first.")
        return self._collection


def _read(batch: Batch, submission: Submission) -> Answers | str:
    """The answers, or why there are none."""
    if submission.failure:
        return submission.failure
    try:
        return read_answers(batch, submission.pieces)
    except Flaw as flaw:
        return str(flaw)


def _name_of(batch: Batch) -> bytes:
    """Of a task: its ids are drawn anew for each."""
    return derive(b"labelling batch", json.dumps(batch.ids))


def _write_opening(seed: bytes, copied: Votes | None) -> str:
    """What another judge needs: the seed of gold, and the votes that were copied where that is the fault."""
    return json.dumps({"seed": seed.hex()} | ({} if copied is None else {"copied": copied.tolist()}))


def _read_opening(text: str, batch: Batch) -> tuple[bytes | None, Votes | None]:
    """The seed and the copied votes; None for what is not there or makes no sense."""
    try:
        note = decode_json(text)
        seed, raw = bytes.fromhex(note["seed"]), note.get("copied")
    except (ValueError, TypeError, KeyError, AttributeError):
        return None, None
    good = isinstance(raw, list) and len(raw) == len(batch.items) and all(type(vote) is int for vote in raw)
    return seed, np.clip(np.array(raw), -1, len(batch.labels) - 1) if good else None
