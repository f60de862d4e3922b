"""The inbox: what a run asks its person, in one ranked queue that stays as short with a hundred agents as with five.

A card names what is wanted, until when, what happens if nobody answers, and what being wrong costs. Policies, crew leads
and common causes answer what they can; six decisions an hour are left. Values and rules here are pure; `Inbox` waits.
"""

from __future__ import annotations

from tercet.swarm.inbox.absence import Since, build_digest
from tercet.swarm.inbox.approver import InboxApprover
from tercet.swarm.inbox.asks import Lead
from tercet.swarm.inbox.cards import (
    MEMBRANE,
    QUESTION,
    Answer,
    Card,
    Choice,
    build_card,
    digest_call,
)
from tercet.swarm.inbox.clock import Clock, VirtualClock, WallClock
from tercet.swarm.inbox.inbox import Decision, Inbox
from tercet.swarm.inbox.policies import Policy, Scope, may_cover
from tercet.swarm.inbox.queue import Item, Queue, build_queue
from tercet.swarm.inbox.replies import MOST_WORDS, Reply
from tercet.swarm.inbox.state import PERSON, InboxState
from tercet.swarm.inbox.verbs import build_verbs

__all__ = [
    "MEMBRANE",
    "MOST_WORDS",
    "PERSON",
    "QUESTION",
    "Answer",
    "Card",
    "Choice",
    "Clock",
    "Decision",
    "Inbox",
    "InboxApprover",
    "InboxState",
    "Item",
    "Lead",
    "Policy",
    "Queue",
    "Reply",
    "Scope",
    "Since",
    "VirtualClock",
    "WallClock",
    "build_card",
    "build_digest",
    "build_queue",
    "build_verbs",
    "digest_call",
    "may_cover",
]
