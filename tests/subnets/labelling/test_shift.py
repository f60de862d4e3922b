"""Who labels what at a page: items go round, nobody loses work, and gold stays a secret."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.errors import RefusedError, UsageError
from tercet.subnets.labelling.items import Item
from tercet.subnets.labelling.page.shift import Shift, Training
from tercet.subnets.labelling.tasks import Batch

LABELS = ("a", "b", "c")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def batch(count: int, word: str = "item", prefix: str = "id") -> Batch:
    items = tuple(Item("text", f"{word} {n}".encode()) for n in range(count))
    return Batch("Which?", LABELS, tuple(f"{prefix}{n}" for n in range(count)), items)


def shift(training: int = 0) -> tuple[Shift, Clock]:
    clock = Clock()
    pairs = tuple((Item("text", f"lesson {n}".encode()), n % 3) for n in range(training))
    return Shift(Training("Which?", LABELS, pairs), 12_000_000, clock), clock


def say(there: Shift, person: object, label: int | None, *, sure: bool = True) -> tuple[bool, str] | None:
    shown = there.show(person)  # type: ignore[arg-type]  # a Person
    assert shown is not None
    return there.answer(person, shown.key, label, sure=sure)  # type: ignore[arg-type]


def test_two_people_share_a_batch_and_no_item_is_with_both() -> None:
    there, clock = shift()
    work = batch(6)
    there.add(work, 100)
    people = [there.join("one"), there.join("two")]
    clock.now = 1
    for label in range(3):
        shown = [there.show(person) for person in people]
        assert len({each.index for each in shown if each is not None}) == 2
        for person in people:
            say(there, person, label, sure=label > 0)
    votes, confidence = there.result(work)
    assert votes == [0, 0, 1, 1, 2, 2]
    assert confidence == [0.6, 0.6, 0.95, 0.95, 0.95, 0.95]
    assert there.show(people[0]) is None
    assert there.left() == 0


def test_a_batch_pays_what_its_best_buyer_pays() -> None:
    """Two ask for it at different prices; where none is said it is the miner's own."""
    there, _ = shift()
    person = there.join("one")
    there.add(batch(1), 100, 3_000_000)
    there.add(batch(1), 100, 6_000_000)
    there.add(batch(1), 100, 1_000_000)
    say(there, person, 0)
    paid = person.earned
    there.add(batch(1, "else"), 100)
    say(there, person, 0)
    assert person.earned == pytest.approx(3 * paid)


def test_a_batch_that_is_asked_for_twice_is_labelled_once() -> None:
    """Other ids are another validator's; other items are another batch."""
    there, _ = shift()
    job = there.add(batch(2), 100)
    assert there.add(batch(2, prefix="other"), 100) is job
    assert there.add(batch(2, "else"), 100) is not job
    person = there.join("one")
    say(there, person, 1)
    say(there, person, 2)
    assert there.result(batch(2, prefix="third"))[0] == [1, 2]


def test_training_is_told_and_nothing_else_is() -> None:
    there, _ = shift(training=12)
    work = batch(30)
    there.add(work, 100)
    person = there.join("one")
    answers = [say(there, person, 0) for _ in range(38)]
    assert all(each is not None for each in answers[:8])
    assert [n for n, each in enumerate(answers) if each is not None] == [*range(8), 28]
    assert person.labelled == 29
    assert person.trained == 9
    assert there.result(work)[0].count(0) == 29


def test_training_for_other_work_is_left_out() -> None:
    there, _ = shift(training=12)
    other = Batch("?", ("x", "y"), ("1",), (Item("text", b"z"),))
    there.add(other, 100)
    shown = there.show(there.join("one"))
    assert shown is not None
    assert shown.job is not None


def test_pay_and_pace_are_of_work_that_counts() -> None:
    there, clock = shift(training=1)
    there.add(batch(10), 1000)
    person = there.join("one")
    clock.now = 50
    say(there, person, 0)
    assert (person.earned, there.pace(person)) == (0, 0)
    for _ in range(5):
        there.show(person)
        clock.now += 2
        say(there, person, 0)
    assert person.earned == pytest.approx(5 * 12_000_000 * 1.8 / 3600)
    assert there.pace(person) == pytest.approx(10_800_000, rel=1e-3)
    there.show(person)
    clock.now += 600
    there.person(person.token)
    say(there, person, None)
    assert person.labelled == 5
    assert person.active == 70


def test_undo_gives_the_item_back_and_takes_the_pay() -> None:
    there, _ = shift()
    work = batch(3)
    there.add(work, 100)
    person = there.join("one")
    say(there, person, 0)
    say(there, person, 1)
    earned = person.earned
    assert there.take_back(person)
    shown = there.show(person)
    assert shown is not None
    assert shown.index == 1
    assert person.earned == earned / 2
    say(there, person, 2)
    say(there, person, 0)
    assert there.result(work)[0] == [0, 2, 0]
    assert not there.take_back(person), "the batch has left"


def test_an_item_left_lying_goes_to_somebody_else() -> None:
    there, clock = shift()
    work = batch(1)
    there.add(work, 10_000)
    sleeper, other = there.join("sleeper"), there.join("other")
    key = there.show(sleeper)
    assert key is not None
    assert there.show(other) is None
    clock.now = 121
    there.person(other.token)
    say(there, other, 2)
    with pytest.raises(UsageError, match="no longer yours"):
        there.answer(sleeper, key.key, 0, sure=True)
    assert there.result(work)[0] == [2]


def test_what_is_done_when_time_is_over_stays() -> None:
    """And is not asked again when the batch comes back."""
    there, clock = shift()
    work = batch(3)
    job = there.add(work, 10)
    person = there.join("one")
    say(there, person, 1)
    clock.now = 11
    assert there.show(person) is None
    assert there.result(work)[0] == [1, -1, -1]
    assert there.add(work, 10) is job
    say(there, person, 2)
    say(there, person, 0)
    assert sorted(there.result(work)[0]) == [0, 1, 2]


def test_doors_are_bounded() -> None:
    there, clock = shift()
    for name in ("", "  ", "x" * 41):
        with pytest.raises(UsageError, match="1 to 40"):
            there.join(name)
    people = [there.join("p") for _ in range(256)]
    with pytest.raises(RefusedError, match="256 people"):
        there.join("late")
    clock.now = 200
    for person in people[1:]:
        there.person(person.token)
    there.join("late")
    assert there.person(people[0].token) is None


@given(
    st.lists(
        st.tuples(st.sampled_from(["answer", "skip", "undo", "wait", "add"]), st.integers(0, 2), st.integers(0, 2))
    )
)
def test_no_item_is_lost(steps: list[tuple[str, int, int]]) -> None:
    """Each is labelled, passed over, on one screen or waiting; whatever people do."""
    there, clock = shift(training=3)
    work = batch(5)
    job = there.add(work, 1e9)
    people = [there.join(str(n)) for n in range(3)]
    for step, who, label in steps:
        person = people[who]
        there.person(person.token)
        shown = there.show(person)
        if step in ("answer", "skip") and shown is not None:
            there.answer(person, shown.key, label if step == "answer" else None, sure=True)
        elif step == "undo":
            there.take_back(person)
        elif step == "wait":
            clock.now += 130
        elif step == "add":
            assert there.add(work, 1e9) is job
        screens = [each.now.index for each in people if each.now is not None and each.now.job is job]
        open_items = [n for n, vote in enumerate(job.votes) if vote < -1]
        assert sorted([*job.waiting, *screens]) == open_items
