"""Tools for what is known: state, remember, share, recall, and judge what others said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tercet.errors import ToolError
from tercet.swarm.guard import Reach
from tercet.swarm.tools.calls import MOST_SHOWN, MOST_TOLD, Calls
from tercet.swarm.tools.needs import Shelf

__all__ = ["KnowledgeTools"]


class KnowledgeTools(Calls):
    """Claims, and the memory that holds them."""

    async def remember(self, text: str, sources: Sequence[str] = (), shared: bool = False) -> str:
        """Remember a statement; with `shared` for all agents, once it is checked. Gives its id."""
        async with self._call("remember", {"text": text[:MOST_TOLD], "shared": shared}, reach=Reach.SHARED) as note:
            memory = self._shelf()
            claim = await self.claim(text, sources)
            note.fields["claim"] = claim.id
            if shared:
                await self.guard.check(replace(note.act, arguments={"claim": claim.id}), [claim.id])
            await memory.put(claim, agent=self.agent, shared=shared)
            return claim.id

    async def share(self, claim: str) -> str:
        """Give a checked claim to all agents."""
        async with self._call("share", {"claim": claim}, reach=Reach.SHARED) as note:
            memory = self._shelf()
            await self.guard.check(note.act, [claim])
            await memory.put(self.claims.known[claim], agent=self.agent, shared=True)
            return f"{claim} is shared."

    async def recall(self, question: str, most: int = 5, checked: bool = False) -> str:
        """What you or all agents remember about `question`; with `checked` only what was checked."""
        async with self._call("recall", {"question": question[:MOST_TOLD], "most": most, "checked": checked}) as note:
            states = ("checked-by-tool", "checked-by-other") if checked else ()
            found = await self._shelf().recall(question, agent=self.agent, most=min(max(most, 1), 20), states=states)
            await self._take_in(note, *found)
            lines = [f"{claim.id} [{claim.state}, {claim.origin}, by {claim.author}] {claim.text}" for claim in found]
            return "\n".join(lines)[:MOST_SHOWN] or "Nothing."

    async def state(self, text: str, sources: Sequence[str] = ()) -> str:
        """Say something that can be checked, so that a payment can rest on it. Gives the claim's id."""
        async with self._call("state", {"text": text[:MOST_TOLD]}) as note:
            claim = await self.claim(text, sources)
            note.fields["claim"] = claim.id
            return claim.id

    async def review(self, claim: str, holds: bool) -> str:
        """Say whether another agent's claim holds. You must have read what it was read from, and think with another model."""
        async with self._call("review", {"claim": claim, "holds": holds}) as note:
            known = self.claims.known.get(claim)
            read = [source for source in known.sources if source in self._sources] if known else []
            found = await self.claims.check_by_other(
                claim, ok=holds, by=self.agent, model=self.model, sources=read, task=self.task
            )
            note.detail = found.state
            return f"{claim} is {found.state}."

    def _shelf(self) -> Shelf:
        if self._memory is None:
            raise ToolError("This run has no memory. Start it with one: pip install 'tercet[swarm]'.")
        return self._memory
