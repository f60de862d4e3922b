"""How commands speak to a living run: JSON lines over a unix socket in the run's folder, mode 0600.

A request is `{"verb": ..., "args": {...}}`; answers are `{"ok": true, "result": {...}}`, many for a verb that streams,
and then `{"ok": true, "end": true}`; or `{"ok": false, "error": text, "exit_code": n}`. It knows no verb: whoever serves
brings a table of them. Whatever is sent to it, it answers or hangs up, and goes on serving.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import logging
import os
import socket
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

from tercet.errors import RefusedError, RunLockedError, SwarmError, TercetError, UnreachableError, UsageError
from tercet.market.text import decode_json

__all__ = ["SOCKET", "Handler", "follow", "is_served", "request", "serve_control"]

log = logging.getLogger(__name__)

Handler: TypeAlias = Callable[..., Awaitable[Mapping[str, Any]] | AsyncIterator[Mapping[str, Any]]]
"""Called with a request's args by name; returns the result, or streams many."""

SOCKET = "control.sock"
_NAMED = "control.path"
"""Holds the socket's path where the run's folder is too long for one."""
_LONGEST_PATH = 100
"""Bytes; the system's bound is 108, and 104 elsewhere."""
_LINE_BYTES = 256 << 10
_ANSWER_BYTES = 16 << 20
_MOST_CLIENTS = 64
_PATIENCE = 30.0
"""Seconds that a client may take to send a line, or to read an answer."""


@asynccontextmanager
async def serve_control(run_dir: Path, handlers: Mapping[str, Handler]) -> AsyncIterator[None]:
    """Answer requests to the run while the block goes on.

    Raises:
        RunLockedError: somebody answers there already.

    """
    path = await _claim(run_dir)
    door = _Door(handlers)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)  # before it listens, so that nobody else was ever let in
        server = await asyncio.start_unix_server(door.welcome, sock=listener, limit=_LINE_BYTES)
    except BaseException:
        listener.close()
        path.unlink(missing_ok=True)
        raise
    try:
        yield
    finally:
        # A client that was accepted gets its transport one turn of the loop later; a server that is closed by then drops
        # it unclosed. So nobody more is accepted, then a turn, then the end.
        asyncio.get_running_loop().remove_reader(listener)
        await asyncio.sleep(0)
        server.close()
        await door.close()
        path.unlink(missing_ok=True)
        (run_dir / _NAMED).unlink(missing_ok=True)
        if path.parent != run_dir:
            with contextlib.suppress(OSError):
                path.parent.rmdir()


async def is_served(run_dir: Path) -> bool:
    """Whether a process serves the run now."""
    path = _address(run_dir)
    if path is None:
        return False
    try:
        _, writer = await asyncio.wait_for(asyncio.open_unix_connection(str(path)), 5)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def request(run_dir: Path, verb: str, *, patience: float = 10.0, **args: Any) -> dict[str, Any]:
    """Ask the living run, and wait for the answer.

    Raises:
        UnreachableError: nobody serves the run, or no answer came in `patience` seconds.
        TercetError: it said no; the text is its own.

    """
    async with contextlib.aclosing(_exchange(run_dir, verb, args, patience)) as answers:
        async for answer in answers:
            return answer
    raise UnreachableError(f"The run in {run_dir} ended before it answered. See tercet ps --all.")


async def follow(run_dir: Path, verb: str, **args: Any) -> AsyncIterator[dict[str, Any]]:
    """The answers of a verb that streams, until the run or the caller ends it. Errors as `request`."""
    async with contextlib.aclosing(_exchange(run_dir, verb, args, None)) as answers:
        async for answer in answers:
            yield answer


async def _exchange(
    run_dir: Path, verb: str, args: Mapping[str, Any], seconds: float | None
) -> AsyncGenerator[dict[str, Any], None]:
    path = _address(run_dir)
    if path is None:
        raise _nobody(run_dir)
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_unix_connection(str(path), limit=_ANSWER_BYTES)
    except (OSError, TimeoutError) as error:
        raise _nobody(run_dir) from error
    try:
        writer.write(json.dumps({"verb": verb, "args": dict(args)}).encode() + b"\n")
        await writer.drain()
        while line := await asyncio.wait_for(reader.readline(), seconds):
            answer = _read_answer(line)
            if "result" in answer:
                yield answer["result"]
            if answer.get("end"):
                return
    except TimeoutError:
        raise UnreachableError(f"The run in {run_dir} did not answer {verb!r} within {seconds:g} s.") from None
    except (OSError, ValueError) as error:
        raise UnreachableError(f"The run in {run_dir} broke off while answering {verb!r}: {error}.") from error
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _nobody(run_dir: Path) -> UnreachableError:
    return UnreachableError(
        f"No process works on the run {run_dir.name!r} now. tercet resume {run_dir.name} goes on with it."
    )


