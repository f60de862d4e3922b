"""Tools for the files of an agent's folder."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from tercet.errors import ClaimError, ToolError
from tercet.swarm.capabilities import clean_path, pattern_matches
from tercet.swarm.claims import (
    Flag,
    Labelled,
    Number,
    OneOf,
    extract,
)
from tercet.swarm.tools.calls import MOST_SHOWN, Calls

__all__ = ["FileTools"]

_MOST_LISTED = 500
_MOST_WRITTEN = 1 << 20


class FileTools(Calls):
    """Read, write, list; and a value that is read without its words."""

    async def read_file(self, path: str, start: int = 0) -> str:
        """Read a file of your folder, from byte `start` on."""
        async with self._call("read_file", {"path": path, "start": start}) as note:
            name = clean_path(path)
            self._need(self.caps.may_read(name), f"read {name}")
            data = await asyncio.to_thread(self.folder.read, name, start=max(0, start), limit=MOST_SHOWN + 1)
            await self._take_in(note, await self._document(name))
            text = data[:MOST_SHOWN].decode(errors="replace")
            rest = f"\n[more follows: read it with start={max(0, start) + MOST_SHOWN}]"
            return text + rest if len(data) > MOST_SHOWN else text

    async def read_value(self, path: str, words: Sequence[str] = (), low: float = 0, high: float = 0) -> str:
        """Read a file that holds one value and nothing else: one of `words`, or a number from `low` to `high`, or yes/no.

        Whatever else the file says, you do not get to see it; so you may still do what reading it would bar you from.
        """
        arguments = {"path": path, "words": list(words), "low": low, "high": high}
        async with self._call("read_value", arguments) as note:
            name = clean_path(path)
            self._need(self.caps.may_read(name), f"read {name}")
            data = await asyncio.to_thread(self.folder.read, name, limit=1000)
            shape: Any = OneOf(words) if words else Number(low, high) if high > low else Flag()
            try:
                value = extract(Labelled(data.decode(errors="replace")), shape).value
            except ClaimError:
                # The error of `extract` quotes the file, which is what must not be seen.
                raise ToolError(f"{name} holds something else than was asked for.") from None
            note.detail = repr(value)
            return str(value)

    async def write_file(self, path: str, text: str) -> str:
        """Write a file of your folder."""
        data = text.encode()
        shown = {"path": path, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        async with self._call("write_file", shown) as note:
            name = clean_path(path)
            self._need(self.caps.may_write(name), f"write {name}")
            if len(data) > _MOST_WRITTEN:
                raise ToolError(
                    f"{name} would have {len(data)} bytes, {_MOST_WRITTEN} are the most. Write less at once."
                )
            await asyncio.to_thread(self.folder.write, name, data)
            note.fields["wrote"] = [{"path": name, "sha256": shown["sha256"], "bytes": len(data)}]
            return f"Wrote {len(data)} bytes to {name}."

    async def list_files(self, pattern: str = "**") -> str:
        """List the files of your folder that you may read, with their sizes."""
        async with self._call("list_files", {"pattern": pattern}) as note:
            found = await asyncio.to_thread(lambda: list(self.folder.files()))
            fitting = [(n, size) for n, size in found if self.caps.may_read(n) and pattern_matches(pattern, n)]
            lines = [f"{json.dumps(name, ensure_ascii=False)[1:-1]} {size}" for name, size in fitting[:_MOST_LISTED]]
            more = [f"[and {len(fitting) - _MOST_LISTED} more]"] if len(fitting) > _MOST_LISTED else []
            # A name that is no text would stop whoever writes it down.
            told = "\n".join([*lines, *more])[:MOST_SHOWN].encode(errors="replace").decode()
            # A name is words of whoever gave it, as a file's text is; but for those that the task says itself.
            if not all(self.caps.is_named(name) for name, _ in fitting):
                await self._take_in(note, await self._external("folder", "which files there are", told.encode()))
            return told or "No files."
