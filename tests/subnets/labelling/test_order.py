"""A buyer's order: cut in batches, written down as it comes in, merged; nothing that was paid for is lost."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tercet.errors import UsageError
from tercet.subnets.labelling.answers import Flaw, build_answer
from tercet.subnets.labelling.items import Collection, Item
from tercet.subnets.labelling.order import Order, write_rows
from tercet.subnets.labelling.tasks import parse_task

from .conftest import voter

COUNT = 120
TRUTH = np.random.default_rng(0).integers(0, 3, COUNT)


def collection(given: int) -> Collection:
    items = tuple(Item("text", f"row {n}".encode()) for n in range(COUNT))
    known = tuple(int(label) if n < given else -1 for n, label in enumerate(TRUTH))
    return Collection("rows.csv", "Which?", ("a", "b", "c"), tuple(f"id{n}" for n in range(COUNT)), items, known)


def deliver(order: Order, number: int, operator: str, skill: float, seed: int) -> None:
    """One miner's answer to one batch."""
    batch = parse_task(order.task(number))
    truth = np.array([TRUTH[int(item.data.split()[1])] for item in batch.items])
    votes = voter(truth, skill, 10 * seed + number, 3)
    order.add(number, operator, [build_answer(batch, votes.tolist(), [0.9] * len(votes))], 1_000)


def test_every_unknown_item_is_asked_about_once_with_gold_among_them(tmp_path: Path) -> None:
    order = Order(collection(40), tmp_path / "j", batch=30)
    asked = [item["text"] for number in range(order.count) for item in order.task(number)["items"]]
    unknown = [text for text in asked if int(text.split()[1]) >= 40]
    assert sorted(unknown) == sorted(f"row {n}" for n in range(40, COUNT))
    assert len(asked) - len(unknown) == 3 * order.count
    assert all(len(order.task(number)["items"]) <= 30 for number in range(order.count))


def test_good_voices_decide_and_bad_ones_are_left_out(tmp_path: Path) -> None:
    order = Order(collection(40), tmp_path / "j", batch=40)
    for number in range(order.count):
        for seed, (operator, skill) in enumerate((("good", 0.95), ("fair", 0.8), ("random", 0.33))):
            deliver(order, number, operator, skill, seed)
    rows, findings = order.results()
    right = np.mean([row.label == "abc"[TRUTH[n]] for n, row in enumerate(rows)])
    assert right > 0.93
    assert findings["random"].fault
    assert not findings["good"].fault
    assert [row.source for row in rows] == ["given"] * 40 + ["bought"] * 80
    assert {row.voices for row in rows[40:]} == {2}
    assert all(0.33 < row.confidence <= 1 for row in rows[40:])
    assert order.charged == 3_000 * order.count


def test_without_gold_the_votes_are_all_there_is(tmp_path: Path) -> None:
    order = Order(collection(0), tmp_path / "j", batch=60)
    for number in range(order.count):
        for seed, skill in enumerate((0.9, 0.9, 0.9)):
            deliver(order, number, f"miner {seed}", skill, seed)
    rows, findings = order.results()
    assert not findings
    assert np.mean([row.label == "abc"[TRUTH[n]] for n, row in enumerate(rows)]) > 0.93


def test_an_order_goes_on_where_it_was(tmp_path: Path) -> None:
    """Also after a crash in the middle of a line; another order's journal is refused."""
    journal = tmp_path / "j"
    first = Order(collection(40), journal, batch=40)
    deliver(first, 0, "good", 0.95, 1)
    deliver(first, 1, "good", 0.95, 1)
    with journal.open("a") as sink:
        sink.write('{"batch": 2, "opera')
    again = Order(collection(40), journal, batch=40)
    assert [again.voices(n) for n in range(again.count)] == [{"good"}, {"good"}, frozenset()]
    assert again.charged == 2_000
    deliver(again, 2, "good", 0.95, 1)
    assert [row.source for row in Order(collection(40), journal, batch=40).results()[0]].count("bought") == 80
    with pytest.raises(UsageError, match="another order"):
        Order(collection(41), journal, batch=40)


@pytest.mark.parametrize(
    "line", ["{}", "[]", '{"batch": 9, "operator": "x", "votes": [], "confidence": [], "charged": 1}']
)
def test_a_broken_journal_is_named(tmp_path: Path, line: str) -> None:
    order = Order(collection(40), tmp_path / "j")
    deliver(order, 0, "good", 0.95, 1)
    with (tmp_path / "j").open("a") as sink:
        sink.write(line + "\n")
    with pytest.raises(UsageError, match="no journal of answers"):
        Order(collection(40), tmp_path / "j")


def test_nonsense_that_was_paid_for_is_not_bought_again(tmp_path: Path) -> None:
    order = Order(collection(40), tmp_path / "j")
    with pytest.raises(Flaw):
        order.add(0, "babbler", [{"answers": "?"}], 500)
    assert order.voices(0) == {"babbler"}
    assert order.charged == 500
    rows, _ = order.results()
    assert {row.source for row in rows} == {"given", "missing"}


def test_results_are_written_whole_as_csv_or_json(tmp_path: Path) -> None:
    order = Order(collection(119), tmp_path / "j")
    deliver(order, 0, "good", 1.0, 1)
    rows, _ = order.results()
    write_rows(tmp_path / "out.csv", rows)
    write_rows(tmp_path / "out.json", rows)
    table = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert table[-1]["id"] == "id119"
    assert (table[-1]["label"], table[-1]["source"], table[-1]["voices"]) == ("abc"[TRUTH[119]], "bought", "1")
    assert json.loads((tmp_path / "out.json").read_text())[0] == {
        "id": "id0",
        "label": "abc"[TRUTH[0]],
        "confidence": 1.0,
        "voices": 0,
        "source": "given",
    }
