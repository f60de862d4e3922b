"""The competition in serving open language models.

A miner serves the market's model; validators re-score what it says on their own copy.
"""

from __future__ import annotations

from tercet.subnets.inference.cores import count_cores, model_threads
from tercet.subnets.inference.embeddings import Embedded, Embedder
from tercet.subnets.inference.hub import find_model
from tercet.subnets.inference.mechanism import Inference
from tercet.subnets.inference.models import CATALOGUE, Model, models_directory
from tercet.subnets.inference.prompts import load_prompts
from tercet.subnets.inference.pull import is_verified, pull
from tercet.subnets.inference.rogues import BEHAVIOURS
from tercet.subnets.inference.tasks import MAX_TOKENS

__all__ = [
    "BEHAVIOURS",
    "CATALOGUE",
    "MAX_TOKENS",
    "Embedded",
    "Embedder",
    "Inference",
    "Model",
    "count_cores",
    "find_model",
    "is_verified",
    "load_prompts",
    "model_threads",
    "models_directory",
    "pull",
]
