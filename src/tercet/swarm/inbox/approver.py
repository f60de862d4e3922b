"""Puts what the guard will not let pass by itself before the person: an act becomes a card, a yes becomes its approval."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tercet.market import CREDIT, Amount
from tercet.swarm.guard import Act, Approval, Reach
from tercet.swarm.inbox.cards import build_card
from tercet.swarm.inbox.inbox import Inbox
from tercet.swarm.inbox.stamps import HIGH_LOSS

__all__ = ["InboxApprover"]

_KINDS: Mapping[Reach, str] = {
    Reach.LOCAL: "commands",
    Reach.SHARED: "memory",
    Reach.IRREVERSIBLE: "publish",
    Reach.MONEY: "money",
}
_MOST_SHOWN = 160


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
        card = build_card(
            action=_words(act),
            kind=_KINDS[act.reach],
            agent=self.node,
            tool=act.tool,
            call=act.arguments,
            loss=act.amount or self.final_loss,
            reversible=act.reach is not Reach.IRREVERSIBLE,
            deadline=self.inbox.clock.now() + self.patience,
            task=act.task,
            step=str(act.number),
            evidence=(why,) if why else (),
            digest=act.digest,
        )
        answer = await self.inbox.ask(card)
        if not answer.yes:
            return None
        await self.inbox.use(answer, act.digest, str(act.number))
        return Approval(act.digest, answer.by, int(answer.expires * 1000), card.id)


def _words(act: Act) -> str:
    told = json.dumps(act.arguments, sort_keys=True, ensure_ascii=False)
    short = told if len(told) <= _MOST_SHOWN else told[:_MOST_SHOWN] + "…"
    amount = f" for up to {Amount(act.amount, CREDIT)}" if act.amount else ""
    return f"{act.tool}{amount}: {short}"
