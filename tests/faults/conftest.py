"""A town per test, left clean."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.faults.town import Town


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    """A chain and an echo market; 1000 TCT an epoch."""
    built = await Town.found(tmp_path)
    yield built
    await built.leave()
