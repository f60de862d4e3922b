"""The claims of a run: folded from its journal, and the only way to make or check one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tercet.errors import ClaimError
from tercet.swarm.claims.claim import Claim, Origin, State, model_of, taint_of
from tercet.swarm.claims.extraction import brief
from tercet.swarm.claims.taint import EVERYTHING, MOST_NAMED, Taint
from tercet.swarm.journal import Event, Journal

__all__ = ["Claims", "fold_claims"]

_LONGEST, _MOST_SOURCES, _MOST_CLAIMS = 4000, 64, 100_000


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
            raise ClaimError(f"There is no claim {brief(id_)} in this run. Make it before checking it.")
        return self._known[id_]

    def _vet(self, body: Mapping[str, Any]) -> None:
        if not body["text"].strip() or len(body["text"]) > _LONGEST:
            raise ClaimError(f"A claim has 1 to {_LONGEST} characters, not {len(body['text'])}. Say it shorter.")
        if len(body["sources"]) > _MOST_SOURCES or len(body["rests"]) > MOST_NAMED:
            raise ClaimError(
                f"A claim has at most {_MOST_SOURCES} sources and rests on at most {MOST_NAMED} claims. Split it."
            )
        if unknown := [name for name in body["rests"] if name not in self._known and name != EVERYTHING]:
            raise ClaimError(f"It rests on {brief(unknown[0])}, which nobody claimed. Name claims of this run.")
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
