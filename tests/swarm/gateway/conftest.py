"""A desk whose model answers by a script."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tercet.swarm.gateway import Desk, Script, ScriptedUpstream, Upstream
from tercet.swarm.journal import Journal

OpenDesk = Callable[..., Awaitable[Desk]]


@pytest.fixture
async def open_desk(journal: Journal) -> AsyncIterator[OpenDesk]:
    """A desk over a script or an upstream; closed after the test."""
    async with AsyncExitStack() as stack:

        async def open_one(script: Script | Upstream = lambda _: "yes", **options: Any) -> Desk:
            upstream = ScriptedUpstream(script) if callable(script) else script
            return await stack.enter_async_context(Desk(journal, upstream, **options))

        yield open_one
