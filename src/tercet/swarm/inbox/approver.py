"""Puts what the guard will not let pass by itself before the person: an act becomes a card, a yes becomes its approval.

Only a person's word, or a policy that a person made, approves. A lead's yes and silence do not: no agent waves another's
payment through, and nobody's money moves because somebody slept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from tercet.market import CREDIT, Amount
from tercet.swarm.guard import Act, Approval, Reach
from tercet.swarm.inbox.cards import LONGEST, build_card
from tercet.swarm.inbox.inbox import Inbox
from tercet.swarm.inbox.stamps import HIGH_LOSS
from tercet.swarm.inbox.state import PERSON

__all__ = ["InboxApprover"]

_KINDS: Mapping[str, str] = {
    "pay": "money",
    "buy": "money",
    "ask_person": "people",
    "remember": "memory",
    "share": "memory",
}
_ROOM = 300
"""Characters of all arguments together on the card's first line, where it has no room for all."""
_MOST_NAME = 40
"""Characters of a tool's name there, and of its host's: a stranger's names leave the arguments their room."""
_MOST_TOLD = 350
"""Characters of an argument on a line of its own, below."""
_MOST_LINES = 24


class InboxApprover:
    """The guard's way to the inbox, for one agent."""

    def __init__(self, inbox: Inbox, node: str, *, patience: float = 3600.0, final_loss: int = HIGH_LOSS) -> None:
        """Ask on behalf of `node`.

        Args:
            inbox: of the run.
            node: path of the agent, such as `run/crew/coder-1`.
            patience: seconds until silence means no.
            final_loss: credit units that an act without an amount is taken to risk.

        """
        self.inbox = inbox
        self.node = node
        self.patience = patience
        self.final_loss = final_loss

    async def approve(self, act: Act, why: str) -> Approval | None:
        """Wait for the answer; None is no. Only the asking agent waits."""
        action, more = _words(act)
        card = build_card(
            action=action,
            kind=_kind(act),
            agent=self.node,
            tool=act.tool,
            call=act.arguments,
            loss=act.amount or self.final_loss,
            # A policy covers what rests on checked claims, within its bounds; all else a person decides one by one.
            reversible=act.reach is Reach.MONEY and not why,
            deadline=self.inbox.clock.now() + self.patience,
            task=act.task,
            step=_step(act, why),
            evidence=(*((why,) if why else ()), *more),
            digest=act.digest,
        )
        answer = await self.inbox.ask(card)
        if not answer.yes or not (answer.by == PERSON or answer.by.startswith("policy:")):
            return None
        await self.inbox.use(answer, act.digest, str(act.number))
        return Approval(act.digest, answer.by, int(answer.expires * 1000), card.id, why)


def _step(act: Act, why: str) -> str:
    """An answer is to the act and to what was told of it: when something else stands against it, it is another card."""
    return f"{act.number}/{hashlib.sha256(why.encode()).hexdigest()[:16]}" if why else str(act.number)


def _kind(act: Act) -> str:
    if act.reach is Reach.MONEY:
        return "money"
    if act.host:
        return f"network:{act.host}"
    return _KINDS.get(act.tool, "publish")


def _words(act: Act) -> tuple[str, Sequence[str]]:
    """The act in one line; where that has no room for all, each argument on a line of its own, so that none hides another."""
    named = {name: value for name, value in sorted(act.arguments.items()) if act.host or name != "claims"}
    whole = json.dumps(named, ensure_ascii=False)
    amount = f" for up to {Amount(act.amount, CREDIT)}" if act.amount else ""
    tool, host = _cut(act.tool, _MOST_NAME), _cut(act.host, _MOST_NAME)
    head = f"{tool}{f' at {host}' if host else ''}{amount}: "
    if len(head + whole) <= LONGEST:
        return head + whole, ()
    lines = [_cut(f"{name}: {_text(value)}", _MOST_TOLD) for name, value in named.items()]
    left = [f"{len(lines) - _MOST_LINES} arguments more than can be shown"] if len(lines) > _MOST_LINES else []
    return head + _cut(whole, _ROOM), [*left, *lines[:_MOST_LINES]]


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def _cut(text: str, most: int) -> str:
    """Its beginning, and how much is missing."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most} characters more)"
