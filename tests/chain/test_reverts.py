"""The table of reasons covers the contracts, and nothing else."""

from __future__ import annotations

import re
from importlib import resources

from tercet.chain.reverts import REASONS, build_revert
from tercet.errors import RevertedError


def reasons_in_sources() -> set[str]:
    """Every string of the form `who: what` that a contract gives as a reason."""
    folder = resources.files("tercet.chain") / "contracts"
    sources = [f.read_text() for f in folder.iterdir() if f.name.endswith((".vy", ".vyi"))]
    return {found for text in sources for found in re.findall(r'"((?:[a-z0-9]+): [^"\n]+)"', text)}


def test_every_reason_has_a_class_and_a_way_out() -> None:
    """A contract cannot gain a reason without the table saying which error it is and how to mend it."""
    found = reasons_in_sources()
    assert len(found) > 50
    assert found - REASONS.keys() == set()
    assert REASONS.keys() - found == set(), "the table has reasons that no contract gives"
    assert all(
        issubclass(kind, RevertedError) and mend.endswith((".", "NAME", "SUBNET")) for kind, mend in REASONS.values()
    )


def test_a_reason_becomes_its_error() -> None:
    """The leaf carries the reason; an unknown one keeps the base class and its words."""
    assert type(build_revert("market: already committed")).__name__ == "AlreadyDoneError"
    assert build_revert("market: already committed").reason == "market: already committed"
    stranger = build_revert("Ownable: caller is not the owner")
    assert type(stranger) is RevertedError
    assert "Ownable" in str(stranger)
    assert "without a reason" in str(build_revert(""))
