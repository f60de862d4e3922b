"""The competitions: one module or folder each, found by entry point."""

from __future__ import annotations

from tercet.subnets.mechanism import (
    Auditable,
    Commission,
    Commissioned,
    Contender,
    Contest,
    Mechanism,
    PayFloor,
    Piece,
    Prepared,
    Recheck,
    Role,
    Stocked,
    Submission,
    Traceable,
    UnknownSubnetError,
    Waged,
    least_price,
    load_mechanism,
    mechanism_names,
)

__all__ = [
    "Auditable",
    "Commission",
    "Commissioned",
    "Contender",
    "Contest",
    "Mechanism",
    "PayFloor",
    "Piece",
    "Prepared",
    "Recheck",
    "Role",
    "Stocked",
    "Submission",
    "Traceable",
    "UnknownSubnetError",
    "Waged",
    "least_price",
    "load_mechanism",
    "mechanism_names",
]
