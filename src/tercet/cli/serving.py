"""Commands that stay: their log, and their exit code."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Coroutine
from typing import Any

import click

__all__ = ["log_to_stderr", "run_role"]


def log_to_stderr(level: int = logging.INFO) -> None:
    """One line an event: time, level, event and its keys."""
    logging.basicConfig(
        stream=sys.stderr, level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s", force=True
    )
    for chatty in ("aiohttp.access", "httpx2", "httpx", "openai"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def run_role(role: Coroutine[Any, Any, int | None]) -> None:
    """Run a role to its end and leave with its exit code."""
    log_to_stderr()
    click.get_current_context().exit(asyncio.run(role) or 0)
