"""Commands that stay: the `ready` line, and leaving when told to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import click

__all__ = ["announce", "log_to_stderr", "run_role", "told_to_stop"]

INTERRUPTED = 130


def announce(role: str, **facts: Any) -> None:
    """The one line on stdout by which a parent knows that this role serves."""
    click.echo(json.dumps({"ready": True, "role": role, **facts}))
    sys.stdout.flush()


def log_to_stderr(level: int = logging.INFO) -> None:
    """One line an event: time, level, event and its keys."""
    logging.basicConfig(
        stream=sys.stderr, level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s", force=True
    )
    for chatty in ("aiohttp.access", "httpx2", "httpx", "openai"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


@contextlib.asynccontextmanager
async def told_to_stop() -> AsyncIterator[asyncio.Future[int]]:
    """Yields what becomes the exit code: 130 after SIGINT, 0 after SIGTERM. A second signal changes nothing."""
    loop = asyncio.get_running_loop()
    code: asyncio.Future[int] = loop.create_future()

    def tell(value: int) -> None:
        if not code.done():
            code.set_result(value)

    loop.add_signal_handler(signal.SIGINT, tell, INTERRUPTED)
    loop.add_signal_handler(signal.SIGTERM, tell, 0)
    try:
        yield code
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def run_role(role: Coroutine[Any, Any, int | None]) -> None:
    """Run a role to its end and leave with its exit code."""
    log_to_stderr()
    click.get_current_context().exit(asyncio.run(role) or 0)
