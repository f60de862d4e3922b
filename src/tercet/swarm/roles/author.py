"""The author: writes the files that its task claims, all of them in one answer, and anew when they are not good.

It reads what its task names as inputs, the goal and the task; of a hidden done-test it learns only that it failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tercet.errors import AttemptError
from tercet.swarm.workbench import Made, Workbench

__all__ = ["Author", "files_schema"]

_SHOWN_FILE = 6_000
_SHOWN = 24_000
_TOKENS = 8_000
_SYSTEM = (
    "You write files for a program that others build with you. Write every file that your task claims, whole, and no"
    " other. Keep to the interfaces that you are shown."
)


class Author:
    """Options of its tasks: `tokens`, the longest answer."""

    kind: Literal["model"] = "model"

    async def work(self, bench: Workbench) -> Made:
        """Ask for the files, and write them."""
        found = await bench.think_json(
            _messages(bench, await bench.recall()),
            files_schema(bench.task.outputs),
            max_tokens=int(bench.task.options.get("tokens", _TOKENS)),
            temperature=0.0 if bench.attempt == 1 else 0.8,
            seed=bench.attempt,
        )
        files = _files(found)
        for path, text in files.items():
            bench.write(path, text)
        return Made(f"model {bench.model}".strip(), f"wrote {', '.join(files)}")


def files_schema(outputs: Sequence[str]) -> dict[str, Any]:
    """The answer's shape. A claim without a pattern in it can be written under no other name."""
    plain = not any(set(path) & set("*?[") for path in outputs)
    path: dict[str, Any] = {"enum": list(outputs)} if plain else {"type": "string", "maxLength": 200}
    file = {
        "type": "object",
        "properties": {"path": path, "content": {"type": "string"}},
        "required": ["path", "content"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"files": {"type": "array", "items": file, "minItems": 1, "maxItems": max(1, len(outputs))}},
        "required": ["files"],
        "additionalProperties": False,
    }


def _files(found: Mapping[str, Any] | None) -> dict[str, str]:
    rows = (found or {}).get("files")
    files = {
        row["path"]: row["content"]
        for row in (rows if isinstance(rows, list) else ())
        if isinstance(row, dict) and isinstance(row.get("path"), str) and isinstance(row.get("content"), str)
    }
    if not files:
        raise AttemptError("The model wrote no file.")
    return files


def _messages(bench: Workbench, known: str) -> list[dict[str, str]]:
    task, left, shown = bench.task, _SHOWN, list[str]()
    for path in bench.before:
        text = bench.read(path)[:_SHOWN_FILE]
        if len(text) <= left:
            left -= len(text)
            shown.append(f"--- {path}\n{text}")
    said = [
        f"Goal: {bench.goal}",
        f"Your task: {task.title}\n{task.detail}".strip(),
        f"Files that you claim: {', '.join(task.outputs)}",
        "Files there are:\n" + "\n".join(shown) if shown else "There are no files yet that you need.",
    ]
    if known:
        said.append(known)
    if bench.failure:
        said.append(f"An earlier try was not good: {bench.failure[:800]}\nWrite the files afresh.")
    return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": "\n\n".join(said)}]
