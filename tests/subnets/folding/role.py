"""Folding miners and validators as processes: `tests.faults.role` with other mechanisms to choose from."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

from tests.faults import role

from tercet.subnets.folding import BEHAVIOURS, Folding

SMALL = partial(Folding, shortest=5, longest=5, challenge_steps=2000)
KINDS: dict[str, Any] = {"judge": SMALL, **{name: partial(SMALL, behaviour=name) for name in BEHAVIOURS}}

if __name__ == "__main__":
    role.ECHOES |= KINDS
    sys.exit(role.main())
