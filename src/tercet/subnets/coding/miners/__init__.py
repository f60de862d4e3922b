"""Ways to find a fix: each is a class with `solve`, chosen by name."""

from __future__ import annotations

from tercet.subnets.coding.miners.sampler import Chat, ChatError, GatewayChat, LocalChat, Sampler
from tercet.subnets.coding.miners.search import Search
from tercet.subnets.coding.miners.solver import Problem, Solver
from tercet.subnets.coding.miners.swe import SWE_DRIVER, SweAgent

__all__ = [
    "SWE_DRIVER",
    "Chat",
    "ChatError",
    "GatewayChat",
    "LocalChat",
    "Problem",
    "Sampler",
    "Search",
    "Solver",
    "SweAgent",
]
