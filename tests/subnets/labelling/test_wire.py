"""Tasks and answers on the wire: what goes out comes back, and junk ends as one sentence."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.errors import TaskError
from tercet.subnets.kit.beacon import derive
from tercet.subnets.labelling.answers import Flaw, build_answer, read_answers
from tercet.subnets.labelling.items import Collection, Item
from tercet.subnets.labelling.pictures import encode_png
from tercet.subnets.labelling.tasks import (
    MAX_BATCH,
    MAX_BATCH_BYTES,
    build_task,
    parse_task,
    split_batches,
    task_limit,
)

SEED = derive(b"a round")


def mixed() -> Collection:
    items = (Item("text", "Grüße".encode()), Item("gray", bytes(64), 8), Item("image", encode_png(bytes(64), 8)))
    return Collection("mixed", "What is it?", ("a", "b"), ("1", "2", "3"), items, (0, 1, -1))


def test_a_task_comes_back_as_it_was_built() -> None:
    task = json.loads(json.dumps(build_task(mixed(), [2, 0, 1], SEED)))
    batch = parse_task(task)
    assert batch.items == (mixed().items[2], mixed().items[0], mixed().items[1])
    assert (batch.question, batch.labels) == ("What is it?", ("a", "b"))
    assert (batch.limit.prompt, batch.limit.completion) == (6, 3)


def test_nothing_in_a_task_tells_gold_from_the_rest() -> None:
    """Ids are drawn anew in each task, and no field depends on what is known."""
    known, unknown = (
        mixed(),
        Collection(
            **{f: getattr(mixed(), f) for f in ("name", "question", "classes", "ids", "items")}, known=(-1, -1, -1)
        ),
    )
    assert build_task(known, [0, 1, 2], SEED) == build_task(unknown, [0, 1, 2], SEED)
    other = build_task(known, [0, 1, 2], derive(b"another"))
    assert {item["id"] for item in other["items"]}.isdisjoint(
        item["id"] for item in build_task(known, [0, 1, 2], SEED)["items"]
    )


def changed(**fields: Any) -> dict[str, Any]:
    return {**build_task(mixed(), [0, 1, 2], SEED), **fields}


@pytest.mark.parametrize(
    "task",
    [
        {},
        {"kind": "chat"},
        changed(question=7),
        changed(question=" "),
        changed(question="\ud800"),
        changed(labels=["a"]),
        changed(labels=["a", "a"]),
        changed(labels=["a", 3]),
        changed(labels=[str(n) for n in range(65)]),
        changed(items=[]),
        changed(items="abc"),
        changed(items=[{"id": "1", "text": "x"}] * 2),
        changed(items=[{"id": str(n), "text": "x"} for n in range(MAX_BATCH + 1)]),
        changed(items=[{"id": "1", "text": "x" * 4001}]),
        changed(items=[{"id": "1", "text": "x", "gold": True}]),
        changed(items=[{"id": "1", "gray": {"width": 0, "data": ""}}]),
        changed(items=[{"id": "1", "gray": {"width": True, "data": "AAAA"}}]),
        changed(items=[{"id": "1", "gray": {"width": 2, "data": "AAAA"}}]),
        changed(items=[{"id": "1", "gray": {"width": 8, "data": "?" * 64}}]),
        changed(items=[{"id": "1", "gray": None}]),
        changed(items=[{"id": "1", "image": "R0lGODlh"}]),
        changed(items=[{"id": "1", "image": "A" * 40_000}]),
        changed(items=[None]),
    ],
)
def test_a_malformed_task_is_refused(task: dict[str, Any]) -> None:
    with pytest.raises(TaskError):
        task_limit(task)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.sampled_from(["id", "text", "gray", "items", "labels", "width"]), x),
    )
)
def test_no_task_breaks_the_reader(junk: Any) -> None:
    for task in (junk, changed(items=[junk]), changed(items=junk), changed(labels=junk)):
        try:
            parse_task(task)
        except TaskError:
            continue


def test_batches_fit_the_wire() -> None:
    small, large = Item("text", b"x"), Item("text", b"x" * 4000)
    assert split_batches([], 10) == []
    assert split_batches([small] * 5, 2) == [[0, 1], [2, 3], [4]]
    batches = split_batches([large] * 600, 1000)
    assert all(4000 * len(batch) <= MAX_BATCH_BYTES and len(batch) <= MAX_BATCH for batch in batches)
    assert [at for batch in batches for at in batch] == list(range(600))


# answers


def answer(**fields: Any) -> dict[str, Any]:
    return {**build_answer(parse_task(changed()), [0, 1, 0], [0.9, 0.8, 1.0]), **fields}


def test_an_answer_comes_back_as_it_was_built() -> None:
    """Progress before it is passed over; what is left out has no vote, and is not charged."""
    batch = parse_task(changed())
    piece = json.loads(json.dumps(build_answer(batch, [0, -1, 1], [0.9, 0.0, 0.5])))
    assert piece["usage"] == {"prompt": 4, "completion": 2}
    found = read_answers(batch, [{"progress": 1}, piece])
    assert found.votes.tolist() == [0, -1, 1]
    assert found.confidence.tolist() == [0.9, 0.0, 0.5]


def rows(**fields: Any) -> list[dict[str, Any]]:
    first, *rest = answer()["answers"]
    return [{**first, **fields}, *rest]


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([], "no list of answers"),
        ([{"answers": None}], "no list of answers"),
        ([7], "no list of answers"),
        ([{"progress": 1}] * 5000 + [answer()], "no list of answers"),
        ([answer(answers=[])], "no item is answered"),
        ([answer(answers=rows() * 2)], "6 answers to 3 items"),
        ([answer(answers=[rows()[0]] * 2)], "answered twice"),
        ([answer(answers=[None])], "not an object"),
        ([answer(answers=rows(id="0123456789abcdef"))], "belongs to another task"),
        ([answer(answers=rows(id=[1]))], "belongs to another task"),
        ([answer(answers=rows(label="c"))], "none of those to choose from"),
        ([answer(answers=rows(label=0))], "none of those to choose from"),
        ([answer(answers=rows(confidence=math.nan))], "not a number from 0 to 1"),
        ([answer(answers=rows(confidence=math.inf))], "not a number from 0 to 1"),
        ([answer(answers=rows(confidence=10**400))], "not a number from 0 to 1"),
        ([answer(answers=rows(confidence=True))], "not a number from 0 to 1"),
        ([answer(usage={"prompt": 60, "completion": 3})], "usage is not"),
        ([answer(usage=None)], "usage is not"),
        ([answer(usage={"prompt": 6.0, "completion": True})], "usage is not"),
    ],
)
def test_a_malformed_answer_says_what_is_wrong(pieces: list[Any], reason: str) -> None:
    with pytest.raises(Flaw, match=reason):
        read_answers(parse_task(changed()), pieces)
