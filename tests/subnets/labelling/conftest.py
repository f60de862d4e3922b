"""What the labelling tests share: the digits, and voters whose errors are known."""

from __future__ import annotations

import numpy as np
import pytest

from tercet.subnets.labelling.items import Collection, digits
from tercet.subnets.labelling.skills import Votes


@pytest.fixture(scope="session")
def collection() -> Collection:
    return digits()


def voter(truth: Votes, skill: float, seed: int, classes: int = 10) -> Votes:
    """Right with probability `skill`, else any other label."""
    draws = np.random.default_rng(seed)
    wrong = (truth + draws.integers(1, classes, len(truth))) % classes
    return np.where(draws.random(len(truth)) < skill, truth, wrong)
