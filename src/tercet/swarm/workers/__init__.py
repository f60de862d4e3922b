"""Other people's agents at work for a run: each in its own virtual environment, process and sandbox.

They think through the run's gateway and nowhere else, and all that they say is an external claim.
"""

from __future__ import annotations

from tercet.swarm.workers.granted import REFUSALS, GrantedTool
from tercet.swarm.workers.specialist import Fetch, SpecialistWorker
from tercet.swarm.workers.specialists import SPECIALISTS, Specialist
from tercet.swarm.workers.worker import Say, Saying, Worker

__all__ = [
    "REFUSALS",
    "SPECIALISTS",
    "Fetch",
    "GrantedTool",
    "Say",
    "Saying",
    "Specialist",
    "SpecialistWorker",
    "Worker",
]
