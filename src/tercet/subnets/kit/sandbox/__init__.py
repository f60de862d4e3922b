"""A place to run strangers' code: bubblewrap, and every bound that this machine can hold.

`Sandbox.find()` says what the machine allows, `run` does the work, `read_result` reads what came back.
"""

from __future__ import annotations

from tercet.subnets.kit.sandbox.box import Sandbox
from tercet.subnets.kit.sandbox.limits import Limits, Outcome
from tercet.subnets.kit.sandbox.parcel import read_result

__all__ = ["Limits", "Outcome", "Sandbox", "read_result"]
