"""A labelling task on the wire: `{"kind": "label", "question", "labels", "items"}`, read with suspicion.

An item is `{"id", "text"}`, `{"id", "gray": {"width", "data"}}` or `{"id", "image": data}`, data in base64. Which items
are gold is written nowhere: gold comes from the same place, in the same form, under ids that are drawn anew.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tercet.errors import TaskError
from tercet.market import Task, Usage
from tercet.subnets.kit.beacon import derive
from tercet.subnets.labelling.items import MAX_CLASSES, MAX_LABEL, MAX_TEXT, Collection, Item
from tercet.subnets.labelling.pay import estimate_seconds
from tercet.subnets.labelling.pictures import MAX_PICTURE_BYTES, media_type

__all__ = ["MAX_BATCH", "MAX_BATCH_BYTES", "Batch", "build_task", "parse_task", "split_batches", "task_limit"]

MAX_BATCH = 256
"""Items of one task."""
MAX_BATCH_BYTES = 640 << 10
"""Of all items together: in base64 it stays below the 1 MiB that a request may have."""
_MAX_QUESTION = 400
_MAX_SIDE = 64


@dataclass(frozen=True, slots=True)
class Batch:
    """A task, read."""

    question: str
    labels: tuple[str, ...]
    ids: tuple[str, ...]
    items: tuple[Item, ...]
    tenths: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """For each item the tenths of a second that are estimated for it."""
    places: Mapping[str, int] = field(init=False, repr=False, compare=False)
    """Of each id: which item it names."""

    def __post_init__(self) -> None:
        """Work out once what every answer to the batch is read and charged by."""
        object.__setattr__(self, "tenths", tuple(round(10 * estimate_seconds(item)) for item in self.items))
        object.__setattr__(self, "places", {name: place for place, name in enumerate(self.ids)})

    def usage(self, answered: Sequence[int]) -> Usage:
        """What answering these items (by index) uses: seconds of estimated work, and how many they are."""
        return Usage(-(-sum(map(self.tenths.__getitem__, answered)) // 10), len(answered))

    @property
    def limit(self) -> Usage:
        """What answering all of it uses."""
        return self.usage(range(len(self.items)))


def build_task(collection: Collection, indices: Sequence[int], seed: bytes) -> Task:
    """Ask for the items at `indices`, in this order, under ids that only this task has."""
    return {
        "kind": "label",
        "question": collection.question,
        "labels": list(collection.classes),
        "items": [_to_wire(collection.items[at], derive(seed, "item", at)[:8].hex()) for at in indices],
    }


def split_batches(items: Sequence[Item], most: int) -> list[list[int]]:
    """Indices in the given order, in batches that the wire takes and that have at most `most` items."""
    batches: list[list[int]] = [[]]
    size = 0
    for index, item in enumerate(items):
        if batches[-1] and (len(batches[-1]) >= min(most, MAX_BATCH) or size + len(item.data) > MAX_BATCH_BYTES):
            batches.append([])
            size = 0
        batches[-1].append(index)
        size += len(item.data)
    return batches if batches[0] else []


def parse_task(task: Task) -> Batch:
    """Read a task. Raises `TaskError` with what is wrong and what it may be."""
    if not isinstance(task, Mapping) or task.get("kind") != "label":
        raise TaskError("A labelling task's kind is 'label'.")
    question = _text(task.get("question"), "The question", _MAX_QUESTION)
    labels = task.get("labels")
    if not isinstance(labels, (list, tuple)) or not 2 <= len(labels) <= MAX_CLASSES:
        raise TaskError(f"labels is a list of 2 to {MAX_CLASSES} texts.")
    names = tuple(_text(label, "A label", MAX_LABEL) for label in labels)
    if len(set(names)) != len(names):
        raise TaskError("The same label stands in the list twice.")
    raw = task.get("items")
    if not isinstance(raw, (list, tuple)) or not 1 <= len(raw) <= MAX_BATCH:
        raise TaskError(f"items is a list of 1 to {MAX_BATCH} items.")
    pairs = [_from_wire(each) for each in raw]
    if len({name for name, _ in pairs}) != len(pairs):
        raise TaskError("Two items have the same id.")
    if sum(len(item.data) for _, item in pairs) > MAX_BATCH_BYTES:
        raise TaskError(f"The items have more than {MAX_BATCH_BYTES} bytes together. Ask for fewer at a time.")
    return Batch(question, names, tuple(name for name, _ in pairs), tuple(item for _, item in pairs))


def task_limit(task: Task) -> Usage:
    """The most `task` can consume: seconds of estimated work as prompt, items as completion."""
    return parse_task(task).limit


def _to_wire(item: Item, name: str) -> dict[str, Any]:
    if item.kind == "text":
        return {"id": name, "text": item.data.decode()}
    data = base64.b64encode(item.data).decode()
    return (
        {"id": name, "gray": {"width": item.width, "data": data}}
        if item.kind == "gray"
        else {"id": name, "image": data}
    )


def _from_wire(raw: Any) -> tuple[str, Item]:
    if not isinstance(raw, Mapping) or len(raw) != 2:
        raise TaskError("An item has an id, and one of text, gray or image.")
    name = _text(raw.get("id"), "An item's id", 64)
    if "text" in raw:
        return name, Item("text", _text(raw["text"], "An item's text", MAX_TEXT).encode())
    if "image" in raw:
        data = _base64(raw["image"], MAX_PICTURE_BYTES)
        if not media_type(data):
            raise TaskError("An item's image is neither a PNG nor a JPEG file.")
        return name, Item("image", data)
    gray = raw.get("gray")
    width = gray.get("width") if isinstance(gray, Mapping) else None
    if not isinstance(gray, Mapping) or type(width) is not int or not 1 <= width <= _MAX_SIDE:
        raise TaskError(f"An item's gray has a width from 1 to {_MAX_SIDE} and data.")
    data = _base64(gray.get("data"), _MAX_SIDE * _MAX_SIDE)
    if not data or len(data) % width or len(data) // width > _MAX_SIDE:
        raise TaskError(f"An item's gray has whole rows of pixels, 1 to {_MAX_SIDE} of them.")
    return name, Item("gray", data, width)


def _text(value: Any, what: str, most: int) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > most:
        raise TaskError(f"{what} is a text of 1 to {most} characters.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise TaskError(f"{what} is not valid Unicode: it has half of a surrogate pair.") from None
    return value


def _base64(value: Any, most: int) -> bytes:
    if not isinstance(value, str) or len(value) > -(-most // 3) * 4:
        raise TaskError(f"An item's data are base64 of at most {most} bytes.")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise TaskError("An item's data are no base64.") from None
