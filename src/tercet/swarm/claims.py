"""Claims: what agents believe, where they have it from, and whether anybody has checked it.

A statement of a model is a claim, and what is made from claims rests on them. The ids of the unchecked ones that
something rests on are its taint; it grows by union and shrinks by checking alone. What a claim is worth is a pure
function of what the journal says: `claim.made` and `claim.checked`.

A check does the work again: by a program, or by another model that has the source before it. What was extracted as a
number, a yes or no, or one of a few words cannot carry an instruction: it may steer, and is no evidence.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar

from tercet.errors import ClaimError
from tercet.swarm.journal import Event, Journal

__all__ = [
    "CLEAN",
    "EVERYTHING",
    "TOP",
    "Claim",
    "Claims",
    "Flag",
    "Labelled",
    "Number",
    "OneOf",
    "Origin",
    "Pattern",
    "Shape",
    "State",
    "Taint",
    "apply",
    "document_author",
    "extract",
    "fold_claims",
    "join",
    "model_of",
    "taint_of",
]

MOST_NAMED = 256
"""A taint of more claims than this is `TOP`: it rests on too much to tell."""
_LONGEST, _MOST_SOURCES, _MOST_CLAIMS = 4000, 64, 100_000
_LONGEST_WORD = 64

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


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
class Taint:
    """The unchecked claims that something rests on. Ordered by inclusion; `|` is the least upper bound."""

    claims: frozenset[str] = frozenset()
    everything: bool = False
    """True is the top: too many to name, or nobody knows."""

    def __or__(self, other: Taint) -> Taint:
        if self.everything or other.everything or len(both := self.claims | other.claims) > MOST_NAMED:
            return TOP
        return Taint(both)

    def __le__(self, other: Taint) -> bool:
        return other.everything or (not self.everything and self.claims <= other.claims)

    @property
    def names(self) -> Sequence[str]:
        """For `Claim.rests`."""
        return (EVERYTHING,) if self.everything else sorted(self.claims)

    def __bool__(self) -> bool:
        """There is something that nobody has checked."""
        return self.everything or bool(self.claims)


CLEAN = Taint()
EVERYTHING = "*"
"""In `rests`, for what rests on too much to tell."""
TOP = Taint(everything=True)


def join(taints: Iterable[Taint]) -> Taint:
    """The taint of what is made from all of these."""
    found = CLEAN
    for taint in taints:
        found = found | taint
    return found


@dataclass(frozen=True, slots=True)
class Labelled(Generic[T_co]):
    """A value with what it rests on."""

    value: T_co
    taint: Taint = CLEAN


def apply(function: Any, *arguments: Labelled[Any]) -> Labelled[Any]:
    """`function` over the values: the result rests on all that its arguments rest on."""
    return Labelled(function(*(item.value for item in arguments)), join(item.taint for item in arguments))


class Shape(Protocol[T_co]):
    """What can be taken out of words without taking the words."""

    def read(self, text: str) -> T_co:
        """The value, or ClaimError where `text` is anything else."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of a few words, all known before the text was read."""

    words: Sequence[str]

    def read(self, text: str) -> str:
        """The word."""
        if (found := text.strip()) not in self.words:
            raise ClaimError(f"{_brief(text)} is none of {', '.join(map(repr, self.words))}. Answer with one of them.")
        return found


@dataclass(frozen=True, slots=True)
class Number:
    """A number within bounds that were known before."""

    low: float
    high: float

    def read(self, text: str) -> float:
        """The number."""
        if not re.fullmatch(r"\s*[+-]?\d{1,18}(\.\d{1,18})?\s*", text, re.ASCII):
            raise ClaimError(f"{_brief(text)} is no number. Answer with digits alone.")
        if not self.low <= (found := float(text)) <= self.high:
            raise ClaimError(f"{found:g} is not between {self.low:g} and {self.high:g}. Answer within these bounds.")
        return found


