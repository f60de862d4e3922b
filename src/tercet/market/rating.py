"""What a machine was measured to do, signed by who measured it: the value that placements are ranked by.

Knows medians and spreads, not how anything is measured or signed. A rating carries its readings, so its figures are
worked out again by whoever reads it, and cannot say anything else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tercet.errors import RatingError

__all__ = ["LINK", "NOISY_BPS", "Figure", "Rating", "Reading", "build_figures"]

LINK = "link"
"""The kind under which bytes a second between the measurer and the machine stand."""
NOISY_BPS = 1_000
"""Ten-thousandths of its median that the readings of a figure may lie apart; above, or with fewer than three, it is noisy."""
_ENOUGH = 3
_MAX_READINGS = 4_096
_MAX_RATE = 10**24
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_KIND = re.compile(r"[a-z][a-z0-9_]{0,31}")


@dataclass(frozen=True, slots=True)
class Reading:
    """One measurement."""

    kind: str
    """A dtype, or `memory`."""
    rate: int
    """Operations a second; bytes a second for `memory`."""
    link: int
    """Bytes a second at which the result travelled; 0 when that was not measured."""
    at: int
    """Unix seconds."""
    evidence: bytes
    """sha256 of what proves it to somebody who holds that: the miner's signature under the answer when it was asked
    directly, the validator's record of the verdict when it comes from its log. 32 bytes."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What readings of one kind come to."""

    kind: str
    median: int
    """Operations or bytes a second."""
    spread_bps: int
    """Highest minus lowest, in ten-thousandths of the median."""
    count: int

    @property
    def noisy(self) -> bool:
        """Whether to trust it less: readings far apart, or few."""
        return self.spread_bps > NOISY_BPS or self.count < _ENOUGH


def build_figures(readings: Iterable[Reading]) -> tuple[Figure, ...]:
    """One figure for each kind, and one for the link, by name."""
    rates: dict[str, list[int]] = {}
    for reading in readings:
        rates.setdefault(reading.kind, []).append(reading.rate)
        if reading.link:
            rates.setdefault(LINK, []).append(reading.link)
    return tuple(_figure(kind, rates[kind]) for kind in sorted(rates))


def _figure(kind: str, rates: Sequence[int]) -> Figure:
    ordered = sorted(rates)
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) // 2
    spread = (max(rates) - min(rates)) * 10_000 // middle if middle else 0
    return Figure(kind, middle, spread, len(rates))


@dataclass(frozen=True, slots=True)
class Rating:
    """One machine, as one measurer saw it."""

    operator: str
    """Whose answers were measured: the address that signs for the machine."""
    market: str
    """Address of the market in which it was asked."""
    measurer: str
    """Address of who signs this."""
    lease: str
    """The lease under which it was measured; empty for a machine that was nobody's at the time."""
    readings: tuple[Reading, ...]
    """At least one."""
    failed: int = 0
    """Answers in the same span that were wrong, late or missing."""
    cores: int = 0
    """As the machine says; 0 when it does not."""
    accelerator: str = ""
    """As the machine says; empty when it does not, or has none."""
    load_milli: int = 0
    """The highest load average that the machine told of itself, thousandths."""
    steal_milli: int = 0
    """The most processor seconds that its host took away during one reading, as the machine says, thousandths."""
    signature: bytes = b""
    """65 bytes over the EIP-191 digest of `text`; empty before it is signed."""

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Medians and spreads, by kind."""
        return build_figures(self.readings)

    @property
    def measured_at(self) -> int:
        """Unix seconds of the last reading."""
        return max(reading.at for reading in self.readings)

    def rate(self, kind: str) -> int:
        """The median of `kind`; 0 when it was not measured."""
        return next((figure.median for figure in self.figures if figure.kind == kind), 0)

    @property
    def text(self) -> bytes:
        """What is signed: a tag, then every field but the signature as canonical JSON."""
        body = {name: value for name, value in self.to_json().items() if name not in ("signature", "figures")}
        return b"tercet/rating/1\n" + json.dumps(body, sort_keys=True, separators=(",", ":")).encode()

    def to_json(self) -> dict[str, Any]:
        """A JSON object. The figures in it are for people; `from_json` works them out again."""
        return {
            "operator": self.operator,
            "market": self.market,
            "measurer": self.measurer,
            "lease": self.lease,
            "failed": self.failed,
            "machine": {
                "cores": self.cores,
                "accelerator": self.accelerator,
                "load_milli": self.load_milli,
                "steal_milli": self.steal_milli,
            },
            "readings": [[r.kind, str(r.rate), str(r.link), r.at, r.evidence.hex()] for r in self.readings],
            "figures": {
                f.kind: {"median": str(f.median), "spread_bps": f.spread_bps, "count": f.count, "noisy": f.noisy}
                for f in self.figures
            },
            "signature": self.signature.hex(),
        }

    @classmethod
    def from_json(cls, data: object) -> Rating:
        """Read what `to_json` wrote, from anybody.

        Raises:
            RatingError: a field is missing, of the wrong kind or out of range.

        """
        if not isinstance(data, dict):
            raise RatingError("This is no rating: a rating is a JSON object, as tercet rating make writes it.")
        try:
            return _read(data)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RatingError(
                f"This is no rating: {error!r}. A rating is the JSON object that tercet rating make writes."
            ) from error


def _read(data: Mapping[str, Any]) -> Rating:
    machine, rows = data["machine"], data["readings"]
    if not isinstance(rows, list) or not 1 <= len(rows) <= _MAX_READINGS:
        raise ValueError(f"readings are a list of 1 to {_MAX_READINGS}")
    return Rating(
        operator=_address(data["operator"]),
        market=_address(data["market"]),
        measurer=_address(data["measurer"]),
        lease=_short(data["lease"]),
        readings=tuple(_reading(*row) for row in rows),
        failed=_whole(data["failed"], 10**9),
        cores=_whole(machine["cores"], 10**6),
        accelerator=_short(machine["accelerator"]),
        load_milli=_whole(machine["load_milli"], 10**9),
        steal_milli=_whole(machine["steal_milli"], 10**9),
        signature=bytes.fromhex(_short(data["signature"], 130)),
    )


def _reading(kind: str, rate: str, link: str, at: int, evidence: str) -> Reading:
    if not _KIND.fullmatch(kind) or kind == LINK:
        raise ValueError(f"unknown kind {kind[:40]!r}")
    digest = bytes.fromhex(evidence)
    if len(digest) != 32:
        raise ValueError("evidence is 32 bytes of hex")
    return Reading(kind, _digits(rate), _digits(link), _whole(at, 2**40), digest)


def _digits(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,25}", text) or int(text) > _MAX_RATE:
        raise ValueError(f"{text[:40]!r} is no rate")
    return int(text)


def _whole(value: int, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{value!r} is no whole number from 0 to {most}")
    return value


def _address(text: str) -> str:
    if not _ADDRESS.fullmatch(text):
        raise ValueError(f"{text[:60]!r} is no address")
    return text


def _short(text: str, most: int = 100) -> str:
    if not isinstance(text, str) or len(text) > most:
        raise ValueError(f"a text of at most {most} characters is expected")
    return text
