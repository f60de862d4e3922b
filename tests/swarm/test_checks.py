"""The checking programs: what a CSV says is derived anew, and a sentence about it may not say anything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tercet.swarm.roles.checks.facts import Table, facts_of
from tercet.swarm.roles.checks.report import faults, finding_faults

TEXT = "month,region,units\n1,north,3\n2,north,9\n1,south,4\n2,south,4\n"


def facts() -> dict[str, str]:
    """Words to value."""
    return {str(fact["text"]): str(fact["value"]) for fact in facts_of(Table(TEXT))}


def test_facts_are_what_the_table_says() -> None:
    """Means, extremes and groups, as they are printed."""
    found = facts()
    assert found["the mean of units"] == "5"
    assert found["the mean units of region north, the highest of all"] == "6"
    assert found["the mean units of region south, the lowest of all"] == "4"


def test_where_all_groups_are_alike_none_is_the_highest() -> None:
    """Every region has the same mean month, so nothing is said of it."""
    assert not [text for text in facts() if "mean month of region" in text]


FACT = {
    "id": "F9",
    "columns": ["region", "units"],
    "label": "north",
    "text": "the mean units of region north, the highest of all",
    "value": "6",
}


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("The region north has the highest mean units, 6.00.", ""),
        ("The region north has the highest mean units, 7.", "it says 7, which is not 6"),
        ("The region north has the highest mean units.", "it does not say 6"),
        ("The region south has the highest mean units, 6.", "it does not name 'north'"),
        ("The region north has the lowest mean units, 6.", "it says 'lowest', and the fact says 'highest'"),
        ("North leads with 6 and grew by 12.", "it says 12, which is not 6"),
    ],
)
def test_a_sentence_says_its_fact_and_no_other_number(words: str, fault: str) -> None:
    """Another number, no number, another group, or the other end."""
    found = finding_faults(words, FACT)
    assert (fault in found) if fault else found == []


def test_a_report_without_pictures_or_findings_is_refused(tmp_path: Path) -> None:
    """Each lack is named."""
    (tmp_path / "data.csv").write_text(TEXT)
    said = "## Findings\n- The region north has the highest mean units, 6. [F99]\n![x](../x.png)\n"
    found = "; ".join(faults(str(tmp_path / "data.csv"), said, tmp_path))
    assert "there is no fact F99" in found
    assert "fewer than 2 findings" in found
    assert "'../x.png' is no picture" in found


@pytest.mark.parametrize("text", ["", "a\n1\n", "a,a\n1,2\n3,4\n", "a,b\n1\n2,3\n"])
def test_what_is_no_table_is_said_to_be_none(text: str) -> None:
    """Too short, equal names, ragged rows."""
    with pytest.raises(ValueError, match=r"needed|needs"):
        Table(text)
