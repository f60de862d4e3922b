"""Tools that reach out of the sandbox: to the person, to somebody else's tool, to somebody's money."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from tercet.errors import AgentError, RefusedError, ToolError
from tercet.market import CREDIT, Amount
from tercet.swarm.claims import (
    Origin,
)
from tercet.swarm.guard import Act, Reach
from tercet.swarm.tools.calls import MOST_SHOWN, MOST_TOLD, Calls, Note
from tercet.swarm.tools.needs import Bought, Desires, Purse

__all__ = ["PERSON", "OutwardTools"]

PERSON = "person"
_LONGEST_QUESTION = 250
"""Characters: what the person says yes to is their word, so they see it whole on its card."""


class OutwardTools(Calls):
    """Ask, use what is elsewhere, pay, buy."""

    async def ask_person(self, question: str) -> str:
        """Ask the person a question that yes or no answers, in one line. You wait, nobody else does."""
        async with self._call("ask_person", {"question": question[:MOST_TOLD]}) as note:
            self._need(self.caps.may_address(PERSON), "address the person")
            if len(json.dumps(question, ensure_ascii=False)) - 2 > _LONGEST_QUESTION or not question.isprintable():
                raise ToolError(f"The person reads one line of at most {_LONGEST_QUESTION} characters. Ask shorter.")
            if self._approver is None:
                raise ToolError("Nobody can be asked in this run. Decide by what you know, or leave it.")
            answer = await self._approver.approve(note.act, "the agent asks")
            text = f"{'yes' if answer else 'no'}: {question}"
            if answer is not None and answer.by == PERSON:
                claim = await self.claims.make(text, author=PERSON, origin=Origin.OPERATOR, task=self.task)
                note.fields["claim"] = claim.id
            note.detail = text[:3]
            return "yes" if answer else "no"

    async def outside(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        do: Callable[[], Awaitable[str]],
        *,
        host: str,
        reach: Reach = Reach.IRREVERSIBLE,
        claims: Sequence[str] = (),
    ) -> str:
        """Use somebody else's tool, such as one of an MCP server on `host`: guarded, and what it says is its word."""
        async with self._acts, self._call(tool, arguments, reach=reach, host=host) as note:
            self._need(self.caps.may_reach(host), f"reach {host}")
            await self._let_pass(note.act, claims)
            self._done[note.act.twin] = note.act.number + 1
            try:
                said = (await do())[:MOST_SHOWN]
            except (ToolError, AgentError) as error:  # the agent reads a refusal's words like any others
                words = str(error).encode(errors="replace")
                await self._take_in(note, await self._external(f"{host}/{tool}", f"how {tool} failed", words))
                raise
            await self._take_in(note, await self._external(f"{host}/{tool}", f"what {tool} said", said.encode()))
            return said

    async def pay(self, to: str, amount: int, claims: Sequence[str], why: str = "") -> str:
        """Pay somebody `amount` credit units, 1000000 to 1 credit, resting on checked claims."""

        async def do(purse: Purse, key: str) -> Bought:
            return Bought(await purse.pay(self.agent, to, amount, key), amount)

        arguments = {"to": to, "amount": amount, "claims": sorted(set(claims)), "why": why[:MOST_TOLD]}
        return await self._spend("pay", arguments, amount, do, to)

    async def buy(self, wanted: Desires, most: int, claims: Sequence[str]) -> str:
        """Buy something on the market for at most `most` credit units, 1000000 to 1 credit, resting on checked claims."""

        async def do(purse: Purse, key: str) -> Bought:
            return await purse.buy(self.agent, wanted, most, key)

        arguments = {"wanted": dict(wanted), "most": most, "claims": sorted(set(claims))}
        # Of a job, whoever is to be paid for it is somebody that the agent may pay.
        return await self._spend("buy", arguments, most, do, str(wanted.get("worker", "")))

    async def _spend(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        most: int,
        do: Callable[[Purse, str], Awaitable[Bought]],
        to: str = "",
    ) -> str:
        async with self._acts, self._call(tool, arguments, reach=Reach.MONEY, amount=most) as note:
            if type(most) is not int or most <= 0:
                raise ToolError(
                    f"An amount is a whole number of credit units above 0, 1000000 to 1 credit, not {most!r}."
                )
            self._need(not to or self.caps.may_address(to), f"pay {to}")
            # A payment that was under way when the run was killed is in the sum already, under the same digest.
            left = self.money_left + self._paid.get(note.act.digest, 0)
            self._need(most <= left, f"spend {Amount(most, CREDIT)} of the {Amount(left, CREDIT)} it has left")
            if self._purse is None:
                raise ToolError("This run has no purse, so nothing can be paid or bought in it.")
            bought = await self._made_before(note.act, most, self._purse)
            if bought is None:
                await self._let_pass(note.act, arguments["claims"])
                bought = await self._paid_once(note, most, do, self._purse)
            charged = max(0, bought.charged)
            note.fields |= {"charged": charged, "receipt": bought.receipt, "claims": list(arguments["claims"])}
            self._paid[note.act.digest] = charged
            note.detail = f"{Amount(charged, CREDIT)}, receipt {bought.receipt}"
            said = bought.result[:MOST_SHOWN]
            if said:
                await self._take_in(
                    note, await self._external(f"{tool}:{bought.receipt}", "what was bought", said.encode())
                )
            return f"Paid {note.detail}." + (f"\n{said}" if said else "")

    async def _made_before(self, act: Act, most: int, purse: Purse) -> Bought | None:
        """The payment of a step that was killed, where it was made: no guard and no person unmakes it. Else it is tried anew."""
        if not act.step or act.digest not in self._paid:
            return None
        receipt = await purse.find(act.digest)
        if receipt is None:
            self.guard.reopen(act)
            return None
        return Bought(receipt, most)

    async def _paid_once(
        self, note: Note, most: int, do: Callable[[Purse, str], Awaitable[Bought]], purse: Purse
    ) -> Bought:
        self._paid[note.act.digest] = most
        try:
            return await do(purse, note.act.digest)
        except RefusedError:
            note.fields["charged"] = self._paid[note.act.digest] = 0
            raise
        except BaseException:
            self.guard.reopen(note.act)
            raise
