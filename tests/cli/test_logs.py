"""What `tercet logs` says of an event: words and credit, as people read them."""

from __future__ import annotations

from typing import Any

import pytest

from tercet.cli.logs import tell
from tercet.swarm.journal import Event


@pytest.mark.parametrize(
    ("kind", "body", "told"),
    [
        ("budget.allowed", {"node": "run/a/b", "credit": 400_000, "task": "t"}, "run/a/b: 0.4 credit"),
        ("budget.set", {"node": "run", "credit": 0, "tokens": 10, "seconds": None}, "run: 0 credit, 10 tokens"),
        ("budget.set", {"node": "run", "attention": 2.0}, "run: 2 decisions an hour"),
        ("budget.set", {"node": "run"}, "run: none"),
        ("budget.added", {"node": "run", "credit": 0, "tokens": 5, "seconds": 0.0, "attention": 0}, "run: 5 tokens"),
        ("claim.made", {"id": "c1", "origin": "derived", "text": "it holds"}, "c1 derived: it holds"),
        ("claim.checked", {"id": "c1", "ok": True, "how": "tool", "tool": "pytest"}, "c1 holds, by pytest"),
        ("claim.checked", {"id": "c1", "ok": False, "how": "other", "model": "large"}, "c1 is false, by large"),
        (
            "run.delivered",
            {"by": "you", "written": ["a", "b"], "deleted": [], "beside": [["c", "c.tercet"]], "kept": []},
            "written a, b; beside c, by you",
        ),
    ],
)
def test_an_event_is_told_in_words(kind: str, body: dict[str, Any], told: str) -> None:
    """No unit of account as it is stored, no JSON."""
    event = Event(1, 0, kind, "kernel", "", body)
    assert tell(event) == f"{kind}  {told}"
