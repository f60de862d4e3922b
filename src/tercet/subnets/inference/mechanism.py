"""The `inference` mechanism: ties serving, judging and challenges to the three roles."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import ClassVar

from tercet.errors import SubnetError, TaskError, UsageError
from tercet.market import Price, Task, Usage, Verdict
from tercet.subnets.inference.embeddings import Embedder
from tercet.subnets.inference.hub import find_model
from tercet.subnets.inference.judge import (
    POSITIONS,
    TOLERANCE,
    Judge,
    Rules,
    judge_embeddings,
    recheck_chat,
    recheck_embeddings,
)
from tercet.subnets.inference.prompts import draw_chat, draw_embed
from tercet.subnets.inference.pull import Progress, pull
from tercet.subnets.inference.rogues import BEHAVIOURS, Behaviour, answering, served_by_liar
from tercet.subnets.inference.serve import ModelServer
from tercet.subnets.inference.tasks import ChatTask, EmbedTask, parse_task, task_limit
from tercet.subnets.mechanism import Piece, Recheck, Role, Submission

__all__ = ["Inference"]

log = logging.getLogger(__name__)

_PACE = {"smol": (20.0, 1.5), "small": (8.0, 4.0), "large": (4.0, 8.0)}
"""Model to tokens per second and seconds to the first token that earn the full score: about one core's worth."""
_PIECE_VECTOR_DIGITS = 6


