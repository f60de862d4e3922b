"""One of our agents, to be asked by whoever has a token of their own: an A2A server as a Starlette app."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from a2a.helpers import new_task_from_user_message
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill, Message, Part
from starlette.applications import Starlette
from starlette.authentication import SimpleUser
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as AsgiMessage

from tercet import __version__
from tercet.errors import CapabilityError, RefusedError, TercetError, UsageError
from tercet.swarm.capabilities import clean_path

__all__ = ["Answer", "Answered", "Ask", "Asked", "build_app"]

log = logging.getLogger(__name__)

Ask: TypeAlias = Callable[[str], Awaitable[str]]
"""Asks the caller something back; its answer."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody elsewhere wants. Anybody's words and files, whoever the token says it is."""

    caller: str
    """Whose token was shown."""
    text: str
    files: Mapping[str, bytes]
    """By clean relative path."""
    ask: Ask


@dataclass(frozen=True, slots=True)
class Answered:
    """What the caller gets."""

    text: str
    files: Mapping[str, bytes] = field(default_factory=dict)


Answer: TypeAlias = Callable[[Asked], Awaitable[Answered]]
"""What the agent makes of what it was asked. RefusedError becomes a rejection, any other error of ours a failure."""
MAX_BODY = 3 << 19
"""Bytes of a request: a MiB of files, as the base64 that they travel in."""
MOST_TASKS = 64
"""Tasks under way at once."""
WAIT_SECONDS = 3600.0
"""How long a question waits for the caller."""


def build_app(
    name: str, description: str, answer: Answer, *, url: str, callers: Mapping[str, str], skills: Sequence[str] = ()
) -> Starlette:
    """Make the app.

    Args:
        name: of the agent.
        description: what it does.
        answer: does it.
        url: where callers reach it, with the path /: stands in its card.
        callers: name to token of those who are let in, shown as `Authorization: Bearer`; the card itself is open to all.
            No caller sees another's tasks.
        skills: what it can do, a few words each.

    Raises:
        UsageError: a token is empty, which anybody could show, or there is none.

    """
    if not callers or not all(callers.values()):
        raise UsageError(
            "An agent without a token would work for anybody. Give it one, such as secrets.token_urlsafe()."
        )
    card = AgentCard(
        name=name,
        description=description,
        version=__version__,
        supported_interfaces=[AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version="1.0")],
        capabilities=AgentCapabilities(streaming=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[
            AgentSkill(id=f"skill-{number}", name=skill, description=skill, tags=["tercet"])
            for number, skill in enumerate(skills or (description,))
        ],
    )
    executor = _Executor(answer)
    handler = DefaultRequestHandler(agent_executor=executor, task_store=InMemoryTaskStore(), agent_card=card)

    @contextlib.asynccontextmanager
    async def live(_app: Starlette) -> AsyncIterator[None]:
        yield
        await executor.close()
        await handler.aclose()

    return Starlette(
        lifespan=live,
        routes=[*create_agent_card_routes(card), *create_jsonrpc_routes(handler, "/")],
        middleware=[Middleware(_Door, callers=callers)],
    )


class _Door:
    """Lets calls in that show a token and are small, and says whose it is."""

    def __init__(self, app: ASGIApp, callers: Mapping[str, str]) -> None:
        self._app, self._callers = app, callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] == "GET":
            await self._app(scope, receive, send)
            return
        shown = dict(scope["headers"]).get(b"authorization", b"")
        # Every token is compared, so that the time tells nothing.
        fits = [name for name, token in self._callers.items() if hmac.compare_digest(shown, f"Bearer {token}".encode())]
        if not fits:
            await PlainTextResponse("This token opens nothing here.\n", 401)(scope, receive, send)
            return
        scope["user"] = SimpleUser(fits[0])  # owns its tasks, in the library's store
        body = bytearray()
        while True:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > MAX_BODY or message["type"] == "http.disconnect":
                await PlainTextResponse("Too large.\n", 413)(scope, receive, send)
                return
            if not message.get("more_body"):
                break
        whole: list[AsgiMessage] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def again() -> AsgiMessage:
            return whole.pop() if whole else await receive()

        await self._app(scope, again, send)