def _read_answer(line: bytes) -> dict[str, Any]:
    answer = decode_json(line)
    if not isinstance(answer, dict):
        raise UnreachableError("The run answered with something that is no answer. Is it another version of Tercet?")
    if answer.get("ok"):
        return answer if isinstance(answer.get("result", {}), dict) else {"end": True}
    kinds: Mapping[object, type[TercetError]] = {2: UsageError, 3: RefusedError, 4: UnreachableError}
    raise kinds.get(answer.get("exit_code"), SwarmError)(str(answer.get("error", "The run said no.")))


# the server's side


class _Door:
    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers
        self._clients: set[asyncio.Task[None]] = set()
        self._closed = False

    async def close(self) -> None:
        self._closed = True
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    def welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client, or hang up; it is known from here on, though its task begins later."""
        if self._closed or len(self._clients) >= _MOST_CLIENTS:
            writer.close()
            return
        client = asyncio.create_task(self._serve(reader, writer))
        self._clients.add(client)
        client.add_done_callback(self._clients.discard)
        client.add_done_callback(lambda _: writer.close())  # a task that is cancelled before it begins closes nothing

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, request after request."""
        with contextlib.suppress(OSError, TimeoutError):  # it went away, or does not read
            while await self._serve_one(reader, writer):
                pass

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            line = await asyncio.wait_for(reader.readline(), _PATIENCE)
        except ValueError:
            await _send(writer, _refusal(UsageError(f"A request is one line of at most {_LINE_BYTES} bytes.")))
            return False
        if not line.endswith(b"\n"):
            return False
        try:
            async for result in self._results(line):
                await _send(writer, {"ok": True, "result": dict(result)})
            await _send(writer, {"ok": True, "end": True})
        except TercetError as error:
            await _send(writer, _refusal(error))
        except (OSError, TimeoutError):
            raise
        except Exception as error:
            log.exception("swarm.control.fault")
            await _send(writer, _refusal(SwarmError(f"The run failed to do it: {type(error).__name__}: {error}.")))
        return True

    async def _results(self, line: bytes) -> AsyncIterator[Mapping[str, Any]]:
        asked = decode_json(line)
        if not isinstance(asked, dict) or not isinstance(asked.get("args", {}), dict):
            raise UsageError('A request is a JSON object on one line: {"verb": "pause", "args": {"node": "run"}}.')
        verb, args = asked.get("verb"), asked.get("args", {})
        handler = self._handlers.get(verb) if isinstance(verb, str) else None
        if handler is None:
            raise UsageError(
                f"This run knows no verb {str(verb)[:80]!r}. It knows: {', '.join(sorted(self._handlers))}."
            )
        try:
            inspect.signature(handler).bind(**args)
        except TypeError as error:
            raise UsageError(f"The verb {verb!r} was not asked as it must be: {error}.") from None
        answer = handler(**args)
        if isinstance(answer, AsyncIterator):
            async for result in answer:
                yield result
        else:
            yield await answer


async def _send(writer: asyncio.StreamWriter, answer: Mapping[str, Any]) -> None:
    writer.write(json.dumps(answer, default=str).encode() + b"\n")
    await asyncio.wait_for(writer.drain(), _PATIENCE)


def _refusal(error: TercetError) -> dict[str, Any]:
    return {"ok": False, "error": str(error), "exit_code": error.exit_code}


# where it listens


def _address(run_dir: Path) -> Path | None:
    path = run_dir / SOCKET
    if not _is_long(path):
        return path if path.exists() else None
    with contextlib.suppress(OSError):
        named = Path((run_dir / _NAMED).read_text())
        if named.exists():
            return named
    return None


async def _claim(run_dir: Path) -> Path:
    """A path to bind to: in the run's folder, or in a private one when that is too long."""
    if await is_served(run_dir):
        raise RunLockedError(f"Another process serves the run in {run_dir}. tercet attach shows it.")
    path = run_dir / SOCKET
    if _is_long(path):
        path = Path(tempfile.mkdtemp(prefix="tercet-")) / SOCKET  # mode 0700
        (run_dir / _NAMED).write_text(str(path))
    path.unlink(missing_ok=True)  # of a process that was killed
    return path


def _is_long(path: Path) -> bool:
    return len(os.fsencode(path)) > _LONGEST_PATH
