"""The model that a market trains: any torch module, seen as one flat vector of float32.

A module takes tokens (N, T) of int64 and gives logits (N, T, vocabulary). What is trained are its parameters with
`requires_grad`, in the order of their names; what stays frozen, such as the base under adapters, never travels.
A module may bring its own tokens: `encode(bytes) -> sequence of int`. Without it a token is a byte.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from tercet.errors import UsageError
from tercet.subnets.training.tasks import SIZES, Shape

__all__ = ["ByteGPT", "Trainee", "Vector", "Windows", "build_module", "initial_vector"]

Vector = npt.NDArray[np.float32]
"""(P,): every trained value, tensor after tensor."""
Windows = npt.NDArray[np.int64]
"""(N, T + 1): tokens; each but the last predicts the next."""

_EVALUATED_AT_ONCE = 32
"""Windows. Twice as many no longer fit a CPU's cache and take a seventh more time."""
_TOKENS_AT_ONCE = 4160
"""Fewer windows where they are longer: with a large vocabulary their logits fill an accelerator's memory."""


class _Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.width
        self.heads = shape.heads
        self.before_attention, self.before_mixing = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.merge = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        count, length, width = state.shape
        parts = self.project(self.before_attention(state)).view(count, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        state = state + self.merge(seen.transpose(1, 2).reshape(count, length, width))
        mixed: torch.Tensor = self.narrow(functional.gelu(self.widen(self.before_mixing(state))))
        return state + mixed


class ByteGPT(nn.Module):
    """A decoder over bytes, embedding and output tied."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.bytes = nn.Embedding(256, shape.width)
        self.places = nn.Embedding(shape.context, shape.width)
        self.layers = nn.ModuleList(_Layer(shape) for _ in range(shape.layers))
        self.last = nn.LayerNorm(shape.width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(N, T) -> (N, T, 256)."""
        state = self.bytes(tokens) + self.places.weight[: tokens.shape[1]]
        for layer in self.layers:
            state = layer(state)
        return functional.linear(self.last(state), self.bytes.weight)


def build_module(name: str) -> nn.Module:
    """A size of `SIZES`, or what `package.module:factory` builds from code that is installed here.

    Raises:
        UsageError: nothing of that name.

    """
    module, colon, attribute = name.partition(":")
    if not colon:
        if name not in SIZES:
            raise UsageError(f"No model is called {name!r}. Known: {', '.join(SIZES)}, or package.module:factory.")
        return ByteGPT(SIZES[name])
    try:
        factory: Callable[[], Any] = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"There is no {name!r} here ({error}). Install the package that has it.") from error
    torch.manual_seed(0)
    built = factory()
    if not isinstance(built, nn.Module):
        raise UsageError(f"{name!r} builds a {type(built).__name__}, not a torch module.")
    return built


def initial_vector(module: nn.Module) -> Vector:
    """Where the training begins.

    The byte-level model starts from the same bits on every machine: uniform draws of the generator that numpy has
    frozen, no logarithm, no library's own idea of a normal. Other modules start as their factory left them.
    """
    if not isinstance(module, ByteGPT):
        return Trainee(module).read()
    draws = np.random.RandomState(0x7E2CE7)
    depth = 1 / math.sqrt(2 * module.shape.layers)
    parts = []
    for name, value in _trained(module):
        size = value.numel()
        if value.ndim < 2:
            ones = name.endswith("weight")  # of a LayerNorm; biases are zero
            parts.append(np.full(size, float(ones), np.float32))
            continue
        half = 0.02 * math.sqrt(3) * (depth if name.endswith(("merge.weight", "narrow.weight")) else 1)
        parts.append(((2 * draws.random_sample(size) - 1) * half).astype(np.float32))
    return np.concatenate(parts)


class Trainee:
    """A module and its flat vector."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.values = [value for _, value in _trained(module)]
        """Every trained parameter, in the vector's order."""
        self.shapes = tuple((name, tuple(value.shape)) for name, value in _trained(module))
        """Of every trained tensor, in the vector's order."""
        self.sizes = tuple(value.numel() for value in self.values)
        self.size = sum(self.sizes)
        if not self.size:
            raise UsageError("The model has no parameter that is trained: all have requires_grad=False.")
        if any(value.dtype != torch.float32 for value in self.values):
            raise UsageError("Trained parameters must be float32; a frozen base may have any type.")

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.values[0].device

    def load(self, vector: Vector) -> None:
        """Set every trained value."""
        assert vector.shape == (self.size,)
        with torch.no_grad():
            for value, part in zip(self.values, np.split(vector, np.cumsum(self.sizes)[:-1]), strict=True):
                value.copy_(torch.from_numpy(part.copy()).view(value.shape))

    def read(self) -> Vector:
        """A copy of every trained value."""
        return np.concatenate([value.detach().cpu().numpy().reshape(-1) for value in self.values])

    def loss(self, windows: torch.Tensor) -> torch.Tensor:
        """Mean nats per token, with gradients."""
        return _nats(self.module, windows).mean()

    def losses(self, windows: Windows) -> npt.NDArray[np.float64]:
        """(N,): mean nats per token of each window, without gradients."""
        self.module.eval()
        with torch.inference_mode():
            together = min(_EVALUATED_AT_ONCE, max(1, _TOKENS_AT_ONCE // windows.shape[1]))
            parts = torch.split(torch.from_numpy(windows), together)
            found = [_nats(self.module, part).mean(dim=1).double().cpu().numpy() for part in parts]
        return np.concatenate(found)


def _nats(module: nn.Module, windows: torch.Tensor) -> torch.Tensor:
    """(N, T)."""
    windows = windows.to(next(module.parameters()).device)
    logits = module(windows[:, :-1])
    return functional.cross_entropy(logits.transpose(1, 2), windows[:, 1:].to(logits.device), reduction="none")


def _trained(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return sorted((name, value) for name, value in module.named_parameters() if value.requires_grad)
