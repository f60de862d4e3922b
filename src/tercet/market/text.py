"""Strangers' JSON, read without trust."""

from __future__ import annotations

import json
import re
from typing import Any

__all__ = ["MAX_DEPTH", "decode_as_sent", "decode_json"]

MAX_DEPTH = 64
"""Levels of nesting that a stranger's JSON may have."""
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_HALF = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
_HALF_IN_BYTES = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]|\0")
"""Where a half may be, or a whole: a first look, as most JSON has neither. A zero byte means UTF-16 or -32."""


def decode_json(data: bytes | str) -> Any:
    """A stranger's JSON; None for anything that is none, or is nested beyond `MAX_DEPTH`.

    Half of a surrogate pair becomes `?`: such a text can neither be written to a file nor shown. It is not refused, as
    who cuts a text between the halves of an emoji is no liar, and a whole answer that was paid for would be lost with it.
    """
    found = decode_as_sent(data)
    half = _HALF.search(data) if isinstance(data, str) else _HALF_IN_BYTES.search(data)
    return found if half is None else _mend(found)


def decode_as_sent(data: bytes | str) -> Any:
    """The same, halves of surrogate pairs and all: for what was hashed or signed, and has to be read as it is."""
    opened = data.count("[") + data.count("{") if isinstance(data, str) else data.count(b"[") + data.count(b"{")
    if opened > MAX_DEPTH and _is_deep(data.encode(errors="replace") if isinstance(data, str) else data):
        return None
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _mend(value: Any) -> Any:
    """Without halves of surrogate pairs."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {_mend(key): _mend(inner) for key, inner in value.items()}
    return [_mend(inner) for inner in value] if isinstance(value, list) else value


def _is_deep(data: bytes) -> bool:
    """Whether brackets outside of strings nest beyond `MAX_DEPTH`.

    Python's parser recurses in C and trusts the interpreter's recursion limit, which py-evm raises
    for the whole process: there, deep JSON is a segmentation fault.
    """
    outside = b"".join(data.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    depth = 0
    for mark in outside.translate(None, _NO_BRACKETS):
        depth += 1 if mark in b"[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False
