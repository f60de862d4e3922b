"""How things of a run are told in a line each, whoever wrote the words in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tercet.market import CREDIT, Amount
from tercet.swarm.claims import Claim
from tercet.swarm.journal import Event
from tercet.swarm.views import AgentView, CallView

__all__ = [
    "DEVELOPERS", "agent_words", "call_words", "check_words", "claim_words", "contract_words", "given_words",
    "many", "money", "offer_words", "pass_words", "plain", "policy_words",
]  # fmt: skip

DEVELOPERS: Mapping[str, str] = {
    "model": "Tercet's authors (ships with it)",
    "tool": "Tercet's authors (ships with it)",
}


def agent_words(agent: AgentView) -> str:
    """What kind of agent it is."""
    kind = {"tool": "a program", "foreign": "somebody else's agent"}.get(agent.kind, "a model's agent")
    return f"{kind}, role {plain(agent.role)}, crew {plain(agent.crew) or 'none'}"


def call_words(call: CallView) -> str:
    """One call, in a line."""
    up = call.upstream
    words = [
        f"{money(call.charged)}, {plain(call.model) or 'a model'}, {call.prompt}+{call.completion} tokens, {plain(call.status)}"
    ]
    words += [f"miner {plain(up['miner'])}"] if up.get("miner") not in {None, ""} else []
    words += [f"operator {plain(up['operator'])}"] if up.get("operator") else []
    words += [f"market receipt {plain(up['receipt'])}"] if up.get("receipt") else []
    words += [f"served by {plain(up['name'])}"] if up.get("name") and not up.get("operator") else []
    return ", ".join(words)


def claim_words(claim: Claim) -> str:
    """A claim, in a line."""
    sources = f", from {', '.join(plain(source, 60) for source in claim.sources[:3])}" if claim.sources else ""
    return f"{claim.id} [{claim.state}, {claim.origin}] {plain(claim.text)!r} by {plain(claim.author)}{sources}"


def check_words(check: Mapping[str, Any]) -> str:
    """A check, in a line."""
    verdict = "holds" if check.get("ok") else "is false"
    if check.get("how") == "tool":
        return f"{plain(check.get('tool', ''))}, run by {plain(check.get('by', ''))}: it {verdict}"
    return f"{plain(check.get('by', ''))} with {plain(check.get('model', ''))} and the source: it {verdict}"


def contract_words(contract: Mapping[str, Any]) -> str:
    """Who was given a task after a call for proposals, in a line."""
    lead, agent = plain(contract.get("lead", "")), plain(contract.get("agent", ""))
    if not contract.get("contract"):
        return f"No contract: {plain(contract.get('why', ''), 200)}. {lead} called for proposals"
    failed = f"; it failed: {plain(contract['failed'])}" if contract.get("failed") else ""
    return f"Contract {plain(contract['contract'])[:12]}: {lead} gave it to {agent} for {_terms(contract)}{failed}"


def offer_words(offer: Mapping[str, Any]) -> str:
    """What an agent answered to a call for proposals, in a line."""
    agent = plain(offer.get("agent", ""))
    if "refused" in offer:
        return f"{agent} offered nothing: {plain(offer['refused'])}"
    return f"{agent} offered {_terms(offer)}"


def _terms(offer: Mapping[str, Any]) -> str:
    chance = f"{int(offer.get('success_bps', 0)) / 100:g} %"
    return (
        f"up to {money(int(offer.get('price', 0)))}, in {float(offer.get('seconds', 0)):g} s, with a chance of {chance}"
    )


def pass_words(event: Event) -> str:
    """Why the guard let an act pass."""
    body = event.body
    by = {"person": "the person's yes", "claims": "checked claims"}.get(str(body.get("by")), plain(body.get("by", "")))
    card = f" (card {plain(body['card'])})" if body.get("card") else ""
    amount = f", up to {money(int(body['amount']))}" if body.get("amount") else ""
    return f"{plain(body.get('tool', ''))}{amount}, by {by}{card}"


def policy_words(event: Event) -> str:
    """A policy, in a line."""
    policy = event.body.get("policy", {})
    if not isinstance(policy, Mapping):
        return plain(policy)
    return (
        f"{plain(policy.get('id', ''))}: {plain(policy.get('choice', ''))} to {plain(policy.get('kind', ''))}, up to"
        f" {money(int(policy.get('up_to', 0)))}, by {plain(policy.get('by', ''))}"
    )


def given_words(capabilities: Mapping[str, Any]) -> str:
    """Capabilities, in a line; empty where there are none."""
    words = []
    for name, value in sorted(capabilities.items()):
        several = [str(each) for each in value] if isinstance(value, list | tuple) else []
        if several:
            words.append(f"{name} {'every file' if several == ['**'] else ', '.join(several)}")
        elif name == "sandbox" and value:
            words.append("run commands in the sandbox")
        elif name == "money" and isinstance(value, int) and value:
            words.append(f"pay {money(value)}")
        elif value:
            words.append(f"{name} {value}")
    return plain("; ".join(words), 300)


def many(count: int, thing: str) -> str:
    """So many of a thing."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def money(units: int) -> str:
    """Credit units, as people read them."""
    return str(Amount(units, CREDIT))


def plain(text: object, longest: int = 120) -> str:
    """Agents and strangers wrote it: no character of it may draw on the terminal."""
    clean = " ".join(
        re.sub(
            r"[^\x20-\x7e\u00a0-\ud7ff\uf900-\ufffd]|[\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]", " ", str(text)
        ).split()
    )
    return clean if len(clean) <= longest else clean[: longest - 3] + "..."
