"""How the model's loss falls: a line for each checkpoint, on text that nobody is ever assigned. Knows no model."""

from __future__ import annotations

import csv
from pathlib import Path

from tercet.subnets.kit.files import write_atomically

__all__ = ["CURVE", "WINDOWS", "note_loss", "read_losses"]

CURVE = "loss.csv"
"""Its name in a validator's folder."""
WINDOWS = 40
"""Of held-out text that a checkpoint is measured on; the same ones every time."""
_HEADER = ["round", "checkpoint", "nats_per_token"]


def note_loss(path: Path, number: int, checkpoint: str, loss: float) -> None:
    """Write down what a checkpoint's loss is; once, however often the validator begins anew at it."""
    rows = _read(path)
    if rows and rows[-1][:2] == [str(number), checkpoint]:
        return
    rows.append([str(number), checkpoint, f"{loss:.6f}"])
    write_atomically(path, "".join(",".join(row) + "\n" for row in [_HEADER, *rows]).encode())


def read_losses(path: Path) -> list[float]:
    """Held-out loss by round, nats per token; of a round that was taken twice the later. Empty where nothing is written."""
    found = {int(number): float(loss) for number, _, loss in _read(path)}
    return [found[number] for number in sorted(found)]


def _read(path: Path) -> list[list[str]]:
    try:
        with path.open(newline="") as file:
            return list(csv.reader(file))[1:]
    except FileNotFoundError:
        return []
