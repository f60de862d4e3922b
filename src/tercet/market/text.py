"""Strangers' JSON, read without trust."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["MAX_DEPTH", "decode_json"]

MAX_DEPTH = 64
"""Levels of nesting that a stranger's JSON may have."""
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def decode_json(data: bytes | str) -> Any:
    """A stranger's JSON; None for anything that is none, or is nested beyond `MAX_DEPTH`."""
    opened = data.count("[") + data.count("{") if isinstance(data, str) else data.count(b"[") + data.count(b"{")
    if opened > MAX_DEPTH and _is_deep(data.encode(errors="replace") if isinstance(data, str) else data):
        return None
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


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