@dataclass(frozen=True, slots=True)
class Flag:
    """Yes or no."""

    def read(self, text: str) -> bool:
        """True for yes or true."""
        if (found := text.strip().lower()) not in {"yes", "no", "true", "false"}:
            raise ClaimError(f"{_brief(text)} is neither yes nor no. Answer with one of them.")
        return found in {"yes", "true"}


@dataclass(frozen=True, slots=True)
class Pattern:
    """A short word without spaces that a regular expression describes, such as a version or an identifier."""

    expression: str
    longest: int = 40

    def read(self, text: str) -> str:
        """The word."""
        found = text.strip()
        bound = min(self.longest, _LONGEST_WORD)
        # No spaces whatever the expression says: prose does not fit, and prose is what an instruction is made of.
        if len(found) > bound or re.search(r"\s", found) or not re.fullmatch(self.expression, found, re.ASCII):
            raise ClaimError(f"{_brief(text)} does not fit {self.expression!r} in {bound} characters.")
        return found


def extract(words: Labelled[str], shape: Shape[T]) -> Labelled[T]:
    """The one way but checking to lose a taint: the value may steer. As evidence it is a claim of its own, unchecked.

    Raises:
        ClaimError: the words hold anything else.

    """
    return Labelled(shape.read(words.value), CLEAN)


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


