"""Numbers from strangers: arrays as JSON, read back with every bound checked before it costs anything."""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tercet.errors import SubmissionError

__all__ = ["decode_array", "encode_array", "inflate"]

_KINDS = "fiub"
_BASE64_OVERHEAD = 4 / 3
_ZLIB_SLACK = 1024


def encode_array(array: npt.ArrayLike) -> dict[str, Any]:
    """An array of numbers as `{"dtype", "shape", "data"}`: little-endian, row by row, zlib, base64."""
    found = np.asarray(array)
    if found.dtype.kind not in _KINDS:
        raise SubmissionError(f"Only arrays of numbers can be sent, not {found.dtype}.")
    plain = found.astype(found.dtype.newbyteorder("<"), order="C", copy=False)
    data = base64.b64encode(zlib.compress(plain.tobytes(), 6)).decode()
    return {"dtype": plain.dtype.str.lstrip("<|"), "shape": list(plain.shape), "data": data}


def decode_array(
    piece: object, *, dtype: npt.DTypeLike, shape: Sequence[int | None], limit_bytes: int
) -> npt.NDArray[Any]:
    """The array in `piece`, if it is exactly what was asked for.

    Args:
        piece: what a stranger sent; anything at all.
        dtype: what the numbers must be.
        shape: what the shape must be; None is any length of at least 0.
        limit_bytes: the most that the numbers may take, unpacked.

    Returns:
        A new array in the machine's byte order, writable, all numbers finite.

    Raises:
        SubmissionError: it is anything else; the message says what, for the miner to mend.

    """
    wanted = np.dtype(dtype)
    if wanted.kind not in _KINDS:
        raise ValueError(f"Only arrays of numbers are read, not {wanted}.")
    if not isinstance(piece, Mapping):
        raise SubmissionError('An array is {"dtype", "shape", "data"}.')
    name = wanted.newbyteorder("<").str.lstrip("<|")
    if piece.get("dtype") != name:
        raise SubmissionError(f"The array's dtype must be {name!r}, not {_shown(piece.get('dtype'))}.")
    found = _shape(piece.get("shape"), shape)
    size = math.prod(found) * wanted.itemsize
    if size > limit_bytes:
        raise SubmissionError(f"The array takes {size} bytes, at most {limit_bytes} are read.")
    raw = inflate(_base64(piece.get("data"), size), size)
    if len(raw) != size:
        raise SubmissionError(f"The array's data are {len(raw)} bytes, its shape needs {size}.")
    if wanted.kind == "b" and raw.strip(b"\0\1"):
        raise SubmissionError("A truth value is 0 or 1.")
    array = np.frombuffer(bytearray(raw), wanted.newbyteorder("<")).reshape(found).astype(wanted, copy=False)
    if wanted.kind == "f" and not np.isfinite(array).all():
        raise SubmissionError("The array has numbers that are not finite.")
    return array


def inflate(data: bytes, limit: int) -> bytes:
    """Unpack one zlib stream of at most `limit` bytes, never holding more.

    Raises:
        SubmissionError: it unpacks to more, is cut short, is no zlib stream, or something follows it.

    """
    unpacker = zlib.decompressobj()
    try:
        raw = unpacker.decompress(data, limit + 1)
    except zlib.error as error:
        raise SubmissionError(f"The data are no zlib stream: {error}.") from error
    if len(raw) > limit:
        raise SubmissionError(f"The data unpack to more than {limit} bytes.")
    if not unpacker.eof:
        raise SubmissionError("The data are cut short.")
    if unpacker.unused_data:
        raise SubmissionError("Something follows the data.")
    return raw


def _shape(claimed: object, wanted: Sequence[int | None]) -> tuple[int, ...]:
    """The claimed shape, if it is of the wanted form."""
    lengths = claimed if isinstance(claimed, list) and len(claimed) == len(wanted) else None
    if lengths is None or not all(type(length) is int and 0 <= length < 2**40 for length in lengths):
        raise SubmissionError(f"The array's shape must be {_form(wanted)}, not {_shown(claimed)}.")
    if any(
        length not in (need, length if need is None else need) for length, need in zip(lengths, wanted, strict=True)
    ):
        raise SubmissionError(f"The array's shape must be {_form(wanted)}, not {_shown(claimed)}.")
    return tuple(lengths)


def _base64(text: object, size: int) -> bytes:
    """The bytes of `text`, refused unread where no honest packing of `size` bytes is that long."""
    if not isinstance(text, str):
        raise SubmissionError("The array's data must be base64 text.")
    if len(text) > (size * 1.01 + _ZLIB_SLACK) * _BASE64_OVERHEAD:
        raise SubmissionError(f"The array's data are {len(text)} characters, too many for its {size} bytes.")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SubmissionError(f"The array's data are no base64: {error}.") from error


def _form(wanted: Sequence[int | None]) -> str:
    return "[" + ", ".join("any" if need is None else str(need) for need in wanted) + "]"


def _shown(value: object) -> str:
    """A stranger's value, short enough for a message."""
    text = repr(value) if isinstance(value, str | int | float | list | None) else type(value).__name__
    return text if len(text) <= 80 else text[:77] + "..."
