"""The competition in training one model together.

Miners train on what they are assigned and send small updates; validators pay for loss that went down because of it.
"""

from __future__ import annotations

from tercet.subnets.training.mechanism import Training
from tercet.subnets.training.rogues import BEHAVIOURS, Behaviour
from tercet.subnets.training.tasks import SIZES, Rules

__all__ = ["BEHAVIOURS", "SIZES", "Behaviour", "Rules", "Training"]
