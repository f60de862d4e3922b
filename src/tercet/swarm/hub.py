"""The hub: agents' messages pass through here, over WebSockets on this machine, and into the journal.

It checks who speaks, that nothing is said twice, and how much; writes each message down before anybody reads it; and
keeps a bounded mailbox for every agent. It never reads what is said.

Frames are JSON objects with one field. Agent to hub: `say` (an envelope), `took` (the id of one that it has read). Hub to agent:
`welcome` (agent, prev), `taken` (an id), `refused` (id, code, why, retry_after), `hear` (an envelope).
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import json
import logging
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from tercet.errors import EnvelopeError
from tercet.market.text import decode_as_sent
from tercet.swarm.envelope import FIRST, MAX_BYTES, Envelope, read_envelope, signer_of
from tercet.swarm.journal import Journal

__all__ = ["MAILBOX", "WINDOW", "Hub"]

log = logging.getLogger(__name__)

WINDOW = 64
"""Messages that an agent may have been sent and not said that it read."""
MAILBOX = 256
"""Messages that wait for an agent beyond these, also while it is not connected."""
_RATE, _BURST = 50.0, 200.0
"""Messages a second that one agent may say, and at once after a silence."""
_PATIENCE = 1000
"""Frames beyond its rate after which an agent is cut off."""
_CALLS = 4096
"""Calls for proposals that are remembered, each as one agent got it."""
_ROOM = 1024
"""What a frame has around an envelope, in bytes."""


@dataclass(slots=True)
class _Seat:
    """An agent as the hub knows it."""

    address: str
    token: str
    allowance: float
    counted: float
    head: str = FIRST
    flooded: int = 0
    coming: int = 0
    """Messages that are being written down for it."""
    waiting: deque[Envelope] = field(default_factory=deque)
    unread: dict[str, Envelope] = field(default_factory=dict)
    """Sent to it; they are sent again to its next connection unless it says that it took them."""
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    connection: ServerConnection | None = None


@dataclass(slots=True)
class _Asked:
    """A call for proposals, as one agent got it."""

    caller: str
    agent: str
    reply_by: int
    """Unix milliseconds; 0 is no end."""
    answered: bool = False


class Hub:
    """One run's hub. `async with hub:` serves it; `url` is where."""

    def __init__(
        self,
        journal: Journal,
        *,
        rate: float = _RATE,
        burst: float = _BURST,
        mailbox: int = MAILBOX,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`rate`, `burst` and `mailbox` bound what one agent may say and leave unread. `clock` gives Unix seconds. Whoever spoke before, in the same journal, goes on from what it said last."""
        self._journal, self._clock = journal, clock
        self._rate, self._burst, self._mailbox = rate, burst, mailbox
        self._seats: dict[str, _Seat] = {}
        self._calls: OrderedDict[str, _Asked] = OrderedDict()
        self._heads: dict[str, str] = {}
        self._server: Server | None = None
        for event in journal.events(kinds=("message",)):
            said = read_envelope(event.body["envelope"])
            self._heads[said.sender] = said.hash
            self._keep(said)

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._attend,
            "127.0.0.1",
            0,
            process_request=self._let_in,
            max_size=MAX_BYTES + _ROOM,
            max_queue=8,
            compression=None,
            close_timeout=1.0,
            logger=logging.getLogger(f"{__name__}.socket"),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        """Where agents connect; each shows its token as `Authorization: Bearer TOKEN`."""
        assert self._server is not None, "the hub is not served"
        host, port = next(iter(self._server.sockets)).getsockname()[:2]
        return f"ws://{host}:{port}"

    def admit(self, agent: str, address: str) -> str:
        """Let an agent in: the token that it connects with. `address` is of the key that signs what it says."""
        assert agent not in self._seats, agent
        token = secrets.token_urlsafe(24)
        head = self._heads.get(agent, FIRST)
        self._seats[agent] = _Seat(address, token, self._burst, self._clock(), head=head)
        return token

    async def expel(self, agent: str) -> None:
        """Nothing from it is taken any more, and what waits for it is dropped."""
        seat = self._seats.pop(agent, None)
        if seat is not None:
            self._heads[agent] = seat.head
            if seat.connection is not None:
                await seat.connection.close(1008, "expelled")

    async def post(self, agent: str, raw: Any) -> Envelope:
        """Take a message (decoded JSON) from `agent`, write it down, and lay it into its receiver's mailbox.

        Raises:
            EnvelopeError: it is not taken; nothing changed.
            JournalError: it could not be written down.

        """
        sender = self._seats[agent]
        self._count(agent, sender)
        said = read_envelope(raw)
        receiver = self._check(agent, sender, said)
        sender.head = said.hash  # before the first await, so that two connections cannot both follow it
        self._keep(said)
        receiver.coming += 1
        try:
            await self._journal.append(
                "message", {"envelope": said.model_dump(), "address": sender.address}, actor=agent
            )
        finally:
            receiver.coming -= 1
        receiver.waiting.append(said)
        receiver.moved.set()
        return said

    def _keep(self, said: Envelope) -> None:
        """Keep in mind who was asked for a proposal, and who has answered."""
        if said.performative == "cfp":
            self._calls[said.id] = _Asked(said.sender, said.receiver, said.reply_by)
            while len(self._calls) > _CALLS:
                self._calls.popitem(last=False)
        elif said.in_reply_to in self._calls:
            self._calls[said.in_reply_to].answered = True

    def _count(self, agent: str, seat: _Seat) -> None:
        now = self._clock()
        seat.allowance = min(self._burst, seat.allowance + max(0.0, now - seat.counted) * self._rate)
        seat.counted = now
        if seat.allowance < 1.0:
            seat.flooded += 1
            raise EnvelopeError(
                f"{agent} says more than {self._rate:g} messages a second. Wait, and say less.",
                code="flood",
                retry_after=(1.0 - seat.allowance) / self._rate,
            )
        seat.allowance -= 1.0
        seat.flooded = 0

    def _check(self, agent: str, seat: _Seat, said: Envelope) -> _Seat:
        """Who it goes to, when it may."""
        if said.sender != agent:
            raise EnvelopeError(f"{agent} cannot speak for {said.sender}.", code="not_yours")
        if signer_of(said) != seat.address:
            raise EnvelopeError(f"Message {said.id} is not signed by the key of {agent}.", code="forged")
        if said.prev != seat.head:
            raise EnvelopeError(
                f"Message {said.id} does not follow from what {agent} said last; take prev from the hub's welcome.",
                code="replayed",
            )
        receiver = self._seats.get(said.receiver)
        if receiver is None:
            raise EnvelopeError(f"There is no agent {said.receiver} in this run.", code="unknown_receiver")
        if said.performative != "cfp" and (asked := self._calls.get(said.in_reply_to)) is not None:
            self._check_answer(said, asked)
        if len(receiver.waiting) + receiver.coming >= self._mailbox:
            raise EnvelopeError(f"{said.receiver} has {self._mailbox} messages unread.", code="full", retry_after=1.0)
        return receiver

    def _check_answer(self, said: Envelope, asked: _Asked) -> None:
        """An agent offers for itself, to the caller, in time and once."""
        call = f"The call for proposals {said.in_reply_to}"
        if (said.sender, said.receiver) != (asked.agent, asked.caller):
            raise EnvelopeError(f"{call} was made by {asked.caller} to {asked.agent}.", code="not_asked")
        if 0 < asked.reply_by < self._clock() * 1000:
            raise EnvelopeError(f"{call} is over.", code="late")
        if asked.answered:
            raise EnvelopeError(f"{call} has an answer of {said.sender} already.", code="answered")

    def _let_in(self, connection: ServerConnection, request: Request) -> Response | None:
        shown = request.headers.get("Authorization", "")
        for agent, seat in self._seats.items():
            if secrets.compare_digest(shown.encode(), f"Bearer {seat.token}".encode()):
                connection.username = agent
                return None
        return connection.respond(http.HTTPStatus.UNAUTHORIZED, "This token opens nothing here.\n")

    async def _attend(self, connection: ServerConnection) -> None:
        agent = str(connection.username)
        seat = self._seats.get(agent)
        if seat is None:
            return
        old, seat.connection = seat.connection, connection
        seat.waiting.extendleft(reversed(seat.unread.values()))
        seat.unread.clear()
        if old is not None:
            await old.close(1008, "opened elsewhere")
        bringing = asyncio.create_task(self._bring(seat, connection))
        try:
            with contextlib.suppress(ConnectionClosed):
                await _send(connection, welcome={"agent": agent, "prev": seat.head})
                async for frame in connection:
                    await self._listen(agent, seat, connection, frame)
        finally:
            bringing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await bringing
            if seat.connection is connection:
                seat.connection = None

    async def _listen(self, agent: str, seat: _Seat, connection: ServerConnection, frame: str | bytes) -> None:
        found = decode_as_sent(frame)
        if isinstance(found, dict) and isinstance(found.get("took"), str):
            seat.unread.pop(found["took"], None)
            seat.moved.set()
            return
        said = found.get("say") if isinstance(found, dict) else None
        name = said.get("id") if isinstance(said, dict) and isinstance(said.get("id"), str) else ""
        try:
            taken = await self.post(agent, said)
        except EnvelopeError as error:
            log.info("hub.refused agent=%s code=%s why=%r", agent, error.code, str(error))
            told = {"id": name, "code": error.code, "why": str(error), "retry_after": error.retry_after}
            await _send(connection, refused=told)
            if seat.flooded > _PATIENCE:
                await connection.close(1008, "flood")
        else:
            await _send(connection, taken=taken.id)

    async def _bring(self, seat: _Seat, connection: ServerConnection) -> None:
        """Bring what waits, never more than the agent can have unread; a reader that stalls stalls only itself."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                while seat.waiting and len(seat.unread) < WINDOW:
                    said = seat.waiting.popleft()
                    seat.unread[said.id] = said
                    await connection.send(b'{"hear":%b}' % said.encoded, text=True)
                seat.moved.clear()
                await seat.moved.wait()


async def _send(connection: ServerConnection, **frame: Mapping[str, Any] | str) -> None:
    await connection.send(json.dumps(frame, separators=(",", ":")))
