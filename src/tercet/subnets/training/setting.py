"""What a role of this market holds in common: the model, the codec, the text, and the rules that name them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from safetensors.torch import save

from tercet.errors import UsageError
from tercet.subnets.training.compress import Codec
from tercet.subnets.training.device import find_device, place
from tercet.subnets.training.lora import adapt, load_base
from tercet.subnets.training.model import Trainee, Vector, build_module, initial_vector
from tercet.subnets.training.outer import Checkpoint, Outer
from tercet.subnets.training.tasks import SIZES, Rules

__all__ = ["Setting", "build_setting"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One model, ready to be trained or judged."""

    rules: Rules
    """Its corpus is empty until one is chosen."""
    trainee: Trainee
    codec: Codec
    start: Vector

    def begin(self, rules: Rules) -> Checkpoint:
        """Round 0."""
        return Checkpoint.begin(self.start, rules.digest)

    def outer(self, rules: Rules) -> Outer:
        """The outer step by these rules."""
        return Outer(rules.rate, rules.momentum)

    def export(self, theta: Vector) -> bytes:
        """The trained tensors by name, as a safetensors file that `safetensors.torch.load_file` reads."""
        self.trainee.load(theta)
        named = dict(self.trainee.module.named_parameters())
        tensors = {name: named[name].detach().cpu().contiguous() for name, _ in self.trainee.shapes}
        data: bytes = save(tensors)
        return data


def build_setting(rules: Rules, base: str = "", threads: int = 1, device: str = "cpu") -> Setting:
    """Build the model of `rules` on `device`, over the weights in the file `base` where there is one.

    Raises:
        UsageError: there is no such model or device, or the text's windows do not fit it.

    """
    torch.set_num_threads(threads)
    where = find_device(device)
    if rules.model in SIZES and rules.context > SIZES[rules.model].context:
        raise UsageError(f"The model {rules.model!r} sees {SIZES[rules.model].context} tokens, not {rules.context}.")
    module = build_module(rules.model)
    found = load_base(module, base) if base else ""
    start = Trainee(module).read() if base else initial_vector(module)
    if rules.rank:
        Trainee(module).load(start)
        start = Trainee(adapt(module, rules.rank)).read()
    trainee = Trainee(place(module, where))
    return Setting(replace(rules, base=found), trainee, Codec(trainee.sizes, rules.fraction), start)
