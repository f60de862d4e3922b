"""What several tests of the swarm use."""

from __future__ import annotations

import asyncio

import pytest

from tercet.subnets.inference import Embedder, models_directory


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    """MiniLM, from the cache; loaded once for all."""
    return asyncio.run(Embedder.load(models_directory() / "all-minilm-l6-v2-int8.onnx"))
