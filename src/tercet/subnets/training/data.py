"""What a market trains on: one text, known by its hash, and the pieces of it that a seed draws.

The text is cut into blocks of 4096 tokens; every 16th block is held out: nobody is ever assigned it, and the loss that
is reported is measured there. What a miner is assigned, and what all are compared on, is drawn from the others.
"""

from __future__ import annotations

import ast
import hashlib
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tercet.errors import UsageError
from tercet.subnets.kit import lottery
from tercet.subnets.training.model import Windows

__all__ = ["LARGEST_CORPUS", "Corpus", "Encode", "read_corpus"]

BLOCK = 4096
HELD_OUT = 16
"""One block in so many is held out."""
LEAST_BLOCKS = 2 * HELD_OUT
LARGEST_CORPUS = 256 << 20
"""Bytes of text."""

_DEBIAN_DOCS = Path("/usr/share/doc/python3.11/html/_sources")
Encode = Callable[[bytes], Sequence[int]]


@dataclass(frozen=True, slots=True)
class Corpus:
    """A text as tokens."""

    text: bytes
    digest: str
    """sha256 of the text, hex."""
    tokens: npt.NDArray[np.int32]
    trained: npt.NDArray[np.int64]
    """First token of every block that may be assigned."""
    held: npt.NDArray[np.int64]

    @classmethod
    def build(cls, text: bytes, encode: Encode | None = None) -> Corpus:
        """Cut a text.

        Raises:
            UsageError: it is too short or too long.

        """
        if len(text) > LARGEST_CORPUS:
            raise UsageError(
                f"The corpus has {len(text) >> 20} MiB, more than {LARGEST_CORPUS >> 20}. Use a part of it."
            )
        tokens = np.asarray(encode(text), np.int32) if encode else np.frombuffer(text, np.uint8).astype(np.int32)
        blocks = len(tokens) // BLOCK
        if blocks < LEAST_BLOCKS:
            raise UsageError(
                f"The corpus has {len(tokens)} tokens, fewer than {LEAST_BLOCKS * BLOCK}. Name a longer text: -o corpus=FOLDER."
            )
        starts = np.arange(blocks, dtype=np.int64)
        held = starts % HELD_OUT == HELD_OUT - 1
        return cls(text, hashlib.sha256(text).hexdigest(), tokens, starts[~held] * BLOCK, starts[held] * BLOCK)

    def draw(self, seed: bytes, label: str, count: int, context: int) -> Windows:
        """`count` windows of `context` + 1 tokens, drawn from what may be assigned."""
        return self._cut(self.trained, seed, label, count, context)

    def held_out(self, count: int, context: int) -> Windows:
        """The same windows every time, from what is never assigned."""
        return self._cut(self.held, b"", "held out", count, context)

    def _cut(self, starts: npt.NDArray[np.int64], seed: bytes, label: str, count: int, context: int) -> Windows:
        # random() is the one draw that Python promises to keep; randrange is not.
        draws = lottery(seed, "training", label)
        room = BLOCK - context
        at = [int(starts[int(draws.random() * len(starts))]) + int(draws.random() * room) for _ in range(count)]
        return np.stack([self.tokens[first : first + context + 1] for first in at]).astype(np.int64)


def read_corpus(name: str) -> bytes:
    """The text called `name`: `docs`, `builtin`, or a text file or folder.

    `docs` is the text of Debian's package python3.11-doc (11 MB) and, where that is not installed, `builtin`: the help
    topics and docstrings that come with this interpreter (3 MB, not the same in every version of it).

    Raises:
        UsageError: there is none.

    """
    if name == "docs":
        name = str(_DEBIAN_DOCS) if _DEBIAN_DOCS.is_dir() else "builtin"
    if name == "builtin":
        return b"\n\n".join(_builtin())
    place = Path(name).expanduser()
    try:
        if place.is_file():
            return place.read_bytes()
        files = sorted(path for path in place.rglob("*") if path.suffix in {".txt", ".md", ".rst", ".py"})
        text = b"\n\n".join(path.read_bytes() for path in files if path.is_file())
    except OSError as error:
        raise UsageError(f"Cannot read the corpus {name!r}: {error.strerror}.") from error
    if not text:
        raise UsageError(
            f"No text in {name!r}: a corpus is docs, builtin, a text file, or a folder of .txt, .md, .rst, .py."
        )
    return text


def _builtin() -> Iterator[bytes]:
    from pydoc_data.topics import topics  # noqa: PLC0415 - half a megabyte of text

    for name in sorted(topics):
        yield topics[name].encode()
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        tree = ast.parse(path.read_bytes())
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text:
                    yield text.encode(errors="replace")
