"""Who labels what: batches that wait, people at work, what each has done and earned. Knows no HTTP.

An item is with one person at a time, and comes back when that person leaves it lying. A batch that several validators
ask for is labelled once. People are told how they do on training items alone; what is gold nobody here knows.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tercet.errors import RefusedError, UsageError
from tercet.subnets.labelling.items import Item
from tercet.subnets.labelling.pay import estimate_seconds, hourly_rate
from tercet.subnets.labelling.tasks import Batch

__all__ = ["Job", "Person", "Shift", "Shown", "Training"]

SURE, UNSURE = 0.95, 0.6
"""What a person's word counts for, and what when it says that it is not sure."""
_MAX_PEOPLE = 256
_MAX_NAME = 40
_KEPT_JOBS = 64
_LYING_SECONDS = 120.0
"""After so long without an answer an item goes to somebody else."""
_ACTIVE_SECONDS = 60.0
"""The longest that one item counts as working time: people go for coffee."""
_WARM_UP, _TRAIN_EVERY = 8, 20
"""Training items at the start, and then one after so many."""
_UNDO = 50


@dataclass(frozen=True, slots=True)
class Training:
    """Items whose label may be told."""

    question: str = ""
    labels: tuple[str, ...] = ()
    pairs: tuple[tuple[Item, int], ...] = ()


@dataclass(slots=True, eq=False)
class Job:
    """A batch on its way."""

    batch: Batch
    votes: list[int]
    confidence: list[float]
    waiting: deque[int]
    rate: int
    """Credit units for an hour of estimated work: the most that somebody who asked for it pays."""
    ends: float
    """Of the clock; what is done by then is sent."""

    @property
    def done(self) -> int:
        """Items that are out of people's hands: labelled, or passed over for good."""
        return sum(vote >= -1 for vote in self.votes)

    @property
    def open(self) -> bool:
        """Whether something is left to do."""
        return any(vote < -1 for vote in self.votes)


_NOT_YET = -2
"""A vote that nobody has given yet; -1 is an item that somebody passed over."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One item on somebody's screen. Its key is a secret between that screen and this server."""

    key: str
    item: Item
    question: str
    labels: tuple[str, ...]
    since: float
    job: Job | None
    """None for a training item."""
    index: int = 0
    answer: int = -1
    """Of a training item: the label."""


@dataclass(slots=True, eq=False)
class Person:
    """Somebody at work."""

    token: str
    name: str
    training: deque[tuple[Item, int]]
    now: Shown | None = None
    last_seen: float = 0.0
    labelled: int = 0
    earned: float = 0.0
    """Credit units, by what buyers pay and the estimated time of each item."""
    active: float = 0.0
    """Seconds at work on items that count."""
    trained: int = 0
    trained_right: int = 0
    undo: deque[tuple[Shown, float, float]] = field(default_factory=lambda: deque(maxlen=_UNDO))
    """Newest last: what was shown, what it earned, how long it took."""
    since_training: int = 0


