"""An agent elsewhere as a worker: it is told a task, may ask back, and what it sends is an external claim."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import httpx
from a2a.client import A2ACardResolver, Client, ClientConfig, ClientFactory
from a2a.client.errors import A2AClientError
from a2a.helpers import get_message_text
from a2a.types import (
    AgentCard,
    CancelTaskRequest,
    GetTaskRequest,
    Message,
    Part,
    Role,
    SendMessageRequest,
    StreamResponse,
    TaskState,
)
from a2a.types import Artifact as A2aArtifact
from a2a.types import Task as A2aTask
from a2a.utils.errors import A2AError
from google.protobuf.json_format import ParseError

from tercet.errors import AgentError, AgentUnreachableError
from tercet.swarm.a2a.files import build_parts, keep
from tercet.swarm.a2a.wire import bounded_client
from tercet.swarm.folder import Folder
from tercet.swarm.plan import Task
from tercet.swarm.workers.granted import GrantedTool
from tercet.swarm.workers.worker import MAX_TEXT, Say, Saying

__all__ = ["A2aWorker", "Card", "fetch_card"]

_CARD_SECONDS = 15.0
_CANCEL_SECONDS = 3.0
_POLL_SECONDS = (0.2, 0.5, 1.0, 2.0)
_MAX_QUESTIONS = 20
_TROUBLE = (A2AClientError, A2AError, httpx.HTTPError, ParseError, ValueError, TypeError, RecursionError)
"""What a peer that is down or speaks nonsense makes the library raise."""
_SILENCE = (httpx.NetworkError, httpx.TimeoutException, TimeoutError)
"""What of it means that nobody answered."""
_ENDED: Mapping[int, str] = {
    TaskState.TASK_STATE_FAILED: "failed",
    TaskState.TASK_STATE_CANCELED: "was cancelled there",
    TaskState.TASK_STATE_REJECTED: "was rejected",
    TaskState.TASK_STATE_AUTH_REQUIRED: "needs a login that Tercet does not give",
}


@dataclass(frozen=True, slots=True)
class Card:
    """What an agent says of itself."""

    name: str
    description: str
    version: str
    skills: Sequence[str]
    streaming: bool
    raw: AgentCard = field(repr=False)


async def fetch_card(url: str) -> Card:
    """Ask an agent who it is.

    Raises:
        AgentUnreachableError: nobody is there.
        AgentError: it is no A2A agent, or it sends its callers to another host.

    """
    async with bounded_client(silence=_CARD_SECONDS) as http:
        return await _card(http, url)


async def _card(http: httpx.AsyncClient, url: str) -> Card:
    try:
        async with asyncio.timeout(_CARD_SECONDS):
            card = await A2ACardResolver(http, url).get_agent_card()
    except (*_TROUBLE, TimeoutError) as error:
        silent = isinstance(error, _SILENCE) or isinstance(error.__cause__, _SILENCE)  # the library wraps them
        kind = AgentUnreachableError if silent else AgentError
        raise kind(f"There is no A2A agent at {url}: {str(error) or 'it did not answer in time'}.") from error
    ours = urlsplit(url)
    for interface in card.supported_interfaces:
        theirs = urlsplit(interface.url)
        # Another port is another service, which is not to see the token.
        if (theirs.scheme, theirs.hostname, _port(theirs)) != (ours.scheme, ours.hostname, _port(ours)):
            raise AgentError(
                f"The agent at {url} sends its callers to {interface.url!r}, which is somewhere else. Add that address"
                " itself if you trust it."
            )
    return Card(
        card.name[:100],
        card.description[:1000],
        card.version[:40],
        tuple(skill.name[:100] for skill in card.skills[:32]),
        card.capabilities.streaming,
        card,
    )


def _port(address: SplitResult) -> int | None:
    try:
        return address.port or {"http": 80, "https": 443}.get(address.scheme)
    except ValueError:
        return None


class A2aWorker:
    """A `Worker` that lives behind a URL. It thinks with its own means: it gets no face and no token."""

    def __init__(self, url: str, *, token: str = "") -> None:
        """`token` is shown to that agent as `Authorization: Bearer`; it is the agent's, not the run's."""
        self.url, self._token = url, token
        self._working: asyncio.Task[None] | None = None

    async def work(
        self,
        task: Task,
        folder: Path,
        face_url: str,  # noqa: ARG002
        token: str,  # noqa: ARG002
        say: Say,
        tools: Sequence[GrantedTool] = (),
    ) -> None:
        """Do the task; see `Worker`. Only files that the task names as inputs leave the machine."""
        if tools:
            raise AgentError(
                f"The agent at {self.url} is elsewhere, and tools are handed to nobody outside this machine."
            )
        self._working = asyncio.create_task(self._work(task, folder, say))
        try:
            async with asyncio.timeout(task.seconds):
                await self._working
        except TimeoutError:
            raise AgentError(f"The agent at {self.url} used up its {task.seconds:g} s.") from None
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Have the task cancelled there, and listen no more."""
        working = self._working
        if working is not None and not working.done():
            working.cancel()
            await asyncio.wait([working])

    async def _work(self, task: Task, folder: Path, say: Say) -> None:
        async with bounded_client(silence=task.seconds, token=self._token) as http:
            card = await _card(http, self.url)
            client = ClientFactory(ClientConfig(httpx_client=http)).create(card.raw)
            exchange = _Exchange(client, task, say)
            try:
                found = await exchange.run(build_parts(task, Folder(folder)))
            except asyncio.CancelledError:
                await exchange.cancel()
                raise
            except _TROUBLE as error:
                raise AgentError(f"The agent at {self.url} cannot be understood: {error}.") from error
        await keep(found, task, Folder(folder), say)


