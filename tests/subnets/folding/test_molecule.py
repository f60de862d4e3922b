"""Tasks as strangers send them: read exactly, or refused in words before they cost anything."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.errors import TaskError
from tercet.subnets.folding import MAX_ATOMS, MAX_STEPS, Folding, FoldTask, build_peptide, parse_task
from tercet.subnets.kit import encode_array

GOOD = FoldTask(build_peptide("ACDG"), 1000)
LARGE = [["GLY", "N CA C O H HA2 HA3 " + " ".join(f"X{i}" for i in range(20))]] * 400


def changed(**fields: Any) -> dict[str, Any]:
    return {**GOOD.to_task(), **fields}


def test_a_task_comes_back_as_it_was() -> None:
    """Names, bonds and every bit of the start."""
    again = parse_task(GOOD.to_task())
    assert again.molecule.digest() == GOOD.molecule.digest()
    assert again.molecule.sequence == "ACDG"
    assert (again.steps, again.work) == (1000, GOOD.work)
    assert np.array_equal(again.molecule.start, GOOD.molecule.start)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (changed(kind="chat"), "kind"),
        (changed(steps=0), "steps"),
        (changed(steps=MAX_STEPS + 1), "steps"),
        (changed(steps=True), "steps"),
        (changed(steps=1e3), "steps"),
        (changed(chains=[]), "chains"),
        (changed(chains=[[["HOH", "O H1 H2"]]]), "no amino acid"),
        (changed(chains=[[["GLY", "N N CA"]]]), "different names"),
        (changed(chains=[[["GLY", "N CA\u2020"]]]), "different names"),
        (changed(chains=[[["GLY"]]]), "residue is"),
        (changed(chains=[[["GLY", "N CA C O"]] * MAX_ATOMS]), "list of residues"),
        (changed(chains=[LARGE]), "at most"),
        (changed(start=encode_array(np.zeros((3, 3), np.float32))), "start state"),
        (changed(start=encode_array(np.full_like(GOOD.molecule.start, np.nan))), "finite"),
        (changed(start=encode_array(GOOD.molecule.start + np.float32(1e6))), "origin"),
        (changed(start=encode_array(GOOD.molecule.start.astype(np.float64))), "dtype"),
        (changed(start="AAAA"), "start state"),
        (changed(digest="0" * 64), "digest"),
        (changed(disulfides=[[0, 1]]), "sulphur"),
        (changed(disulfides=[[0, 10**9]]), "pair of atoms"),
        (changed(disulfides={}), "Disulfides"),
    ],
)
def test_a_malformed_task_says_what_is_wrong(task: dict[str, Any], words: str) -> None:
    """Each bound in its own words; `limit` is what miners and buyers ask first."""
    with pytest.raises(TaskError, match=words):
        Folding().limit(task)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["kind", "chains", "disulfides", "start", "digest", "steps"]), JSON)
def test_no_json_breaks_the_reader(field: str, value: Any) -> None:
    """It is a task, or a TaskError."""
    with contextlib.suppress(TaskError):
        parse_task(changed(**{field: value}))


def test_the_digest_covers_names_and_places() -> None:
    """Another residue or another bit is another molecule."""
    other = build_peptide("ACDG")
    other.start[0, 0] = np.nextafter(other.start[0, 0], np.float32(9))
    assert len({GOOD.molecule.digest(), other.digest(), build_peptide("ACDA").digest()}) == 3