class _Thread:
    """One task: the agent at work on it, and the question that it waits with."""

    def __init__(self, answer: Answer, caller: str, message: Message) -> None:
        self._asked: asyncio.Queue[tuple[str, asyncio.Future[str]]] = asyncio.Queue(1)
        self._open: asyncio.Future[str] | None = None
        text = "\n".join(part.text for part in message.parts if part.HasField("text"))
        self.work = asyncio.ensure_future(answer(Asked(caller, text, _files(message), self._ask)))

    async def _ask(self, question: str) -> str:
        waiting: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        await self._asked.put((question, waiting))
        async with asyncio.timeout(WAIT_SECONDS):
            return await waiting

    def told(self, answer: str) -> None:
        """The caller's answer to the open question."""
        if self._open is not None and not self._open.done():
            self._open.set_result(answer)

    async def next(self) -> str | None:
        """The next question; None when the work has ended."""
        asking = asyncio.ensure_future(self._asked.get())
        either: set[asyncio.Future[object]] = {asking, self.work}  # type: ignore[arg-type]  # both are futures
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not asking.done():
            asking.cancel()
            return None
        question, self._open = asking.result()
        return question


class _Executor(AgentExecutor):
    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._threads: dict[str, _Thread] = {}

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Begin a task, or go on with one that waited for an answer."""
        assert context.task_id is not None
        assert context.context_id is not None
        assert context.message is not None
        if context.current_task is None:
            await event_queue.enqueue_event(new_task_from_user_message(context.message))
        updater = TaskUpdater(event_queue, context.task_id, context.context_id)
        thread = self._threads.get(context.task_id)
        if thread is not None:
            thread.told(context.get_user_input())
        elif len(self._threads) >= MOST_TASKS:
            await updater.reject(_words(updater, f"{MOST_TASKS} tasks are under way; come again later."))
            return
        else:
            thread = self._threads[context.task_id] = _Thread(
                self._answer, context.call_context.user.user_name, context.message
            )
        await updater.start_work()
        question = await thread.next()
        if question is not None:
            await updater.requires_input(_words(updater, question))
            return
        del self._threads[context.task_id]
        await _end(updater, thread.work)

    async def close(self) -> None:
        """End all that is under way."""
        for thread in self._threads.values():
            thread.work.cancel()
        await asyncio.gather(*(thread.work for thread in self._threads.values()), return_exceptions=True)
        self._threads.clear()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """End it."""
        assert context.task_id is not None
        assert context.context_id is not None
        thread = self._threads.pop(context.task_id, None)
        if thread is not None:
            thread.work.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await thread.work
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


def _files(message: Message) -> dict[str, bytes]:
    """What came along; a name that is no path within a folder stays out."""
    found: dict[str, bytes] = {}
    for part in message.parts:
        if part.HasField("raw"):
            try:
                found[clean_path(part.filename)] = part.raw
            except CapabilityError as error:
                log.warning("swarm.a2a.file_left_out why=%r", str(error))
    found.pop(".", None)
    return found


async def _end(updater: TaskUpdater, work: asyncio.Future[Answered]) -> None:
    try:
        made = work.result()
    except RefusedError as error:
        await updater.reject(_words(updater, str(error)))
    except (TercetError, TimeoutError) as error:
        await updater.failed(_words(updater, str(error) or "Nobody answered its question in time."))
    else:
        for name, data in made.files.items():
            await updater.add_artifact([Part(raw=data, filename=name)], name=name)
        await updater.add_artifact([Part(text=made.text)], name="answer")
        await updater.complete()


def _words(updater: TaskUpdater, text: str) -> Message:
    return updater.new_agent_message([Part(text=text)])
