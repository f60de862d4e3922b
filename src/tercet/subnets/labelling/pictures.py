"""Pictures as bytes: what kind a file is, small enough for the wire, and as a PNG of plain pixels.

Only PNG and JPEG, recognised by what is in them and never by their name. Decoding is Pillow's business, and guarded:
nothing is unpacked before its size is known.
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tercet.errors import SubnetError, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["MAX_PICTURE_BYTES", "SUFFIXES", "decode_gray", "encode_png", "media_type", "shrink"]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
MAX_PICTURE_BYTES = 24 << 10
"""Of a picture in a task: a whole batch of them stays below the wire's limit."""
_MAX_FILE = 32 << 20
_MAX_PIXELS = 64_000_000
_SIDES = (384, 256, 160, 96)
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"


def media_type(data: bytes) -> str:
    """`image/png`, `image/jpeg`, or nothing when it is neither."""
    if data.startswith(_PNG):
        return "image/png"
    return "image/jpeg" if data.startswith(_JPEG) else ""


def shrink(path: Path, limit: int) -> bytes:
    """The picture in a file, in at most `limit` bytes.

    Raises:
        UsageError: it is no picture, broken or absurdly large.
        SubnetError: it must be made smaller, and Pillow is missing.

    """
    size = path.stat().st_size
    if size > _MAX_FILE:
        raise UsageError(f"{path} has {size >> 20} MiB, at most {_MAX_FILE >> 20} are read. Make it smaller.")
    raw = path.read_bytes()
    if not media_type(raw):
        raise UsageError(
            f"{path} is neither a PNG nor a JPEG picture, whatever its name says. Convert it, or move it away."
        )
    try:
        picture = _open(raw)
        if len(raw) <= limit:
            picture.load()
            return raw
        return _smaller(picture, limit)
    except (ValueError, OSError, SyntaxError) as error:
        raise UsageError(f"{path} is a broken picture: {error}. Mend it, or move it away.") from error


def _smaller(picture: Image, limit: int) -> bytes:
    plain = picture.convert("RGB")
    for side in _SIDES:
        for quality in (85, 60):
            plain.thumbnail((side, side))
            sink = io.BytesIO()
            plain.save(sink, "JPEG", quality=quality)
            if sink.tell() <= limit:
                return sink.getvalue()
    raise ValueError(f"it cannot be made smaller than {limit} bytes")


def decode_gray(data: bytes, side: int) -> npt.NDArray[np.float32]:
    """A picture as (side, side) numbers from 0 to 1, for models. Raises `SubnetError` for what cannot be decoded."""
    try:
        picture = _open(data).convert("L").resize((side, side))
    except (ValueError, OSError, SyntaxError) as error:
        raise SubnetError(f"A picture cannot be decoded: {error}.") from error
    return np.asarray(picture, np.float32) / np.float32(255)


def encode_png(pixels: bytes, width: int) -> bytes:
    """Gray pixels as a PNG file."""
    rows = np.frombuffer(pixels, np.uint8).reshape(-1, width)
    height, across = rows.shape
    lines = np.zeros((height, across + 1), np.uint8)
    lines[:, 1:] = rows
    header = struct.pack(">IIBBBBB", across, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes())), (b"IEND", b""))
    return _PNG + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def _open(data: bytes) -> Image:
    """A picture whose size is known to be bearable; nothing of it is unpacked yet."""
    pillow = _pillow()
    try:
        picture = pillow.open(io.BytesIO(data), formats=("PNG", "JPEG"))
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning) as error:
        raise ValueError(f"more than {_MAX_PIXELS:,} pixels") from error
    width, height = picture.size
    if width * height > _MAX_PIXELS:
        raise ValueError(f"more than {_MAX_PIXELS:,} pixels")
    found: Image = picture
    return found


def _pillow() -> ModuleType:
    try:
        from PIL import Image  # noqa: PLC0415 - only where pictures are decoded
    except ImportError as error:
        raise SubnetError("Pictures need Pillow. Install it: pip install 'tercet[labelling]'") from error
    return Image
