"""What an errand of `tercet fix` is: what was ordered, what is kept of it between two steps, and how it ended."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tercet.chain.files import write_atomic
from tercet.errors import UsageError
from tercet.market import CREDIT, Amount, Job, JobState
from tercet.subnets.coding import Report

__all__ = ["CHANNEL_DEPOSIT", "Done", "Order", "Saved", "money", "when"]

CHANNEL_DEPOSIT = 100_000
"""Credit units put into the miner's channel, for the request itself: a tenth of a credit."""


@dataclass(frozen=True, slots=True)
class Order:
    """What the command line says."""

    folder: Path
    test: str
    price: Amount
    exclude: Sequence[str]
    yes: bool
    dry_run: bool
    apply: bool
    resume: bool
    seconds: float
    deliver: int
    review: int
    dispute: int


@dataclass(slots=True)
class Saved:
    """What an interrupted command needs to go on. Written before each step that cannot be taken back."""

    place: Path
    task: dict[str, Any]
    """With its job's id."""
    terms: Job
    uid: int
    diff: str = ""

    @property
    def id(self) -> bytes:
        """Of its job."""
        return bytes.fromhex(self.task["job"][2:])

    def save(self) -> None:
        """Write it, whole or not at all; it holds what the repository holds, so it is the owner's alone."""
        terms = asdict(self.terms) | {"work_hash": self.terms.work_hash.hex(), "salt": self.terms.salt.hex()}
        content = {"task": self.task, "terms": terms, "uid": self.uid, "diff": self.diff}
        self.place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomic(self.place, json.dumps(content).encode(), mode=0o600)

    @classmethod
    def load(cls, place: Path) -> Saved | None:
        """What an earlier command left there; None where it left nothing.

        Raises:
            UsageError: it cannot be read.

        """
        try:
            content = json.loads(place.read_text())
            raw = content["terms"]
            terms = Job(**{**raw, "work_hash": bytes.fromhex(raw["work_hash"]), "salt": bytes.fromhex(raw["salt"])})
            return cls(place, content["task"], terms, content["uid"], content["diff"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{str(place)!r} cannot be read ({error}). See what is held with: tercet job list; then delete that file."
            ) from error


@dataclass(frozen=True, slots=True)
class Done:
    """How it ended."""

    saved: Saved
    report: Report
    state: JobState
    applied: Sequence[str]
    warnings: Sequence[str]

    def row(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "job": self.saved.task["job"],
            "miner": self.saved.uid,
            "state": self.state.name.lower(),
            "passed": self.report.good,
            "tests": sum(how == "passed" for how in self.report.tests.values()),
            "applied": list(self.applied),
            "diff": self.saved.diff,
            "warnings": list(self.warnings),
        }


def money(saved: Saved) -> str:
    """Its price, for people."""
    return str(Amount(saved.terms.amount, CREDIT))


def when(seconds: int) -> str:
    """A time of the chain, for people."""
    return f"{time.strftime('%F %T', time.gmtime(seconds))} UTC"
