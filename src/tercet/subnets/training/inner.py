"""A miner's share of a round: some steps of AdamW from the checkpoint on the batches it was assigned.

Adam's state goes on from round to round, though the model's values are replaced; what an update had to leave out is
added to the next one (error feedback). Both are the miner's own and make its updates better; no judge sees them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import load, save

from tercet.subnets.training.compress import Codec, Update
from tercet.subnets.training.model import Trainee, Vector

__all__ = ["Inner", "Learner", "Memory", "build_optimizer", "take_steps"]

Batches = npt.NDArray[np.int64]
"""(H, B, T + 1)"""
FEEDBACK = 0.9


@dataclass(frozen=True, slots=True)
class Inner:
    """What a miner is recommended to do; its own business, since only the update is judged."""

    rate: float = 3e-3
    decay: float = 0.01
    clip: float = 1.0
    """Of the gradient's norm."""
    warmup: int = 20
    """Steps until the full rate, in all rounds together."""


def build_optimizer(parameters: Any, inner: Inner) -> torch.optim.AdamW:
    """AdamW as the recipe has it."""
    return torch.optim.AdamW(parameters, lr=inner.rate, betas=(0.9, 0.99), weight_decay=inner.decay)


def take_steps(
    module: torch.nn.Module, loss: Any, optimizer: torch.optim.Optimizer, batches: Batches, inner: Inner, done: int
) -> float:
    """One step for each batch; the mean loss. `done` steps were taken in earlier rounds."""
    module.train()
    total = 0.0
    trained = [value for value in module.parameters() if value.requires_grad]
    for number, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = inner.rate * min(1.0, (done + number + 1) / inner.warmup)
        optimizer.zero_grad(set_to_none=True)
        found = loss(torch.from_numpy(batch))
        found.backward()
        torch.nn.utils.clip_grad_norm_(trained, inner.clip)
        optimizer.step()
        total += float(found.detach())
    return total / max(1, len(batches))


@dataclass(frozen=True, slots=True)
class Memory:
    """What a learner keeps from round to round."""

    steps: int
    leftover: Vector = field(repr=False)
    first: Vector = field(repr=False)
    """Adam's mean of gradients."""
    second: Vector = field(repr=False)
    """Adam's mean of their squares."""

    def to_bytes(self) -> bytes:
        """A safetensors file."""
        tensors = {"leftover": self.leftover, "first": self.first, "second": self.second}
        data: bytes = save(tensors, metadata={"steps": str(self.steps)})
        return data

    @classmethod
    def from_bytes(cls, data: bytes, size: int) -> Memory:
        """Read it back. Raises `ValueError`, `KeyError` or `SafetensorError` for anything else."""
        tensors = load(data)
        length = int.from_bytes(data[:8], "little")
        steps = int(json.loads(data[8 : 8 + length])["__metadata__"]["steps"])
        parts = [tensors[name] for name in ("leftover", "first", "second")]
        if any(part.shape != (size,) or part.dtype != np.float32 or not np.isfinite(part).all() for part in parts):
            raise ValueError("its values are not finite, or of another model")
        return cls(steps, *parts)


@dataclass(slots=True)
class Learner:
    """One miner's model, optimizer and leftover."""

    trainee: Trainee
    codec: Codec
    inner: Inner = field(default_factory=Inner)
    steps: int = 0
    """Taken so far."""
    leftover: Vector = field(init=False, repr=False)
    optimizer: torch.optim.AdamW = field(init=False, repr=False)
    loss: float = 0.0
    """Mean training loss of the last round, nats per token."""

    def __post_init__(self) -> None:
        self.leftover = np.zeros(self.trainee.size, np.float32)
        self.optimizer = build_optimizer(self.trainee.values, self.inner)

    def train(self, theta: Vector, batches: Batches) -> Update:
        """Train from `theta` on `batches`: the update that leads there."""
        return self.send(self.improve(theta, batches))

    def improve(self, theta: Vector, batches: Batches) -> Vector:
        """The change that training makes, before anything is left out."""
        self.trainee.load(theta)
        self.loss = take_steps(self.trainee.module, self.trainee.loss, self.optimizer, batches, self.inner, self.steps)
        self.steps += len(batches)
        return self.trainee.read() - theta

    def remember(self) -> Memory:
        """A copy of what the next round builds on."""
        moments = [self.optimizer.state.get(value, {}) for value in self._values]
        first, second = (
            np.concatenate(
                [
                    state[name].cpu().numpy().reshape(-1) if state else np.zeros(value.numel(), np.float32)
                    for value, state in zip(self._values, moments, strict=True)
                ]
            )
            for name in ("exp_avg", "exp_avg_sq")
        )
        return Memory(self.steps, self.leftover.copy(), first, second)

    def restore(self, memory: Memory) -> None:
        """Go on from there."""
        self.steps, self.leftover = memory.steps, memory.leftover.copy()
        self.optimizer.state.clear()
        if not memory.steps:
            return
        cuts = np.cumsum([value.numel() for value in self._values])[:-1]
        parts = zip(np.split(memory.first, cuts), np.split(memory.second, cuts), strict=True)
        for value, (first, second) in zip(self._values, parts, strict=True):
            self.optimizer.state[value] = {
                "step": torch.tensor(float(memory.steps)),
                "exp_avg": torch.from_numpy(first.copy()).view(value.shape).to(value.device),
                "exp_avg_sq": torch.from_numpy(second.copy()).view(value.shape).to(value.device),
            }

    @property
    def _values(self) -> list[torch.nn.Parameter]:
        return self.trainee.values

    def send(self, change: Vector) -> Update:
        """Pack it together with what was left out before; remember what is left out now."""
        wanted = change + np.float32(FEEDBACK) * self.leftover
        update = self.codec.pack(wanted)
        self.leftover = wanted - update.dense(self.trainee.size)
        return update