class _Exchange:
    """One task, there and back."""

    def __init__(self, client: Client, task: Task, say: Say) -> None:
        self._client, self._task, self._say = client, task, say
        self._id = self._context = ""
        self._artifacts: dict[str, A2aArtifact] = {}
        self._state: int = TaskState.TASK_STATE_SUBMITTED
        self._words = ""

    async def run(self, parts: Sequence[Part]) -> Sequence[A2aArtifact]:
        """Send, follow, answer what is asked; what it made."""
        for _ in range(_MAX_QUESTIONS):
            await self._follow(parts)
            if self._state == TaskState.TASK_STATE_COMPLETED:
                return self._made()
            if self._state != TaskState.TASK_STATE_INPUT_REQUIRED:
                how = _ENDED.get(self._state, "ended in no known state")
                raise AgentError(f"The task {how}{f': {self._words[:500]}' if self._words else ''}.")
            answer = await self._say(Saying("ask", self._words[:MAX_TEXT] or "(it asks without words)"))
            parts = [Part(text=answer)]
        raise AgentError(f"The agent asked more than {_MAX_QUESTIONS} questions.")

    async def cancel(self) -> None:
        """Best effort: it may be gone, or not listen."""
        if self._id:
            with contextlib.suppress(*_TROUBLE, TimeoutError, AgentError):
                async with asyncio.timeout(_CANCEL_SECONDS):
                    await self._client.cancel_task(CancelTaskRequest(id=self._id))

    async def _follow(self, parts: Sequence[Part]) -> None:
        message = Message(
            message_id=secrets.token_hex(16),
            role=Role.ROLE_USER,
            parts=parts,
            task_id=self._id,
            context_id=self._context,
        )
        async for event in self._client.send_message(SendMessageRequest(message=message)):
            await self._take(event)
        async for seen in self._poll():
            await self._see(seen)

    async def _poll(self) -> AsyncIterator[A2aTask]:
        """Look again while it works, for agents that do not stream."""
        turn = 0
        while self._id and self._state in {TaskState.TASK_STATE_SUBMITTED, TaskState.TASK_STATE_WORKING}:
            await asyncio.sleep(_POLL_SECONDS[min(turn, len(_POLL_SECONDS) - 1)])
            turn += 1
            yield await self._client.get_task(GetTaskRequest(id=self._id))

    async def _take(self, event: StreamResponse) -> None:
        if event.HasField("task"):
            await self._see(event.task)
        elif event.HasField("message"):  # an answer without a task: that was all
            self._artifacts["message"] = A2aArtifact(artifact_id="message", parts=event.message.parts)
            self._state = TaskState.TASK_STATE_COMPLETED
        elif event.HasField("status_update"):
            await self._move(event.status_update.status.state, get_message_text(event.status_update.status.message))
        elif event.HasField("artifact_update"):
            self._gather(event.artifact_update.artifact, append=event.artifact_update.append)

    async def _see(self, seen: A2aTask) -> None:
        self._id, self._context = self._id or seen.id, self._context or seen.context_id
        for artifact in seen.artifacts:
            self._gather(artifact, append=False)
        await self._move(seen.status.state, get_message_text(seen.status.message))

    async def _move(self, state: int, words: str) -> None:
        changed = (state, words) != (self._state, self._words)
        self._state, self._words = state, words
        if changed and words and state == TaskState.TASK_STATE_WORKING:
            await self._say(Saying("note", words[:MAX_TEXT]))

    def _gather(self, artifact: A2aArtifact, *, append: bool) -> None:
        known = self._artifacts.get(artifact.artifact_id)
        if known is None or not append:
            self._artifacts[artifact.artifact_id] = artifact
        else:
            known.parts.extend(artifact.parts)

    def _made(self) -> Sequence[A2aArtifact]:
        if not self._artifacts and self._words:
            return [A2aArtifact(artifact_id="words", parts=[Part(text=self._words)])]
        return list(self._artifacts.values())
