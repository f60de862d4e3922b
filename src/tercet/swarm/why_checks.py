"""What an explanation checks just now: the file, the test, the claims. What it cannot check it says as well."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from tercet.swarm.claims import Claim, taint_of
from tercet.swarm.explanation import Verified
from tercet.swarm.views import ArtefactView, TaskView
from tercet.swarm.why_words import many, plain

__all__ = ["believed", "on_disk", "tested"]


def on_disk(run: Path, directory: str, made: ArtefactView) -> Verified:
    """Whether the file is what the journal says, in the person's folder or in the run's."""
    what = f"the file {plain(made.path)}"
    places = [folder / made.path for folder in (*([Path(directory)] if directory else []), run / "work")]
    seen = [place for place in places if place.is_file()]
    for place in seen:
        if hashlib.sha256(place.read_bytes()).hexdigest() == made.sha256:
            return Verified(what, ok=True, how=f"{place} has the sha256 that the journal tells")
    if seen:
        return Verified(what, ok=False, how=f"{seen[0]} is another file now: it was changed after the run")
    return Verified(what, ok=None, how="it is neither in the person's folder nor in the run's")


def tested(task: TaskView) -> Verified:
    """What its done-test said last."""
    what = f"the done-test of {plain(task.id) or 'no task'}"
    if not task.tested:
        return Verified(what, ok=None, how="it was never run")
    proof = f" ({plain(task.proof)})" if task.proof else ""
    return Verified(
        what,
        ok=task.passed,
        how=f"run {many(task.tested, 'time')} in the sandbox; it said {'yes' if task.passed else 'no'} last{proof}",
    )


def believed(known: Mapping[str, Claim], claims: Sequence[Claim]) -> Verified:
    """Whether the claims, and all that they rest on, were checked."""
    if not claims:
        return Verified("the claims", ok=None, how="there are none")
    open_ = [claim.id for claim in claims if taint_of(known, claim.id)]
    if open_:
        return Verified(
            "the claims",
            ok=None,
            how=f"{len(open_)} of {len(claims)} rest on what nobody has checked: {', '.join(open_[:5])}",
        )
    return Verified(
        "the claims",
        ok=True,
        how=f"all {len(claims)} were checked by a program, by another model with the source, or are the person's",
    )
