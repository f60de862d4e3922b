"""Who comes back reads seven lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tercet.swarm.inbox import Since, build_card, build_digest
from tercet.swarm.inbox.absence import FACTS
from tercet.swarm.journal import Event

NOW = 1_000_000.0


def told(since: Since, *events: tuple[str, Mapping[str, Any]], task: str = "") -> None:
    """What happened."""
    for seq, (kind, body) in enumerate(events, 1):
        since.apply(Event(seq, 0, kind, "kernel", task, body))


def facts(since: Since) -> dict[str, str]:
    """The lines, by name."""
    return dict(line.split(": ", 1) for line in build_digest(since, NOW))


def test_seven_facts() -> None:
    """Each is told by the events that make it, and survives what cannot be read."""
    since = Since()
    card = build_card(
        action="Publish the report", kind="publish", agent="run/c/writer-1", tool="publish", call={}, loss=5,
        reversible=False, deadline=NOW + 1200,
    )  # fmt: skip
    other = build_card(
        action="Fetch a page", kind="network", agent="run/c/reader-1", tool="fetch", call={}, loss=5,
        reversible=True, deadline=NOW + 600,
    )  # fmt: skip
    told(
        since,
        ("run.started", {"goal": "g", "budget": 4_000_000}),
        ("call", {"charged": 1_000_000}),
        ("ask.raised", {"card": card.to_json(), "to": "person"}),
        ("ask.raised", {"card": other.to_json(), "to": "person"}),
        ("ask.answered", {"card": card.id, "answer": "yes"}),
        ("ask.used", {"card": card.id}),
        ("agent.state", {"agent": "reader-1", "state": "waiting", "why": "an answer"}),
        ("claim.checked", {"ok": False}),
        ("ask.raised", {"card": "junk"}),
        ("agent.state", {}),
    )
    told(since, ("task.failed", {"why": "no", "final": True}), task="fix-1")
    assert tuple(facts(since)) == FACTS
    assert facts(since) == {
        "goal at risk": "1 tasks failed: fix-1",
        "spent": "1 credit of 4 credit (25 %)",
        "done for good": "1: Publish the report",
        "decided by default": "0 went on, 0 were not done",
        "blocked": "1: reader-1",
        "next deadline": "in 10 min: Fetch a page",
        "claims overturned": "1",
    }
    since.mark()
    assert facts(since)["done for good"] == "nothing"
    assert facts(since)["blocked"] == "1: reader-1"


def test_nothing_happened() -> None:
    """Also seven."""
    assert facts(Since()) == {
        "goal at risk": "no",
        "spent": "0 credit of 0 credit",
        "done for good": "nothing",
        "decided by default": "0 went on, 0 were not done",
        "blocked": "nobody",
        "next deadline": "none",
        "claims overturned": "none",
    }


def test_a_new_limit_of_the_run_is_the_one_that_counts() -> None:
    """Set and raised; a crew's own limit is not the run's."""
    since = Since()
    told(
        since, ("run.started", {"goal": "g", "budget": 4_000_000}), ("budget.set", {"node": "run", "credit": 2_000_000})
    )
    told(since, ("budget.set", {"node": "run/c", "credit": 1}), ("budget.added", {"node": "run", "credit": 500_000}))
    assert facts(since)["spent"] == "0 credit of 2.5 credit (0 %)"
