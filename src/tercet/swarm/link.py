"""One agent's end of the hub: says, hears, asks, and calls for proposals."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from tercet.chain.keys import Key
from tercet.errors import EnvelopeError, UnreachableError
from tercet.swarm.bidding import Proposal, rank
from tercet.swarm.envelope import MAX_BYTES, Envelope, Performative, read_envelope, seal

__all__ = ["Award", "Link", "Proposal", "call_for_proposals", "open_link", "read_proposal"]


class Link:
    """Made by `open_link`. Many tasks may use it; what they say leaves in the order of their calls."""

    def __init__(self, connection: ClientConnection, agent: str, key: Key, head: str) -> None:
        self.agent = agent
        self._connection, self._key, self._head = connection, key, head
        self._turn = asyncio.Lock()
        self._taken: dict[str, asyncio.Future[None]] = {}
        self._saying: set[asyncio.Task[Envelope]] = set()
        self._telling: set[asyncio.Task[None]] = set()
        self._inbox: asyncio.Queue[Envelope | None] = asyncio.Queue()
        self._listeners: dict[str, asyncio.Queue[Envelope | None]] = {}
        self._gone = False

    async def say(
        self,
        performative: Performative,
        receiver: str,
        content: Any,
        *,
        conversation: str = "",
        in_reply_to: str = "",
        reply_by: int = 0,
        claims: Sequence[str] = (),
        cost: int = 0,
    ) -> Envelope:
        """Say something; returns when it is in the journal. `seal` explains the arguments.

        Raises:
            EnvelopeError: the hub does not take it; the code says why.
            UnreachableError: the hub is gone.

        """
        saying = asyncio.create_task(
            self._say(performative, receiver, content, conversation, in_reply_to, reply_by, claims, cost)
        )
        self._saying.add(saying)
        saying.add_done_callback(self._saying.discard)
        return await asyncio.shield(saying)  # who stops waiting must not leave the chain of `prev` in doubt

    async def reply(self, to: Envelope, performative: Performative, content: Any, **more: Any) -> Envelope:
        """Answer a message, in its conversation."""
        return await self.say(performative, to.sender, content, conversation=to.conversation, in_reply_to=to.id, **more)

    async def hear(self) -> Envelope:
        """The next message that nobody listens for in particular.

        Raises:
            UnreachableError: the hub is gone.

        """
        return await self._take(self._inbox)

    async def ask(self, performative: Performative, receiver: str, content: Any, *, seconds: float) -> Envelope:
        """Say something that has an answer, and wait for it.

        Raises:
            TimeoutError: nobody answered in time.
            EnvelopeError: the hub does not take it.

        """
        with self.listening() as conversation:
            await self.say(performative, receiver, content, conversation=conversation)
            async with asyncio.timeout(seconds):
                return await self.heard(conversation)

    @contextlib.contextmanager
    def listening(self) -> Iterator[str]:
        """A fresh conversation, whose messages go to `heard` instead of to `hear`."""
        conversation = secrets.token_hex(16)
        queue = self._listeners[conversation] = asyncio.Queue()
        try:
            yield conversation
        finally:
            del self._listeners[conversation]
            while not queue.empty():
                self._inbox.put_nowait(queue.get_nowait())

    async def heard(self, conversation: str) -> Envelope:
        """The next message of a conversation that is listened to."""
        return await self._take(self._listeners[conversation])

    async def read(self) -> None:
        """Sort what comes in, until the connection ends."""
        try:
            async for frame in self._connection:
                self._sort(json.loads(frame))
        except ConnectionClosed:
            pass
        finally:
            self._gone = True
            for waiting in self._taken.values():
                if not waiting.done():
                    waiting.set_exception(self._lost())
            for queue in (self._inbox, *self._listeners.values()):
                queue.put_nowait(None)

    async def _say(
        self,
        performative: Performative,
        receiver: str,
        content: Any,
        conversation: str,
        in_reply_to: str,
        reply_by: int,
        claims: Sequence[str],
        cost: int,
    ) -> Envelope:
        async with self._turn:
            said = seal(
                self._key, performative, self.agent, receiver, content,
                prev=self._head, conversation=conversation, in_reply_to=in_reply_to, reply_by=reply_by,
                claims=claims, cost=cost,
            )  # fmt: skip
            if self._gone:
                raise self._lost()
            taken = self._taken[said.id] = asyncio.get_running_loop().create_future()
            try:
                await self._connection.send(b'{"say":%b}' % said.encoded, text=True)
                await taken
            except ConnectionClosed as error:
                raise self._lost() from error
            finally:
                del self._taken[said.id]
            self._head = said.hash
        return said

    def _sort(self, frame: dict[str, Any]) -> None:
        if "hear" in frame:
            said = read_envelope(frame["hear"])
            self._listeners.get(said.conversation, self._inbox).put_nowait(said)
            return
        refused = frame.get("refused", {})
        taken = self._taken.get(frame.get("taken") or refused.get("id", ""))
        if taken is None or taken.done():
            return
        if refused:
            taken.set_exception(EnvelopeError(refused["why"], code=refused["code"], retry_after=refused["retry_after"]))
        else:
            taken.set_result(None)

    async def _take(self, queue: asyncio.Queue[Envelope | None]) -> Envelope:
        said = await queue.get()
        if said is None:
            queue.put_nowait(None)
            raise self._lost()
        telling = asyncio.create_task(self._tell(said.id))
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)
        return said

    async def _tell(self, name: str) -> None:
        with contextlib.suppress(ConnectionClosed):
            await self._connection.send(json.dumps({"took": name}))

    def _lost(self) -> UnreachableError:
        why = self._connection.close_reason or "the connection ended"
        return UnreachableError(f"{self.agent} is cut off from the hub: {why}. Open a new link with its token.")


@contextlib.asynccontextmanager
async def open_link(url: str, token: str, agent: str, key: Key) -> AsyncIterator[Link]:
    """Connect an agent to the hub.

    Raises:
        UnreachableError: there is no hub, or the token opens nothing there.

    """
    headers = {"Authorization": f"Bearer {token}"}
    try:
        connection = await connect(
            url, additional_headers=headers, max_size=2 * MAX_BYTES, compression=None, proxy=None, close_timeout=1.0
        )
    except (OSError, WebSocketException) as error:
        raise UnreachableError(f"{agent} cannot reach the hub at {url}: {error}.") from error
    async with connection:
        welcome = json.loads(await connection.recv())["welcome"]
        link = Link(connection, agent, key, welcome["prev"])
        reading = asyncio.create_task(link.read())
        try:
            yield link
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading


@dataclass(frozen=True, slots=True)
class Award:
    """Who got the work."""

    agent: str
    proposal: Proposal
    accepted: Envelope
    """The `accept-proposal`; what the agent has to say later replies to it, in its conversation."""


async def call_for_proposals(
    link: Link, receivers: Sequence[str], work: Any, *, seconds: float, budget: int, within: float = 86_400.0
) -> Award | None:
    """Ask several agents what they would do a piece of work for, and give it to one (FIPA's contract net).

    The best offer by `rank` wins. All others are told that they did not.

    Args:
        link: of whoever gives the work.
        receivers: agents to ask; of equal offers the one wins who is named first.
        work: what is to be done, as JSON.
        seconds: how long to wait; who answers later is refused by the hub.
        budget: credit units.
        within: seconds that the work may take.

    Returns:
        None when nobody made an offer that can be taken.

    Raises:
        EnvelopeError: the call itself was not taken.

    """
    reply_by = time.time_ns() // 1_000_000 + int(seconds * 1000)
    with link.listening() as conversation:
        asked = {}
        for receiver in dict.fromkeys(receivers):
            said = await link.say("cfp", receiver, work, conversation=conversation, reply_by=reply_by)
            asked[said.id] = receiver
        offers = await _collect(link, conversation, asked, reply_by / 1000 - time.time())
        read = {offer.sender: read_proposal(offer) for offer in offers}
        proposals = {agent: found for agent in receivers if (found := read.get(agent)) is not None}
        good = rank(proposals, budget=budget, seconds=within)
        award = None
        for offer in offers:
            if offer.sender in good[:1]:
                proposal = proposals[offer.sender]
                award = Award(offer.sender, proposal, await link.reply(offer, "accept-proposal", proposal.model_dump()))
        for offer in offers:
            if offer.sender not in good[:1]:
                why = "another offer was taken" if offer.sender in good else "no offer within the budget and the time"
                with contextlib.suppress(EnvelopeError):
                    await link.reply(offer, "reject-proposal", {"why": why})
        return award


async def _collect(link: Link, conversation: str, asked: dict[str, str], seconds: float) -> list[Envelope]:
    """The first offer of each agent that was asked, until all have answered or the time is over."""
    open_, offers = dict(asked), []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, seconds)):
            while open_:
                answer = await link.heard(conversation)
                if open_.get(answer.in_reply_to) != answer.sender:
                    continue
                del open_[answer.in_reply_to]
                if answer.performative == "propose":
                    offers.append(answer)
    return offers


def read_proposal(offer: Envelope) -> Proposal | None:
    """What it offers; None where that is in no form that can be taken."""
    try:
        return Proposal.model_validate(offer.content)
    except ValidationError:
        return None
