"""Low-rank adapters over any torch module: a fine-tune whose updates are small however large the model is.

Every linear layer that is named gets two thin matrices beside its frozen weight: W x + (alpha / rank) B A x, with B zero
at first, so training starts from what the base says (Hu et al. 2021, arXiv:2106.09685). Only A and B are trained, and so
only they travel. A base in 4 bits, which needs a GPU, comes with peft and bitsandbytes: docs/subnets/training.md.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn
from torch.nn import functional

from tercet.errors import UsageError

__all__ = ["Adapter", "adapt", "load_base"]


class Adapter(nn.Module):
    """A frozen linear layer and what is learned beside it."""

    def __init__(self, layer: nn.Linear, rank: int, alpha: float, draws: np.random.RandomState) -> None:
        super().__init__()
        self.layer, self.scale = layer, alpha / rank
        half = math.sqrt(3 / layer.in_features)
        first = (2 * draws.random_sample((rank, layer.in_features)) - 1) * half
        self.down = nn.Parameter(torch.from_numpy(first.astype(np.float32)))
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        """The layer, and the low-rank change of it."""
        found: torch.Tensor = self.layer(value)
        return found + self.scale * functional.linear(functional.linear(value, self.down), self.up)


def adapt(module: nn.Module, rank: int, *, alpha: float | None = None, targets: Sequence[str] = ()) -> nn.Module:
    """Freeze a module, and put adapters on its linear layers; the same for the same module everywhere.

    Args:
        module: changed in place.
        rank: of the adapters.
        alpha: their strength; twice the rank when absent.
        targets: ends of the layers' names; all linear layers when empty.

    Raises:
        UsageError: there is no such layer.

    """
    module.requires_grad_(False)
    draws = np.random.RandomState(0x10AA)
    found = 0
    for name, parent in sorted(module.named_modules()):
        for child, layer in sorted(parent.named_children()):
            full = f"{name}.{child}".lstrip(".")
            if isinstance(layer, nn.Linear) and (not targets or full.endswith(tuple(targets))):
                setattr(parent, child, Adapter(layer, rank, alpha or 2.0 * rank, draws))
                found += 1
    if not found:
        raise UsageError(f"The model has no linear layer{' called ' + ', '.join(targets) if targets else ''} to adapt.")
    return module


def load_base(module: nn.Module, path: str) -> str:
    """Fill a module from a safetensors file; the file's sha256, hex.

    Raises:
        UsageError: the file is missing, or of another model.

    """
    try:
        data = Path(path).expanduser().read_bytes()
        module.load_state_dict(load(data))
    except OSError as error:
        raise UsageError(f"Cannot read the base model {path!r}: {error.strerror}.") from error
    except (SafetensorError, RuntimeError) as error:
        raise UsageError(f"{path!r} is not a safetensors file of this model: {error}.") from error
    return hashlib.sha256(data).hexdigest()
