"""Agents elsewhere, by the Agent2Agent protocol (A2A 1.0): theirs do our tasks, ours can be asked by anybody we let in."""

from __future__ import annotations

from tercet.swarm.a2a.client import A2aWorker, Card, fetch_card
from tercet.swarm.a2a.server import Answer, Answered, Ask, Asked, build_app

__all__ = ["A2aWorker", "Answer", "Answered", "Ask", "Asked", "Card", "build_app", "fetch_card"]
