"""When to stop trying: the same action over and over, attempts that get no further. Pure rules."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Any

from tercet.errors import AttemptError

__all__ = ["MOST_ALIKE", "Loops", "no_progress"]

MOST_ALIKE = 3
"""The same action this often in one attempt is a loop."""


class Loops:
    """What an agent did in one attempt, and whether it goes in circles."""

    def __init__(self, most: int = MOST_ALIKE) -> None:
        self._most = most
        self._seen: Counter[str] = Counter()

    def note(self, action: str, arguments: Any) -> None:
        """One more action.

        Raises:
            AttemptError: it was done too often before, with the same arguments.

        """
        said = json.dumps([action, arguments], sort_keys=True, default=str)
        digest = hashlib.sha256(said.encode(errors="replace")).hexdigest()
        self._seen[digest] += 1
        if self._seen[digest] >= self._most:
            raise AttemptError(f"It goes in circles: {action} with the same arguments {self._most} times.")


def no_progress(failures: list[str], most: int = MOST_ALIKE) -> bool:
    """Whether the last attempts all failed in the same way."""
    return len(failures) >= most and len(set(failures[-most:])) == 1
