"""MCP's lines over the streams of a program in the sandbox: what the library asks of a transport."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import anyio
from mcp.client import Transport
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from tercet.errors import AgentError
from tercet.swarm.workers.box import Box, last_words

__all__ = ["pipe"]


def pipe(box: Box) -> Transport:
    """The transport of a server that runs in `box`."""
    return _pipe(box)


@contextlib.asynccontextmanager
async def _pipe(
    box: Box,
) -> AsyncIterator[
    tuple[
        anyio.streams.memory.MemoryObjectReceiveStream[SessionMessage | Exception],
        anyio.streams.memory.MemoryObjectSendStream[SessionMessage],
    ]
]:
    streams = await box.streams()
    if streams is None:
        raise AgentError(f"The server of tools did not start: {last_words(box.ended.result())}.")
    reader, writer = streams
    heard, hearing = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    saying, said = anyio.create_memory_object_stream[SessionMessage](0)

    async def hear() -> None:
        async with heard:
            with contextlib.suppress(ConnectionError, anyio.BrokenResourceError, anyio.ClosedResourceError):
                while line := await _line(reader):
                    await heard.send(_read(line))

    async def speak() -> None:
        async with said:
            with contextlib.suppress(ConnectionError):
                async for message in said:
                    text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                    writer.write(text.encode() + b"\n")
                    await writer.drain()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(hear()), group.create_task(speak())]
        try:
            yield hearing, saying
        finally:
            for task in tasks:
                task.cancel()
            await hearing.aclose()
            await saying.aclose()


async def _line(reader: asyncio.StreamReader) -> bytes:
    """The next line; nothing at the end, or when it is beyond bounds."""
    try:
        return await reader.readline()
    except ValueError:
        return b""


def _read(line: bytes) -> SessionMessage | Exception:
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError as error:
        return error
