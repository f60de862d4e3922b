"""Labelling miners and validators as processes: `tests.faults.role` with other mechanisms to choose from."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

from tests.faults import role

from tercet.subnets.labelling import Labelling

KINDS: dict[str, Any] = {
    "judge": Labelling,
    "knn": partial(Labelling, by="knn", seed=0),
    "logreg": partial(Labelling, by="logreg", seed=1),
    "bayes": partial(Labelling, by="bayes", seed=2),
    "copycat": partial(Labelling, by="bayes", seed=2, behaviour="copycat"),
}

if __name__ == "__main__":
    role.ECHOES |= KINDS
    sys.exit(role.main())
