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
        ("The region north has the lowest mean units, 6.", "it says 'lowest', and the fact does not"),
        ("The region north has the largest average of units, at 6.", ""),
        ("The region north has the second highest mean units, 6.", "it says 'second'"),
        ("The mean units of region north, 6, is twice as many as anywhere.", "it says 'twice'"),
        ("The mean units of region north grew to 6.", "it says 'grew'"),
        ("The region north has the median units 6.", "it says 'median', and the fact does not"),
        ("The region north has the highest units, 6.", "it does not say 'mean'"),
        ("The region north averages the highest units, 6.", ""),
        ("The total mean units of region north is 6.", "it says 'total', and the fact does not"),
        ("The mean units of region north is 6%.", "it says '%' with 6"),
        ("The mean units of region north is 6 percent.", "it says 'percent' with 6"),
        ("The mean units of region north is 6k.", "it says 'k' with 6"),
        ("The mean units of region north is 6 million.", "it says 'million' with 6"),
        ("The mean units of region north is more than 6.", "it says 'more than' with 6"),
        ("The mean units of region north is 6, not 6.", "it says 6 more than once"),
        ("The mean units of region north is not 6.", "it says 'not'"),
        ("North leads with 6 and grew by 12.", "it says 12, which is not 6"),
    ],
)
def test_a_sentence_says_its_fact_and_no_other_number(words: str, fault: str) -> None:
    """Another number, no number, another group, or the other end."""
    found = finding_faults(words, FACT)
    assert (fault in found) if fault else found == []


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("Price and units correlate at -0.85.", ""),
        ("Price and units have a strong negative correlation of \N{MINUS SIGN}0.85.", ""),
        ("Price and units have a strong positive correlation of -0.85.", "it says 'positive'"),
        ("Price and units are linked at -0.85.", "it does not say 'correlation'"),
    ],
)
def test_a_correlation_has_its_sign(words: str, fault: str) -> None:
    fact = {
        "columns": ["price", "units"], "label": "", "value": "-0.85", "text": "the correlation of price and units",
    }  # fmt: skip
    assert finding_faults(words, fact) == ([fault] if fault else [])


def test_the_facts_own_words_are_no_fault() -> None:
    """A column that is called as a statistic is, a label that denies, a name with a number in it."""
    fact = {
        "columns": ["median_age", "over 60"], "label": "no", "value": "60",
        "text": "the mean median_age of over 60 no, the highest of all",
    }  # fmt: skip
    assert finding_faults("Of over 60, no has the highest mean median age.", fact) == []
    assert finding_faults("Of over 60, no has the highest mean median age, at least 60.", fact) != []


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
