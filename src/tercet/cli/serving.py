"""Commands that stay: their log, and their exit code."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Coroutine
from typing import Any

import click

from tercet.cli.plain import printable, printable_lines

__all__ = ["log_to_stderr", "run_role"]


class _Format(logging.Formatter):
    """A stranger's words in an event neither draw nor begin a line."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        line = super().formatMessage(record)
        return printable(line, len(line))

    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))  # a traceback has lines of its own


def log_to_stderr(level: int = logging.INFO) -> None:
    """One line an event: time, level, event and its keys."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Format("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for chatty in ("aiohttp.access", "httpx2", "httpx", "openai"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def run_role(role: Coroutine[Any, Any, int | None]) -> None:
    """Run a role to its end and leave with its exit code."""
    log_to_stderr()
    click.get_current_context().exit(asyncio.run(role) or 0)
