"""Read the head of a GGUF file without trusting it, and write a copy with fewer layers.

Knows the container (version 2 and 3, little-endian), nothing of the models inside.
Source: the GGUF specification, ggml-org/ggml docs/gguf.md.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tercet.errors import ModelError

__all__ = ["GgufHead", "GgufTensor", "drop_layers", "read_head"]

_SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_UINT32, _INT32, _STRING, _ARRAY = 4, 5, 8, 9
_CONTROL_KINDS = {2, 3}
"""Unknown and control: what llama.cpp prints as nothing."""
_MAX_ENTRIES = 1 << 16
_MAX_ARRAY = 1 << 22
_LAYER = re.compile(rb"blk\.(\d+)\.(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One tensor's entry."""

    name: bytes
    shape: bytes
    """Dimension count, dimensions and type as they stand in the file."""
    offset: int
    """Bytes from the start of the data."""


@dataclass(frozen=True, slots=True)
class GgufHead:
    """What stands before the tensors' data."""

    version: int
    metadata: dict[bytes, bytes]
    """Key to its type and value, as they stand in the file."""
    tensors: tuple[GgufTensor, ...]
    data_start: int
    size: int
    """Bytes of the whole file."""

    def text(self, key: str) -> str:
        """A string of the metadata, or an empty one."""
        raw = self.metadata.get(key.encode(), b"")
        return raw[12:].decode(errors="replace") if raw[:4] == struct.pack("<I", _STRING) else ""

    def control_tokens(self) -> frozenset[int]:
        """Ids of tokens without a text of their own: ends of turns, padding, unknown."""
        raw = self.metadata.get(b"tokenizer.ggml.token_type", b"")
        if raw[:8] != struct.pack("<II", _ARRAY, _INT32):
            return frozenset()
        kinds = struct.unpack(f"<{(len(raw) - 16) // 4}i", raw[16:])
        return frozenset(token for token, kind in enumerate(kinds) if kind in _CONTROL_KINDS)

    def number(self, key: str) -> int:
        """A 32-bit number of the metadata, or 0."""
        raw = self.metadata.get(key.encode(), b"")
        return int(struct.unpack("<I", raw[4:])[0]) if raw[:4] == struct.pack("<I", _UINT32) else 0


