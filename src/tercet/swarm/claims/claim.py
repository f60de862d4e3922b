"""A claim: a statement, where it comes from, what it rests on and who checked it; and what it is worth by that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tercet.swarm.claims.taint import CLEAN, TOP, Taint

__all__ = ["Claim", "Origin", "State", "document_author", "model_of", "taint_of"]


class Origin(StrEnum):
    """Where a claim comes from."""

    OPERATOR = "operator"
    """The person of the run said it: it holds by that."""
    OBSERVED = "observed"
    """A program of ours measured it: an exit code, a digest, a count."""
    DERIVED = "derived"
    """A model or an agent made it."""
    EXTERNAL = "external"
    """A file, a page, another agent's message: anybody's words."""


class State(StrEnum):
    """Whether anybody has checked it."""

    UNVERIFIED = "unverified"
    BY_TOOL = "checked-by-tool"
    BY_OTHER = "checked-by-other"
    REFUTED = "refuted"
    """A check found it false. Nothing rests on it any more; only a program can find otherwise."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement, with what is known about it."""

    id: str
    """The first 16 hex digits of the sha256 of what it says, from whom and from where: the same claim has one id."""
    text: str
    author: str
    """Id of the agent, or `person`."""
    origin: Origin
    sources: Sequence[str] = ()
    """Documents that it was read from, such as `data.csv@sha256:…` or an address; never another claim."""
    rests: Sequence[str] = ()
    """Ids of claims that it was made from."""
    model: str = ""
    """Of a model's claim: which model said it."""
    state: State = State.UNVERIFIED
    checks: Sequence[Mapping[str, Any]] = ()
    """What was checked, by whom and how, the oldest first."""

    @property
    def holds(self) -> bool:
        """By the person's word, or by a check of this claim itself; see `taint_of` for what it rests on."""
        return self.state in {State.BY_TOOL, State.BY_OTHER} or (
            self.origin is Origin.OPERATOR and self.state is not State.REFUTED
        )


def taint_of(known: Mapping[str, Claim], *ids: str) -> Taint:
    """What these claims rest on that nobody has checked.

    A program's check stands by itself. Another model's check makes a claim as good as its sources: it frees it from the
    documents that it read, and not from claims of others that it was made from. An id that nobody made is `TOP`.
    """
    found, seen, waiting = CLEAN, set(ids), list(ids)
    while waiting and not found.everything:
        claim = known.get(waiting.pop())
        if claim is None:
            return TOP
        if claim.origin is Origin.OPERATOR and claim.holds:
            continue
        if claim.state is State.BY_TOOL:
            continue
        if claim.state is not State.BY_OTHER:
            found = found | Taint(frozenset({claim.id}))
        new = {name for name in claim.rests if not _discharged(claim, known.get(name))} - seen
        seen |= new
        waiting += new
    return found


def _discharged(claim: Claim, base: Claim | None) -> bool:
    """`base` is a document that the checker of `claim` had before it, and not what somebody says of one."""
    if claim.state is not State.BY_OTHER or base is None or base.origin is not Origin.EXTERNAL:
        return False
    if len(base.sources) != 1 or base.author != document_author(base.sources[0]):
        return False
    read = {source for check in claim.checks if check.get("ok") for source in check.get("sources", ())}
    return set(base.sources) <= read


def document_author(source: str) -> str:
    """Whose words a document's are: its own. No agent has such an id."""
    return f"file {source.rpartition('@sha256:')[0]}"


def model_of(name: str) -> str:
    """A model's name as two names of the same are compared: `Openai/GPT-X:latest` and `gpt-x` are one."""
    return name.strip().lower().rsplit("/", 1)[-1].split(":", 1)[0].split("@", 1)[0]
