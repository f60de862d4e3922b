"""The competition in labelling data: people and models say what things are.

Miners label the same batch; gold that nobody can pick out, and each other's word, tell how right they are.
"""

from __future__ import annotations

from tercet.subnets.labelling.items import Collection, Item, read_collection
from tercet.subnets.labelling.mechanism import Labelling
from tercet.subnets.labelling.rogues import BEHAVIOURS
from tercet.subnets.labelling.skills import Consensus, estimate, majority
from tercet.subnets.labelling.workers import MODELS

__all__ = [
    "BEHAVIOURS",
    "MODELS",
    "Collection",
    "Consensus",
    "Item",
    "Labelling",
    "estimate",
    "majority",
    "read_collection",
]