class _Reader:
    """A file read forwards, never past its end."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.file = file
        self.path = path
        self.left = os.fstat(file.fileno()).st_size

    def take(self, size: int) -> bytes:
        if not 0 <= size <= self.left:
            raise self.wrong("it ends in the middle of its head")
        self.left -= size
        return self.file.read(size)

    def u32(self) -> int:
        return int(struct.unpack("<I", self.take(4))[0])

    def u64(self) -> int:
        return int(struct.unpack("<Q", self.take(8))[0])

    def wrong(self, why: str) -> ModelError:
        return ModelError(
            f"{str(self.path)!r} is not a usable GGUF model: {why}. Fetch it again, or give another file."
        )

    def value(self, kind: int, depth: int = 0) -> bytes:
        """The raw bytes of one metadata value."""
        if kind in _SCALAR_BYTES:
            return self.take(_SCALAR_BYTES[kind])
        if kind == _STRING:
            head = self.take(8)
            return head + self.take(int(struct.unpack("<Q", head)[0]))
        if kind != _ARRAY or depth > 2:
            raise self.wrong(f"its metadata has a value of unknown type {kind}")
        head = self.take(12)
        inner, count = struct.unpack("<IQ", head)
        if count > _MAX_ARRAY:
            raise self.wrong(f"its metadata has an array of {count} entries")
        if inner in _SCALAR_BYTES:
            return head + self.take(_SCALAR_BYTES[inner] * count)
        return head + b"".join(self.value(inner, depth + 1) for _ in range(count))


def read_head(path: Path) -> GgufHead:
    """Parse the head of `path` with every length bounded.

    Raises:
        ModelError: it is missing, not GGUF, cut short, or says absurd sizes.

    """
    try:
        with path.open("rb") as file:
            return _parse(_Reader(file, path))
    except OSError as error:
        raise ModelError(
            f"Cannot read the model {str(path)!r}: {error.strerror}. Give the path of a GGUF file, or a name from `tercet model list`."
        ) from error


def _parse(reader: _Reader) -> GgufHead:
    size = reader.left
    if reader.left < 24 or reader.take(4) != b"GGUF":
        raise reader.wrong("it does not begin with 'GGUF'")
    version, tensor_count, entry_count = reader.u32(), reader.u64(), reader.u64()
    if version not in {2, 3}:
        raise reader.wrong(f"it has version {version}; 2 and 3 are known")
    if tensor_count > _MAX_ENTRIES or entry_count > _MAX_ENTRIES:
        raise reader.wrong(f"it claims {tensor_count} tensors and {entry_count} metadata entries")
    metadata = {}
    for _ in range(entry_count):
        key = reader.take(reader.u64())
        kind = reader.u32()
        metadata[key] = struct.pack("<I", kind) + reader.value(kind)
    tensors = tuple(_read_tensor(reader) for _ in range(tensor_count))
    alignment = _alignment(metadata)
    position = size - reader.left
    start = position + -position % alignment
    if any(tensor.offset > size - start for tensor in tensors):
        raise reader.wrong("it ends before its tensors do")
    return GgufHead(version, metadata, tensors, start, size)


def _read_tensor(reader: _Reader) -> GgufTensor:
    name = reader.take(reader.u64())
    dimensions = reader.u32()
    if dimensions > 4:
        raise reader.wrong(f"tensor {name[:64]!r} has {dimensions} dimensions")
    shape = struct.pack("<I", dimensions) + reader.take(8 * dimensions + 4)
    return GgufTensor(name, shape, reader.u64())


def _alignment(metadata: dict[bytes, bytes]) -> int:
    raw = metadata.get(b"general.alignment", b"")
    value = struct.unpack("<I", raw[4:8])[0] if len(raw) == 8 else 32
    return int(value) if 0 < value <= 1 << 16 else 32


def drop_layers(source: Path, target: Path, layers: Collection[int]) -> None:
    """Write to `target` the model of `source` without `layers`; the others are renumbered. Whole or not at all."""
    head = read_head(source)
    alignment = _alignment(head.metadata)
    ordered = sorted(head.tensors, key=lambda tensor: tensor.offset)
    ends = [tensor.offset for tensor in ordered[1:]] + [head.size - head.data_start]
    kept = [
        (name, tensor, end - tensor.offset)
        for tensor, end in zip(ordered, ends, strict=True)
        if (name := _renumbered(tensor.name, layers)) is not None
    ]
    key = f"{head.text('general.architecture')}.block_count"
    count = struct.pack("<II", _UINT32, head.number(key) - len(layers))
    metadata = {**head.metadata, key.encode(): count}
    blob = bytearray(b"GGUF" + struct.pack("<IQQ", head.version, len(kept), len(metadata)))
    for entry, value in metadata.items():
        blob += struct.pack("<Q", len(entry)) + entry + value
    offset = 0
    for name, tensor, size in kept:
        blob += struct.pack("<Q", len(name)) + name + tensor.shape + struct.pack("<Q", offset)
        offset += size + -size % alignment
    blob += bytes(-len(blob) % alignment)
    draft = target.with_name(f"{target.name}.{os.getpid()}.part")
    with source.open("rb") as old, draft.open("wb") as new:
        new.write(blob)
        for _, tensor, size in kept:
            old.seek(head.data_start + tensor.offset)
            new.write(old.read(size) + bytes(-size % alignment))
    draft.replace(target)


def _renumbered(name: bytes, dropped: Collection[int]) -> bytes | None:
    """The tensor's name once `dropped` layers are gone; None when it goes with them."""
    match = _LAYER.fullmatch(name)
    if match is None:
        return name
    layer = int(match[1])
    if layer in dropped:
        return None
    return b"blk.%d.%s" % (layer - sum(other < layer for other in dropped), match[2])