class Shift:
    """All that is going on at one page."""

    def __init__(self, training: Training, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`rate` is credit units for an hour of estimated work, where a batch does not say what it pays."""
        self._training, self._rate, self._clock = training, rate, clock
        self._jobs: OrderedDict[bytes, Job] = OrderedDict()
        self._people: dict[str, Person] = {}
        self._pictures: OrderedDict[str, Item] = OrderedDict()

    # batches

    def add(self, batch: Batch, patience: float, rate: int | None = None) -> Job:
        """The job for a batch: the one that is already there for the same items, or a new one; `rate` is what it pays."""
        name, rate = _digest(batch), self._rate if rate is None else rate
        job = self._jobs.get(name)
        if job is None:
            count = len(batch.items)
            job = Job(batch, [_NOT_YET] * count, [0.0] * count, deque(range(count)), rate, self._clock() + patience)
            self._jobs[name] = job
        elif not job.open or job.ends > self._clock():
            self._jobs.move_to_end(name)
        else:  # it ran out of time once; what is there stays, the rest gets another chance
            job.ends = self._clock() + patience
            job.waiting.extend(n for n, vote in enumerate(job.votes) if vote == _NOT_YET and n not in job.waiting)
        job.rate = max(job.rate, rate)
        while len(self._jobs) > _KEPT_JOBS:
            self._drop_oldest()
        return job

    def _drop_oldest(self) -> None:
        """Forget a batch, one that is over if there is any: its answer has been sent."""
        over = next((name for name, job in self._jobs.items() if not self._running(job)), None)
        del self._jobs[next(iter(self._jobs)) if over is None else over]

    def result(self, batch: Batch) -> tuple[list[int], list[float]]:
        """Votes and confidence so far; -1 for what nobody labelled."""
        job = self._jobs.get(_digest(batch))
        if job is None:
            return [-1] * len(batch.items), [0.0] * len(batch.items)
        return [max(-1, vote) for vote in job.votes], list(job.confidence)

    def left(self) -> int:
        """Items that wait for somebody, in all batches that still have time."""
        return sum(job.votes.count(_NOT_YET) for job in self._jobs.values() if self._running(job))

    def _running(self, job: Job) -> bool:
        return job.open and job.ends > self._clock()

    # people

    def join(self, name: str) -> Person:
        """Somebody comes in.

        Raises:
            UsageError: the name is empty or too long.
            RefusedError: everybody's seat is taken.

        """
        name = " ".join(name.split())
        if not 1 <= len(name) <= _MAX_NAME:
            raise UsageError(f"A name has 1 to {_MAX_NAME} characters.")
        if len(self._people) >= _MAX_PEOPLE:
            gone = min(self._people.values(), key=lambda each: each.last_seen)
            if self._clock() - gone.last_seen < _LYING_SECONDS:
                raise RefusedError(f"{_MAX_PEOPLE} people are at work here. Come back later.")
            del self._people[gone.token]
        pairs = list(self._training.pairs)
        secrets.SystemRandom().shuffle(pairs)
        person = Person(secrets.token_urlsafe(24), name, deque(pairs), last_seen=self._clock())
        self._people[person.token] = person
        return person

    def person(self, token: str) -> Person | None:
        """Who holds this token."""
        person = self._people.get(token)
        if person is not None:
            person.last_seen = self._clock()
        return person

    def pace(self, person: Person) -> int:
        """Credit units an hour at the speed of this person so far."""
        return hourly_rate(round(person.earned), person.active)

    # items

    def show(self, person: Person) -> Shown | None:
        """What this person looks at now; None when there is nothing to do."""
        if person.now is not None and (person.now.job is None or self._running(person.now.job)):
            return person.now
        person.now = None
        self._take_back()
        found = next(self._waiting(), None)
        if self._is_training_due(person, found):
            item, answer = person.training.popleft()
            question, labels = self._training.question, self._training.labels
            person.now = Shown(_key(), item, question, labels, self._clock(), None, answer=answer)
        elif found is not None:
            index = found.waiting.popleft()
            batch = found.batch
            person.now = Shown(_key(), batch.items[index], batch.question, batch.labels, self._clock(), found, index)
        if person.now is not None:
            self._remember(person.now)
        return person.now

    def _waiting(self) -> Iterator[Job]:
        return (job for job in self._jobs.values() if job.waiting and self._running(job))

    def _is_training_due(self, person: Person, job: Job | None) -> bool:
        if not person.training or (job is not None and job.batch.labels != self._training.labels):
            return False
        return person.trained < _WARM_UP or (job is not None and person.since_training >= _TRAIN_EVERY)

    def _remember(self, shown: Shown) -> None:
        self._pictures[shown.key] = shown.item
        while len(self._pictures) > 4 * _MAX_PEOPLE:
            self._pictures.popitem(last=False)

    def picture(self, key: str) -> Item | None:
        """The item that is shown under this key."""
        return self._pictures.get(key)

    def _take_back(self) -> None:
        """Items that lie on screens nobody looks at go back to the queue."""
        now = self._clock()
        for person in self._people.values():
            shown = person.now
            if (
                shown is not None
                and shown.job is not None
                and now - max(shown.since, person.last_seen) > _LYING_SECONDS
            ):
                shown.job.waiting.append(shown.index)
                person.now = None

    def answer(self, person: Person, key: str, label: int | None, *, sure: bool) -> tuple[bool, str] | None:
        """Take down what a person says of the item on its screen; `label` None passes it over.

        Returns:
            For a training item whether it was right, and the right label; None for all others.

        Raises:
            UsageError: the item is no longer on that screen, or the label is none of those.

        """
        shown = person.now
        if shown is None or not secrets.compare_digest(shown.key.encode(), key.encode()):
            raise UsageError("This item is no longer yours; take the next one.")
        if label is not None and not 0 <= label < len(shown.labels):
            raise UsageError(f"There are labels 0 to {len(shown.labels) - 1}.")
        person.now = None
        if shown.job is None:
            person.trained += 1
            person.since_training = 0
            person.trained_right += label == shown.answer
            return label == shown.answer, shown.labels[shown.answer]
        job, taken = shown.job, min(self._clock() - shown.since, _ACTIVE_SECONDS)
        job.votes[shown.index] = -1 if label is None else label
        job.confidence[shown.index] = 0.0 if label is None else SURE if sure else UNSURE
        gain = 0.0 if label is None else job.rate * estimate_seconds(shown.item) / 3600
        person.labelled += label is not None
        person.earned += gain
        person.active += taken
        person.since_training += 1
        person.undo.append((shown, gain, taken))
        return None

    def take_back(self, person: Person) -> bool:
        """Undo a person's last answer, and put the item back on its screen, while its batch has not left."""
        while person.undo:
            shown, gain, taken = person.undo.pop()
            if shown.job is None or not (self._running(shown.job) or shown.job.ends > self._clock()):
                continue
            if not shown.job.open:  # the batch is complete: its answer is on its way
                continue
            if person.now is not None and person.now.job is not None:
                person.now.job.waiting.appendleft(person.now.index)
            elif person.now is not None:
                person.training.appendleft((person.now.item, person.now.answer))
            shown.job.votes[shown.index], shown.job.confidence[shown.index] = _NOT_YET, 0.0
            person.labelled -= gain > 0
            person.earned -= gain
            person.active -= taken
            person.since_training = max(0, person.since_training - 1)
            person.now = Shown(_key(), shown.item, shown.question, shown.labels, self._clock(), shown.job, shown.index)
            self._remember(person.now)
            return True
        return False


def _key() -> str:
    return secrets.token_urlsafe(16)


def _digest(batch: Batch) -> bytes:
    """Equal for the same items in the same order, whatever their ids."""
    whole = hashlib.sha256("\0".join((batch.question, *batch.labels)).encode())
    for item in batch.items:
        whole.update(item.digest)
    return whole.digest()
