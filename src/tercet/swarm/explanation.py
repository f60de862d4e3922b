"""An explanation as a value: a tree of sentences, and what was verified of it and how."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from tercet.swarm.views import CallView

__all__ = ["Explanation", "Kind", "Line", "Verified", "render"]

Kind: TypeAlias = Literal["artefact", "call", "payment", "seller"]


@dataclass(frozen=True, slots=True)
class Line:
    """A sentence, and what stands behind it."""

    text: str
    below: Sequence[Line] = ()


@dataclass(frozen=True, slots=True)
class Verified:
    """One thing that was checked just now, or could not be."""

    what: str
    ok: bool | None
    """None: not checked."""
    how: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole answer."""

    run: str
    kind: Kind
    subject: str
    tree: Sequence[Line]
    verified: Sequence[Verified]
    calls: Sequence[CallView] = field(default_factory=tuple)
    """What was paid for it, so that a market's books can be asked."""

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "run": self.run,
            "kind": self.kind,
            "subject": self.subject,
            "tree": [_as_json(line) for line in self.tree],
            "verified": [{"what": each.what, "ok": each.ok, "how": each.how} for each in self.verified],
        }


def render(found: Explanation, verified: Sequence[Verified] = ()) -> Iterator[str]:
    """The tree in plain words, a line each; ends with what was verified, by default what `found` says of it."""
    for top in found.tree:
        yield top.text
        yield from _branches(top.below, "")
    yield "Verified:"
    for each in verified or found.verified:
        mark = {True: "yes", False: "NO", None: "not checked"}[each.ok]
        yield f"  {mark:<12}{each.what}: {each.how}"


def _branches(lines: Sequence[Line], prefix: str) -> Iterator[str]:
    for number, line in enumerate(lines):
        last = number == len(lines) - 1
        yield f"{prefix}{'└─ ' if last else '├─ '}{line.text}"
        yield from _branches(line.below, prefix + ("   " if last else "│  "))


def _as_json(line: Line) -> dict[str, Any]:
    return {"text": line.text, "below": [_as_json(each) for each in line.below]}
