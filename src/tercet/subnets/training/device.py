"""Where a model computes: the processor, or an accelerator as torch names it."""

from __future__ import annotations

import torch
from torch import nn

from tercet.errors import UsageError

__all__ = ["find_device", "place"]


def find_device(name: str) -> torch.device:
    """`auto` is the first CUDA device where there is one; else as torch names it: cpu, cuda:1.

    Raises:
        UsageError: there is no such device.

    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda", 0) if count else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"{name!r} is no device. Write auto, cpu or cuda:N.") from error
    if device.type == "cuda" and (device.index or 0) >= count:
        raise UsageError(f"There is no {name!r}: torch sees {count} CUDA devices here. Use -o device=auto.")
    if device.type not in {"cpu", "cuda"}:
        raise UsageError(f"Training runs on the processor or on CUDA, not on {name!r}. Write auto, cpu or cuda:N.")
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def place(module: nn.Module, device: torch.device) -> nn.Module:
    """Move a module, unless its factory has put it on an accelerator already: a base in 4 bits stays where it was read."""
    # TF32 keeps 10 bits: on an H100 it moved a round's change by a thousandth, float32 by a hundred-thousandth.
    torch.set_float32_matmul_precision("highest")
    if any(value.device.type != "cpu" for value in module.parameters()):
        return module
    return module.to(device)
