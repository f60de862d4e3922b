"""Embeddings: the same everywhere, judged by direction."""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
import pytest

from tercet.subnets import Submission
from tercet.subnets.inference import Inference, pull
from tercet.subnets.inference.embeddings import DIMENSIONS, Embedder

pytestmark = pytest.mark.model
TASK = {
    "kind": "embed",
    "input": ["The cat sat on the mat.", "A kitten rested on a rug.", "Interest rates rose again."],
}


@pytest.fixture
async def embedder() -> Embedder:
    return await Embedder.load(pull("minilm"))


async def test_near_meanings_have_near_vectors(embedder: Embedder) -> None:
    """A cat is nearer to a kitten than to interest rates; all have length 1."""
    vectors = (await embedder.embed(TASK["input"])).vectors
    assert vectors.shape == (3, DIMENSIONS)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > 0.5 > vectors[0] @ vectors[2]


async def test_company_and_order_do_not_matter(embedder: Embedder) -> None:
    """A text has the same vector alone, in a batch of 40, empty texts and long ones beside it."""
    alone = (await embedder.embed(["The cat sat on the mat."])).vectors[0]
    crowd = await embedder.embed(["", "long " * 2000, *["word"] * 38, "The cat sat on the mat."])
    assert float(alone @ crowd.vectors[-1]) > 0.999
    assert crowd.tokens == 2 + 256 + 38 * 3 + 9


def submission(pieces: Any, failure: str = "") -> Submission:
    return Submission(1, pieces, 0.1, 0.1, secrets.token_bytes(65), failure)


async def test_an_honest_embedding_passes_and_others_say_why_not() -> None:
    """Random directions, wrong lengths, overcharging, junk."""
    mechanism = Inference("smol")
    good = [piece async for piece in mechanism.answer(TASK)]
    vectors, usage = good[0]["vectors"], good[0]["usage"]
    noise = np.random.default_rng(1).normal(size=(3, DIMENSIONS))
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    cases: dict[str, Any] = {
        "cosine to the promised": [{"vectors": noise.tolist(), "usage": usage}],
        "length 1": [{"vectors": (np.array(vectors) / 2).tolist(), "usage": usage}],
        "usage is not": [{"vectors": vectors, "usage": {"prompt": 10**6, "completion": 0}}],
        "one piece with 3 vectors": [{"vectors": vectors[:2], "usage": usage}],
        "384 numbers": [{"vectors": [[float("nan")] * DIMENSIONS] * 3, "usage": usage}],
        "numbers from -1": [{"vectors": [vectors[0], vectors[1], ["x"] * DIMENSIONS], "usage": usage}],
        "not one piece": ["junk"],
    }
    first, silent, *others = await mechanism.judge(
        TASK, [submission(good), submission([], "no answer"), *map(submission, cases.values())]
    )
    assert first.score > 0.9
    assert silent.reason == "no answer"
    for reason, verdict in zip(cases, others, strict=True):
        assert verdict.score == 0
        assert reason in verdict.reason
    await mechanism.close()
