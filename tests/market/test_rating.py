"""Ratings: figures follow from readings, texts from fields, and junk is no rating."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.errors import RatingError
from tercet.market import Rating, Reading
from tercet.market.rating import LINK, build_figures

WHO = "0x" + "11" * 20


def reading(kind: str = "float32", rate: int = 100, link: int = 0, at: int = 7) -> Reading:
    return Reading(kind, rate, link, at, bytes(32))


RATING = Rating(
    WHO, WHO, WHO, "lease-7", (reading(rate=95, link=10), reading(at=9), reading(rate=105)), 1, 2, "a card", 500, 20
)


def test_a_figure_is_the_median_and_how_far_readings_lie_apart() -> None:
    """The link's readings stand on their own."""
    figures = {figure.kind: figure for figure in RATING.figures}
    assert (figures["float32"].median, figures["float32"].spread_bps, figures["float32"].count) == (100, 1_000, 3)
    assert figures[LINK].median == 10
    assert RATING.rate("float32") == 100
    assert RATING.rate("int8") == 0
    assert RATING.measured_at == 9


@pytest.mark.parametrize(
    ("rates", "noisy"), [([95, 100, 105], False), ([94, 100, 105], True), ([100, 100], True), ([0, 0, 0], False)]
)
def test_readings_that_are_few_or_far_apart_are_noisy(rates: list[int], noisy: bool) -> None:
    """A tenth of the median is what an honest machine may waver."""
    (figure,) = build_figures([reading(rate=rate) for rate in rates])
    assert figure.noisy is noisy


@given(st.lists(st.integers(0, 10**20), min_size=1, max_size=40))
def test_the_median_lies_among_the_readings(rates: list[int]) -> None:
    """And never moves by the order in which they came."""
    (figure,) = build_figures([reading(rate=rate) for rate in rates])
    assert min(rates) <= figure.median <= max(rates)
    assert (figure,) == build_figures([reading(rate=rate) for rate in reversed(rates)])


def test_a_rating_travels_as_json() -> None:
    """Unchanged; figures in the file are for people and decide nothing."""
    data = json.loads(json.dumps(RATING.to_json()))
    assert Rating.from_json(data) == RATING
    data["figures"]["float32"]["median"] = "1000000"
    assert Rating.from_json(data).rate("float32") == 100


def test_the_text_covers_every_field_but_the_signature() -> None:
    """Whoever changes one needs another signature."""
    data = RATING.to_json()
    changed: dict[str, object] = {
        "operator": "0x" + "22" * 20,
        "market": "0x" + "22" * 20,
        "measurer": "0x" + "22" * 20,
    }
    changed |= {"lease": "", "failed": 2}
    for name, value in changed.items():
        assert Rating.from_json({**data, name: value}).text != RATING.text
    for name in data["machine"]:
        machine = {**data["machine"], name: "" if name == "accelerator" else 3}
        assert Rating.from_json({**data, "machine": machine}).text != RATING.text
    assert Rating.from_json({**data, "readings": data["readings"][1:]}).text != RATING.text
    assert Rating.from_json({**data, "signature": "00"}).text == RATING.text


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("operator",), "nobody"),
        (("operator",), None),
        (("lease",), "x" * 101),
        (("lease",), 7),
        (("failed",), -1),
        (("failed",), True),
        (("machine",), []),
        (("machine", "cores"), float("nan")),
        (("machine", "accelerator"), {}),
        (("readings",), []),
        (("readings",), [["float32", "1", "0", 7, "00" * 32]] * 5_000),
        (("readings",), {}),
        (("readings", 0), ["float32"]),
        (("readings", 0, 0), "LINK"),
        (("readings", 0, 0), LINK),
        (("readings", 0, 1), 95),
        (("readings", 0, 1), "-5"),
        (("readings", 0, 1), "9" * 30),
        (("readings", 0, 3), "now"),
        (("readings", 0, 4), "00"),
        (("signature",), "zz"),
    ],
)
def test_what_is_no_rating_is_refused(path: tuple[Any, ...], value: object) -> None:
    """Wrong kinds, wrong sizes, numbers beyond reason."""
    data: Any = copy.deepcopy(RATING.to_json())
    place = data
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(RatingError, match="This is no rating"):
        Rating.from_json(data)


@pytest.mark.parametrize("data", [None, [], "rating", 7, {}])
def test_other_json_is_no_rating(data: object) -> None:
    """The message says what writes one."""
    with pytest.raises(RatingError, match="tercet rating make"):
        Rating.from_json(data)
