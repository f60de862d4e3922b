"""Replaying published vectors: every value comes out, and a bad file is refused with a reason."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tercet.errors import LiquidAlphaError, ReplayError
from tercet.market.replay import replay_document, replay_file

VECTORS = Path(__file__).parent / "vectors" / "yuma.json"
"""From the reference's own tests: opentensor/subtensor@14bc6f9."""


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(VECTORS.read_text())
    return loaded


@pytest.fixture
def case(document: dict[str, Any]) -> dict[str, Any]:
    """A small case to bend: four neurons, classic bonds."""
    return copy.deepcopy(next(case for case in document["cases"] if case["name"] == "active_stake_mask"))


def replay(document: dict[str, Any], case: dict[str, Any]) -> Any:
    (report,) = replay_document({**document, "cases": [case]}).cases
    return report


def test_every_published_value_comes_out_exactly() -> None:
    report = replay_file(VECTORS)
    assert report.ok
    assert (report.asserted, report.matched) == (3_237, 3_237)
    assert (report.mentioned, report.mentioned_matched) == (116, 116)
    assert len(report.cases) == 12
    assert report.source.startswith("opentensor/subtensor@14bc6f9")


def test_one_wrong_unit_is_found_and_named(document: dict[str, Any], case: dict[str, Any]) -> None:
    case["steps"][1]["expected"]["emission"][2] += 1
    report = replay(document, case)
    assert report.matched == report.asserted - 1
    (mismatch,) = report.mismatches
    assert mismatch.where == "both vote 50/50: emission[2]"
    assert (mismatch.expected, mismatch.got) == ("250000001", "250000000")


def test_a_tolerance_is_used_only_where_the_case_gives_it(document: dict[str, Any], case: dict[str, Any]) -> None:
    case["steps"][1]["expected"]["emission"][2] += 1
    case["steps"][1]["compare"] = {"abs_tol": 1}
    assert not replay(document, case).mismatches


def test_fractions_relations_and_whole_bonds_are_compared(document: dict[str, Any], case: dict[str, Any]) -> None:
    step = case["steps"][1]
    step["expected"] = {
        "dividends_frac": [0.5, 0.5, 0, 0],
        "relations": ["incentive[2] == incentive[3]", "dividends[0] >= 32767", "incentive[0] > 0"],
        "bonds": [[[2, 65_535], [3, 65_535]], [[2, 65_535], [3, 65_535]], [], []],
        "validator_permit": [True, True, True, True],
    }
    step["compare"] = {"frac_tol": 0.001, "abs_tol": 0}
    report = replay(document, {**case, "steps": case["steps"][:2]})
    assert report.asserted == 4 + 3 + 16 + 4
    assert [mismatch.expected for mismatch in report.mismatches] == ["incentive[0] > 0"]


def test_state_that_a_step_leaves_out_is_carried(document: dict[str, Any], case: dict[str, Any]) -> None:
    for step in case["steps"][1:]:
        del step["inputs"]["bonds"], step["inputs"]["validator_permit"]
    assert not replay(document, case).mismatches


def test_parameters_that_a_step_leaves_out_are_the_files_defaults(
    document: dict[str, Any], case: dict[str, Any]
) -> None:
    for step in case["steps"]:
        del step["inputs"]["kappa_u16"], step["inputs"]["emission"]
    assert not replay(document, case).mismatches


def test_liquid_alpha_is_refused(document: dict[str, Any], case: dict[str, Any]) -> None:
    case["steps"][0]["inputs"]["liquid_alpha"] = True
    with pytest.raises(LiquidAlphaError, match="out of scope"):
        replay(document, case)


@pytest.mark.parametrize("field", ["stake", "n", "weights", "current_block", "last_update", "bonds"])
def test_a_missing_field_is_named(document: dict[str, Any], case: dict[str, Any], field: str) -> None:
    del case["steps"][0]["inputs"][field]
    with pytest.raises(ReplayError, match=f"'{field}' is missing"):
        replay(document, case)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stake", [1, 2]),
        ("stake", "many"),
        ("stake", [1, -1, 1, 1]),
        ("stake", [1, 1.5, 1, 1]),
        ("weights", {"9": []}),
        ("weights", {"0": [[1, 70_000]]}),
        ("weights", {"0": [[1]]}),
        ("weights", {"zero": []}),
        ("weights", {"0": 5}),
        ("bonds", [[], [], [], [[7, 1]]]),
        ("owner_uid", 4),
        ("n", -1),
    ],
)
def test_malformed_inputs_are_refused(
    document: dict[str, Any], case: dict[str, Any], field: str, value: object
) -> None:
    case["steps"][0]["inputs"][field] = value
    with pytest.raises(ReplayError):
        replay(document, case)


@pytest.mark.parametrize(
    "expected",
    [
        {"wealth": [1, 2, 3, 4]},
        {"emission": [1, 2]},
        {"emission": 5},
        {"bonds_cells": [[0, 9, 1]]},
        {"bonds_cells": [[0]]},
        {"relations": ["incentive[0] is large"]},
        {"relations": ["wealth[0] > 0"]},
        {"validators": {"wealth": 1}},
    ],
)
def test_expectations_of_unknown_form_are_refused(
    document: dict[str, Any], case: dict[str, Any], expected: dict[str, Any]
) -> None:
    case["steps"][1]["expected"] = expected
    if "validators" in expected:
        case = {**case, "steps": case["steps"][:2]}
        case["steps"][1]["inputs"]["compact"] = {"validators": "0..1"}
    with pytest.raises(ReplayError):
        replay(document, case)


@pytest.mark.parametrize("text", ["", "{", "[]", "5", '{"format": "other/2", "cases": []}', '{"format": 1}'])
def test_files_of_another_kind_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "vectors.json"
    file.write_text(text)
    with pytest.raises(ReplayError):
        replay_file(file)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="Cannot read"):
        replay_file(tmp_path / "nothing.json")


def test_an_owner_may_weigh_itself_on_the_sparse_path_only(document: dict[str, Any]) -> None:
    case = copy.deepcopy(next(case for case in document["cases"] if case["name"] == "owner_self_weight"))
    assert not replay(document, case).mismatches
    case["variants"] = ["dense"]
    assert replay(document, case).mismatches


@pytest.mark.parametrize(
    "said", [{"validators": list(range(64))}, {"validators": "0..63 step 1"}, {"weight_row_server": "65535 on itself"}]
)
def test_the_two_classes_of_a_compact_step_can_be_said_in_other_words(
    document: dict[str, Any], said: dict[str, Any]
) -> None:
    """A server that weighs itself changes nothing: that weight never counts."""
    case = copy.deepcopy(next(case for case in document["cases"] if case["name"].startswith("graph512")))
    case["steps"][0]["inputs"]["compact"].update(said)
    report = replay(document, case)
    assert report.asserted == report.matched > 1_000


@pytest.mark.parametrize("words", ["65535 on nobody", "all on itself", ""])
def test_a_row_in_unknown_words_is_refused(document: dict[str, Any], words: str) -> None:
    case = copy.deepcopy(next(case for case in document["cases"] if case["name"].startswith("graph512")))
    case["steps"][0]["inputs"]["compact"]["weight_row_server"] = words
    with pytest.raises(ReplayError, match="Known: 'none'"):
        replay(document, case)
