"""A run's private gateway: the one choke point between its agents and the models that think for them.

It meters, budgets, queues, holds and stops every agent there, whatever its framework, and writes a receipt of each call.
"""

from tercet.swarm.gateway.amounts import Allowance, Budget, Spent
from tercet.swarm.gateway.budgets import Budgets, Reservation
from tercet.swarm.gateway.call import Call, Completion, Prices, Reply, Upstream
from tercet.swarm.gateway.desk import Desk
from tercet.swarm.gateway.face import new_token, serve_face
from tercet.swarm.gateway.http import HttpUpstream
from tercet.swarm.gateway.local import LocalUpstream
from tercet.swarm.gateway.receipts import read_lacking
from tercet.swarm.gateway.scripted import Script, ScriptedUpstream, load_script

__all__ = [
    "Allowance",
    "Budget",
    "Budgets",
    "Call",
    "Completion",
    "Desk",
    "HttpUpstream",
    "LocalUpstream",
    "Prices",
    "Reply",
    "Reservation",
    "Script",
    "ScriptedUpstream",
    "Spent",
    "Upstream",
    "load_script",
    "new_token",
    "read_lacking",
    "serve_face",
]
