"""What an answer of somebody whom nobody trusts may be: bounded in size and nesting, and as large as it looks."""

from __future__ import annotations

import re

from tercet.errors import AgentError

__all__ = ["MAX_ANSWER", "PLAIN", "Bounds"]

MAX_ANSWER = 4 << 20
"""Bytes of one answer, of all events of a stream together."""
MAX_DEPTH = 64
"""Levels of nesting that an answer's JSON may have: parsers recurse."""
PLAIN = "identity"
"""The encoding that is asked for, and the only one that is taken: a few compressed bytes can be as many as they like."""
_MARKS = re.compile(rb'\\.|["\[\]{}]', re.DOTALL)


class Bounds:
    """Held against one answer as it comes."""

    def __init__(self, whose: str, encoding: str) -> None:
        """`whose` answer it is, in words; `encoding` is what it says of itself, empty for nothing.

        Raises:
            AgentError: it is compressed.

        """
        self._whose, self._size, self._depth = whose, 0, _Depth()
        if encoding not in {"", PLAIN}:
            raise AgentError(f"{whose} answers compressed ({encoding[:40]!r}), and was asked not to.")

    def take(self, chunk: bytes) -> bytes:
        """The next piece.

        Raises:
            AgentError: it is too much, or nested too deep.

        """
        self._size += len(chunk)
        if self._size > MAX_ANSWER:
            raise AgentError(f"{self._whose} answers more than {MAX_ANSWER} bytes.")
        if not self._depth.passes(chunk):
            raise AgentError(f"{self._whose} answers with JSON that is nested beyond {MAX_DEPTH} levels.")
        return chunk


class _Depth:
    """How deep the JSON that flows past is nested."""

    def __init__(self) -> None:
        self._level, self._in_string, self._left = 0, False, b""

    def passes(self, chunk: bytes) -> bool:
        """Look at the next piece; False once it is too deep."""
        data = self._left + chunk
        tail = len(data) - len(data.rstrip(b"\\"))
        self._left = data[-1:] if tail % 2 else b""  # the character that this backslash is for has not come yet
        for mark in _MARKS.findall(data[: len(data) - len(self._left)]):
            if mark == b'"':
                self._in_string = not self._in_string
            elif not self._in_string and len(mark) == 1:
                self._level = max(0, self._level + (1 if mark in b"[{" else -1))
                if self._level > MAX_DEPTH:
                    return False
        return True
