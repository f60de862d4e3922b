"""Awards, as their envelopes say them: who was given which task, by whom, on what offer. Read from the journal, and checked."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tercet.errors import EnvelopeError
from tercet.swarm.envelope import Envelope, read_envelope, signer_of
from tercet.swarm.events import Event
from tercet.swarm.link import read_proposal
from tercet.swarm.plan import Task

__all__ = ["answers_in", "contracts_in", "done_digest", "unnoted"]


def done_digest(task: Task) -> str:
    """sha256 of the task's done-test as JSON with sorted keys: what an agent commits to pass, without its words."""
    return hashlib.sha256(json.dumps(task.done.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def contracts_in(messages: Iterable[Event]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The awards among these `message` events, in order: each with its task, as the body of `task.contracted`.

    An award is an `accept-proposal` of the one who called, to one who was asked, in reply to its own proposal, each signed
    by its sender; the first of a call counts. Everything else that looks like one is passed over.
    """
    for said in _conversations(messages).values():
        by_id = {envelope.id: envelope for envelope in said}
        for accepted in said:
            offer = by_id.get(accepted.in_reply_to) if accepted.performative == "accept-proposal" else None
            asked = by_id.get(offer.in_reply_to) if offer is not None and offer.performative == "propose" else None
            proposal = None if offer is None else read_proposal(offer)
            if offer is None or asked is None or proposal is None or not _belongs(asked, offer, accepted):
                continue
            yield (
                str(asked.content["task"]),
                {
                    "contract": accepted.id,
                    "proposal": offer.id,
                    "agent": offer.sender,
                    "lead": asked.sender,
                    "attempt": int(asked.content["attempt"]),
                    **proposal.model_dump(exclude={"note"}),
                    "offers": _offers(said),
                },
            )
            break


def answers_in(messages: Iterable[Event]) -> list[dict[str, Any]]:
    """What each agent answered, of one call."""
    return _offers([envelope for said in _conversations(messages).values() for envelope in said])


def unnoted(messages: Iterable[Event], noted: Iterable[object]) -> list[Event]:
    """The messages of the calls that ended in an award which is not among these contracts. Nothing is checked."""
    known, said = set(noted), list(messages)
    open_ = {
        event.body["envelope"]["conversation"]
        for event in said
        if event.body["envelope"]["performative"] == "accept-proposal" and event.body["envelope"]["id"] not in known
    }
    return [event for event in said if event.body["envelope"]["conversation"] in open_]


def _belongs(asked: Envelope, offer: Envelope, accepted: Envelope) -> bool:
    return (
        asked.performative == "cfp"
        and isinstance(asked.content, Mapping)
        and {"task", "attempt"} <= set(asked.content)
        and (offer.sender, offer.receiver) == (asked.receiver, asked.sender)
        and (accepted.sender, accepted.receiver) == (asked.sender, asked.receiver)
    )


def _conversations(messages: Iterable[Event]) -> dict[str, list[Envelope]]:
    """What was said, by matter; a message whose signature is not by the address that it was taken from counts as not said."""
    found: dict[str, list[Envelope]] = {}
    for event in messages:
        envelope = read_envelope(event.body["envelope"])
        with contextlib.suppress(EnvelopeError):  # forged: the hub takes none, so somebody else wrote this journal
            if signer_of(envelope) == event.body["address"] and envelope.sender == event.actor:
                found.setdefault(envelope.conversation, []).append(envelope)
    return found


def _offers(said: Sequence[Envelope]) -> list[dict[str, Any]]:
    """What each agent answered."""
    found = []
    for envelope in said:
        if envelope.performative == "propose" and (proposal := read_proposal(envelope)) is not None:
            found.append({"agent": envelope.sender, **proposal.model_dump(exclude={"note"})})
        elif envelope.performative == "refuse" and isinstance(envelope.content, Mapping):
            found.append({"agent": envelope.sender, "refused": str(envelope.content.get("why", ""))[:200]})
    return sorted(found, key=lambda each: str(each["agent"]))
