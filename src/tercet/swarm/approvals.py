"""Acts before the person: what a tool is about to do, as a card of the inbox, and the answer as an approval of that act.

Only a person's word, or a policy that a person made, approves. A lead's yes and silence do not: an agent cannot wave
another's payment through, and nobody's money moves because somebody slept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from tercet.swarm.guard import Act, Approval, Reach
from tercet.swarm.inbox import Answer, Card, Inbox, build_card

__all__ = ["InboxApprover"]

_KINDS: Mapping[str, str] = {"pay": "money", "buy": "money", "ask_person": "people", "share": "memory"}


class InboxApprover:
    """One agent's way to the person."""

    def __init__(self, inbox: Inbox, node: str, *, seconds: float = 3600.0, loss: int = 0) -> None:
        """Speak for the agent at `node`.

        Args:
            inbox: the run's.
            node: the agent's path, such as `run/shop/buyer-1`.
            seconds: how long a question waits; then the answer is no.
            loss: credit units that a wrong act without an amount costs at most.

        """
        self.inbox, self.node, self.seconds, self.loss = inbox, node, seconds, loss

    async def approve(self, act: Act, why: str) -> Approval | None:
        """Ask, wait, and spend the answer on this act; None is no."""
        card = self._card(act, why)
        answer = await self.inbox.ask(card)
        if not _is_the_persons(answer):
            return None
        # Spent in the inbox too, under the act's own digest: after a resume the same act finds it, another does not.
        await self.inbox.use(answer, card.digest, key=act.digest)
        return Approval(act.digest, answer.by, int(answer.expires * 1000), answer.card)

    def _card(self, act: Act, why: str) -> Card:
        host = str(act.arguments.get("host", ""))
        kind = _KINDS.get(act.tool) or (f"network:{host}" if host else "publish")
        # What rests on checked claims may be covered by a policy within its bounds; all else a person decides one by one.
        bounded = act.reach is Reach.MONEY and not why
        shown = {name: value for name, value in act.arguments.items() if name not in {"claims", "host"}}
        return build_card(
            action=f"{act.tool} {json.dumps(shown, ensure_ascii=False)}",
            kind=kind,
            agent=self.node,
            tool=act.tool,
            call={"act": act.digest, "arguments": act.arguments},
            loss=act.amount or self.loss,
            reversible=bounded,
            deadline=self.inbox.clock.now() + self.seconds,
            task=act.task,
            step=act.digest,
            evidence=[why or "it rests on checked claims"],
        )


def _is_the_persons(answer: Answer) -> bool:
    return answer.yes and (answer.by == "person" or answer.by.startswith("policy:"))
