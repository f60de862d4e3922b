"""The competitions: one module or folder each, found by entry point."""

from __future__ import annotations

from tercet.subnets.mechanism import (
    Auditable,
    Contender,
    Contest,
    Mechanism,
    Piece,
    Prepared,
    Recheck,
    Role,
    Stocked,
    Submission,
    Traceable,
    UnknownSubnetError,
    load_mechanism,
    mechanism_names,
)

__all__ = [
    "Auditable",
    "Contender",
    "Contest",
    "Mechanism",
    "Piece",
    "Prepared",
    "Recheck",
    "Role",
    "Stocked",
    "Submission",
    "Traceable",
    "UnknownSubnetError",
    "load_mechanism",
    "mechanism_names",
]
