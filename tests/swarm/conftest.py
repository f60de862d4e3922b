"""What several tests of the swarm use."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tercet.subnets.inference import Embedder, models_directory
from tercet.swarm.journal import Journal


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """Of an empty run."""
    with Journal(tmp_path / "journal.db") as opened:
        yield opened


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    """MiniLM, from the cache; loaded once for all."""
    return asyncio.run(Embedder.load(models_directory() / "all-minilm-l6-v2-int8.onnx"))
