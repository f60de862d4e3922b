"""Texts to vectors with all-MiniLM-L6-v2 (int8, ONNX): mean over the tokens, length 1, 384 numbers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tercet.errors import ModelError
from tercet.subnets.inference.models import CATALOGUE

__all__ = ["DIMENSIONS", "Embedded", "Embedder"]

DIMENSIONS = 384
_MAX_TOKENS = 256
"""The model was trained on texts up to this; what is longer is cut."""
_BATCH = 32


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors of some texts."""

    vectors: npt.NDArray[np.float32]
    """(texts, 384), each row of length 1."""
    tokens: int
    """Tokens read, special ones included."""


class Embedder:
    """The loaded model. All work runs in a thread."""

    def __init__(self, session: Any, tokenizer: Any) -> None:
        self._session = session
        self._tokenizer = tokenizer

    @classmethod
    async def load(cls, model: Path) -> Embedder:
        """Load `model`, with its tokenizer beside it."""
        return await asyncio.to_thread(cls._load, model)

    @classmethod
    def _load(cls, model: Path) -> Embedder:
        try:
            import onnxruntime  # noqa: PLC0415  an extra, slow to import
            import tokenizers  # noqa: PLC0415
        except ImportError as error:
            raise ModelError("Embeddings need the extra 'inference'. Run `pip install 'tercet[inference]'`.") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        tokenizer = tokenizers.Tokenizer.from_file(str(model.with_name(CATALOGUE["minilm"].files[1].name)))
        tokenizer.enable_truncation(_MAX_TOKENS)
        tokenizer.no_padding()
        return cls(onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"]), tokenizer)

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Vectors of `texts`, in order."""
        return await asyncio.to_thread(self._embed, texts)

    def _embed(self, texts: Sequence[str]) -> Embedded:
        encoded = [item.ids for item in self._tokenizer.encode_batch(list(texts))]
        rows = np.empty((len(encoded), DIMENSIONS), np.float32)
        order = sorted(range(len(encoded)), key=lambda index: len(encoded[index]))  # little padding
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            rows[batch] = self._run([encoded[index] for index in batch])
        return Embedded(rows, sum(map(len, encoded)))

    def _run(self, encoded: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        ids = np.zeros((len(encoded), max(map(len, encoded))), np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(encoded):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        states = self._session.run(None, inputs)[0]
        summed = (states * mask[:, :, None]).sum(axis=1)
        vectors: npt.NDArray[np.float32] = summed / np.linalg.norm(summed, axis=1, keepdims=True)
        return vectors