class Inference:
    """A market in completions (and embeddings) of one open model.

    A chat task is `{"kind": "chat", "messages", "max_tokens", "temperature", "seed", "stop"}`, an embedding task
    `{"kind": "embed", "input"}`. Pieces of a chat answer are `{"text", "tokens": [[id, logprob], ...]}`, and the last
    one also has `finish`, `usage` and `model`; an embedding is one piece `{"vectors", "usage"}`.

    Args:
        model: the one that the market promises: smol, small, large, a GGUF file, or org/repo[:file.gguf].
        serve: the one a miner serves instead (same forms); the promised one when absent.
        models_dir: where models are kept; `$TERCET_MODELS` or the cache when absent.
        behaviour: honest, or one of `rogues`: liar, cacher, replayer.
        threads: of the CPU for the model's process. Leave it at 1 on a shared machine.
        context: tokens of prompt and answer together.
        slots: answers worked on at once by a miner.
        positions: tokens that a validator checks in an answer.
        tolerance: nats that a log-probability may differ from the validator's.
        embeddings: share of challenges that ask for embeddings, 0 to 1. Miners answer such tasks in any case.

    """

    name: ClassVar[str] = "inference"
    version: ClassVar[int] = 1

    def __init__(
        self,
        model: str = "small",
        *,
        serve: str | None = None,
        models_dir: str | Path | None = None,
        behaviour: Behaviour = "honest",
        threads: int = 1,
        context: int = 4096,
        slots: int = 2,
        positions: int = POSITIONS,
        tolerance: float = TOLERANCE,
        embeddings: float = 0.0,
    ) -> None:
        if behaviour not in BEHAVIOURS:
            raise UsageError(f"No behaviour is called {behaviour!r}. Known: {', '.join(BEHAVIOURS)}.")
        self.model = model
        self._served = serve or model
        self._directory = Path(models_dir) if models_dir else None
        self._behaviour = behaviour
        self._answering = answering(behaviour)
        self._threads, self._context, self._slots = threads, context, slots
        pace = _PACE.get(model, _PACE["small"])
        self._rules = Rules(Path(model).name, positions, tolerance, *pace)
        self._embedding_share = embeddings
        self._server: ModelServer | None = None
        self._judge: Judge | None = None
        self._embedder: Embedder | None = None
        self._embedder_lock = asyncio.Lock()

    async def open(self, role: Role) -> None:
        """Load the model the role needs, fetching it first when it is not in the cache. A gateway needs none."""
        if role == "gateway" or self._server is not None:
            return
        path = await asyncio.to_thread(self._find, role)
        slots = self._slots if role == "miner" else 1
        self._server = await ModelServer.start(path, context=self._context, slots=slots, threads=self._threads)
        if role == "validator":
            self._judge = Judge(self._server, self._rules)

    def _find(self, role: Role) -> Path:
        """The file to load. Blocks; runs in a thread."""
        progress = _logged(self._served)
        if role == "validator":
            return find_model(self.model, self._directory, progress)
        if self._behaviour == "liar" and self._served == self.model:
            return served_by_liar(self.model, self._directory, progress)
        return find_model(self._served, self._directory, progress)

    async def close(self) -> None:
        """End the model's process."""
        server, self._server, self._judge, self._embedder = self._server, None, None, None
        if server is not None:
            await server.stop()

    def price(self) -> Price:
        """What a miner asks unless its owner says otherwise: 1 credit per million prompt tokens, 4 per million others."""
        return Price(per_request=20, prompt_per_1k=1_000, completion_per_1k=4_000)

    def limit(self, task: Task) -> Usage:
        """An upper bound that needs no tokenizer. Raises `TaskError` for a malformed task."""
        return task_limit(task)

    def challenge(self, beacon: bytes) -> Task:
        """A buyer's question with a buyer's settings, the same for the same beacon."""
        share = int.from_bytes(hashlib.sha256(b"kind" + beacon).digest()[:8], "big") / 2**64
        return draw_embed(beacon) if share < self._embedding_share else draw_chat(beacon)

    async def answer(self, task: Task) -> AsyncIterator[Piece]:
        """Answer as this miner behaves.

        Raises:
            TaskError: the task is malformed, or its prompt and answer exceed the context.
            SubnetError: the role is not open, or its model's process died.

        """
        parsed = parse_task(task)
        if isinstance(parsed, EmbedTask):
            yield await self._embed(parsed)
            return
        pieces = self._answering(self._running(), parsed, self._rules.model)
        async with contextlib.aclosing(pieces):  # type: ignore[type-var]  # every Answering is an async generator
            async for piece in pieces:
                yield piece

    async def judge(self, task: Task, submissions: Sequence[Submission]) -> Sequence[Verdict]:
        """One verdict per submission, in order; whatever a miner sent gets one."""
        parsed = parse_task(task)
        if isinstance(parsed, ChatTask):
            self._running()
            if self._judge is None:
                raise SubnetError("Only a validator judges. Open the mechanism in the role 'validator'.")
            return await self._judge.judge(parsed, submissions)
        return await judge_embeddings(await self._load_embedder(), parsed, submissions, self._rules)

    async def recheck(self, task: Task, submission: Submission, claimed: Verdict) -> Recheck:
        """Score the same tokens again with this validator's own copy of the model."""
        try:
            parsed = parse_task(task)
        except TaskError as error:
            return Recheck(agrees=False, certain=True, reason=str(error))
        if isinstance(parsed, ChatTask):
            return await recheck_chat(self._running(), self._rules, parsed, submission, claimed)
        return await recheck_embeddings(await self._load_embedder(), parsed, submission, claimed, self._rules)

    async def _embed(self, task: EmbedTask) -> Piece:
        embedder = await self._load_embedder()
        embedded = await embedder.embed(task.inputs)
        vectors = [[round(float(x), _PIECE_VECTOR_DIGITS) for x in row] for row in embedded.vectors]
        return {"vectors": vectors, "usage": {"prompt": embedded.tokens, "completion": 0}}

    async def _load_embedder(self) -> Embedder:
        """MiniLM, loaded at its first use and fetched if need be."""
        async with self._embedder_lock:
            if self._embedder is None:
                path = await asyncio.to_thread(pull, "minilm", self._directory, _logged("minilm"))
                self._embedder = await Embedder.load(path)
            return self._embedder

    def _running(self) -> ModelServer:
        if self._server is None:
            raise SubnetError("The inference mechanism is not open. Call open('miner') or open('validator') first.")
        return self._server


def _logged(name: str) -> Progress:
    """Progress as log lines, one for each tenth."""
    told = -1

    def report(done: int, size: int) -> None:
        nonlocal told
        tenth = 10 * done // size
        if tenth > told >= 0:
            log.info("model.pull name=%s percent=%d", name, 10 * tenth)
        told = max(told, tenth)

    return report