class Claims:
    """All claims of a run, as the journal tells them, and the only way to make or check one."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._known = fold_claims(journal.events(kinds=("claim.made", "claim.checked")))

    @property
    def known(self) -> Mapping[str, Claim]:
        """Id to claim."""
        return self._known

    def taint(self, *ids: str) -> Taint:
        """See `taint_of`."""
        return taint_of(self._known, *ids)

    async def make(
        self,
        text: str,
        *,
        author: str,
        origin: Origin = Origin.DERIVED,
        sources: Sequence[str] = (),
        rests: Iterable[str] = (),
        model: str = "",
        task: str = "",
    ) -> Claim:
        """Write a claim down; the same one twice is one. What a program of ours observed is checked by that.

        Raises:
            ClaimError: it is empty, too long, or rests on claims that nobody made.

        """
        body = {
            "text": text, "author": author, "origin": Origin(origin).value, "sources": sorted(set(sources)),
            "rests": sorted(set(rests)), "model": model,
        }  # fmt: skip
        body["id"] = _id_of(body)
        if (known := self._known.get(str(body["id"]))) is not None:
            return known
        self._vet(body)
        _absorb(self._known, "claim.made", body)
        await self.journal.append("claim.made", body, actor=author, task=task)
        return self._known[str(body["id"])]

    async def check_by_tool(self, id_: str, *, ok: bool, by: str, tool: str, evidence: str, task: str = "") -> Claim:
        """Record that a program did the work again.

        Args:
            id_: which claim.
            ok: what it found.
            by: the agent that ran it, or `kernel`.
            tool: which program, such as `sandbox: pytest -q`.
            evidence: digest of what it ran over and said, as the `tool` event has it.
            task: where it belongs to.

        Raises:
            ClaimError: there is no such claim, or no program or no evidence was named.

        """
        if not tool or not evidence:
            raise ClaimError("A check names the program that ran and the digest of what it found. Run one.")
        return await self._check(id_, {"how": "tool", "ok": ok, "by": by, "tool": tool, "evidence": evidence}, task)

    async def check_by_other(
        self, id_: str, *, ok: bool, by: str, model: str, sources: Sequence[str], task: str = ""
    ) -> Claim:
        """Record that another model, with the sources before it, came to the same.

        Raises:
            ClaimError: it is the same model or the same agent, the claim has no sources, or not all of them were read.

        """
        claim = self._find(id_)
        if by == claim.author:
            raise ClaimError(f"{by} cannot check its own claim {id_}. Let another agent do it, or run a program.")
        if claim.origin is Origin.EXTERNAL:
            # "The file says so" is true of every file, and would let its words pass everywhere.
            raise ClaimError(
                f"Claim {id_} is somebody's document; a model can vouch for what follows from it, not for itself. Run a"
                " program over it, or ask the person."
            )
        if (
            not model
            or (not claim.model and claim.origin is Origin.DERIVED)
            or model_of(model) == model_of(claim.model)
        ):
            raise ClaimError(
                f"Claim {id_} was made by {claim.model or 'nobody knows which model'}, and would be checked by"
                f" {model or 'nobody knows which'}: the same one would repeat its mistake. Check with another model, or run"
                " a program."
            )
        if not claim.sources or (missing := sorted(set(claim.sources) - set(sources))):
            lacking = f"did not read {', '.join(missing[:3])}" if claim.sources else "has no source to read"
            raise ClaimError(
                f"The check of claim {id_} {lacking}: a second opinion is no check. Read the source, or run a program."
            )
        body = {"how": "other", "ok": ok, "by": by, "model": model, "sources": sorted(set(sources))}
        return await self._check(id_, body, task)

    async def _check(self, id_: str, check: Mapping[str, Any], task: str) -> Claim:
        self._find(id_)
        body = {**check, "id": id_}
        _absorb(self._known, "claim.checked", body)
        await self.journal.append("claim.checked", body, actor=str(check["by"]), task=task)
        return self._known[id_]

    def _find(self, id_: str) -> Claim:
        if id_ not in self._known:
            raise ClaimError(f"There is no claim {_brief(id_)} in this run. Make it before checking it.")
        return self._known[id_]

    def _vet(self, body: Mapping[str, Any]) -> None:
        if not body["text"].strip() or len(body["text"]) > _LONGEST:
            raise ClaimError(f"A claim has 1 to {_LONGEST} characters, not {len(body['text'])}. Say it shorter.")
        if len(body["sources"]) > _MOST_SOURCES or len(body["rests"]) > MOST_NAMED:
            raise ClaimError(
                f"A claim has at most {_MOST_SOURCES} sources and rests on at most {MOST_NAMED} claims. Split it."
            )
        if unknown := [name for name in body["rests"] if name not in self._known and name != EVERYTHING]:
            raise ClaimError(f"It rests on {_brief(unknown[0])}, which nobody claimed. Name claims of this run.")
        if len(self._known) >= _MOST_CLAIMS:
            raise ClaimError(f"This run has {_MOST_CLAIMS} claims, the most there can be. Start another run.")


def fold_claims(events: Iterable[Event]) -> dict[str, Claim]:
    """Id to claim, after these events."""
    known: dict[str, Claim] = {}
    for event in events:
        _absorb(known, event.kind, event.body)
    return known


def _absorb(known: dict[str, Claim], kind: str, body: Mapping[str, Any]) -> None:
    """One event into the table: the same for what is written now and what is read back."""
    if kind == "claim.made":
        observed = body["origin"] == Origin.OBSERVED
        known.setdefault(
            body["id"],
            Claim(
                body["id"], body["text"], body["author"], Origin(body["origin"]), tuple(body["sources"]),
                tuple(body["rests"]), body["model"], State.BY_TOOL if observed else State.UNVERIFIED,
            ),
        )  # fmt: skip
    elif kind == "claim.checked" and (claim := known.get(body["id"])) is not None:
        known[claim.id] = replace(claim, state=_after(claim.state, body), checks=(*claim.checks, body))


def _after(state: State, check: Mapping[str, Any]) -> State:
    """A program outweighs a model, and its newest word counts. What one model refused, no other model can save."""
    if check["how"] == "tool":
        return State.BY_TOOL if check["ok"] else State.REFUTED
    if state is State.BY_TOOL or state is State.REFUTED:
        return state
    return State.BY_OTHER if check["ok"] else State.REFUTED


def _id_of(body: Mapping[str, Any]) -> str:
    encoded = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(encoded.encode()).hexdigest()[:16]


def _brief(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
