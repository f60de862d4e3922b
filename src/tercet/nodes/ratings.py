"""Ratings of machines, from what a validator has found: read its log, sign, verify, keep.

Knows files and keys. What a rating says is `market.rating`; how a machine is measured is the subnet's business.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tercet.chain.files import write_atomic
from tercet.chain.keys import Key, recover, text_digest
from tercet.errors import InvalidSignatureError, RatingError
from tercet.market import Rating, Reading
from tercet.market.text import decode_json

__all__ = ["Record", "load_rating", "read_record", "save_rating", "sign_rating", "verify_rating"]

RATE = "rate_"
"""How a mechanism names what it measured, in a verdict's measures: `rate_KIND`."""
_MAX_FILE_BYTES = 4 << 20


@dataclass(slots=True)
class Record:
    """What a validator's log says of one miner's machine."""

    readings: list[Reading] = field(default_factory=list)
    """Oldest first."""
    failed: int = 0
    """Answers between the first reading and the end that were wrong, late or missing."""
    cores: int = 0
    load_milli: int = 0
    steal_milli: int = 0


def read_record(verdicts: Path, uid: int, generation: int, last: int) -> Record:
    """The last readings of a miner.

    Args:
        verdicts: a validator's `verdicts.jsonl`.
        uid: the miner's slot.
        generation: its tenant.
        last: of each kind, at most so many.

    Raises:
        RatingError: there is no such file, or no reading of that miner in it.

    """
    record, counts = Record(), dict[str, int]()
    failures = 0  # counts once a reading before them does: what is older than all that count belongs to no rating
    for line, said in _backwards(verdicts):
        if (said.get("event"), said.get("uid"), said.get("generation")) != ("verdict", uid, generation):
            continue
        measures = said.get("measures") or {}
        kind = next((name.removeprefix(RATE) for name in measures if name.startswith(RATE)), "")
        if not kind:
            failures += 1
        elif counts.get(kind, 0) < last:
            counts[kind] = counts.get(kind, 0) + 1
            record.failed, failures = record.failed + failures, 0
            rate, link = round(measures[RATE + kind]), round(measures.get("link_bytes_per_second", 0))
            evidence = hashlib.sha256(line).digest()
            record.readings.insert(0, Reading(kind, rate, link, int(said["at"]), evidence))
            record.cores = record.cores or int(measures.get("claimed_cores", 0))
            record.load_milli = max(record.load_milli, round(1000 * measures.get("claimed_load", 0)))
            record.steal_milli = max(record.steal_milli, round(1000 * measures.get("claimed_steal", 0)))
    if not record.readings:
        raise RatingError(
            f"{str(verdicts)!r} has no measurement of miner {uid}. Validate a flops market for an epoch, or name its "
            "folder with --state."
        )
    return record


def _backwards(path: Path) -> Iterator[tuple[bytes, Mapping[str, Any]]]:
    """The lines of a log, newest first; what is no JSON object is passed over."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise RatingError(f"There is no log at {str(path)!r}: {error.strerror}. Name a validator's folder.") from error
    for line in reversed(lines):
        said = decode_json(line)
        if isinstance(said, dict):
            yield line, said


def sign_rating(key: Key, rating: Rating) -> Rating:
    """The same rating with `key`'s signature; `RatingError` when it names another measurer."""
    if rating.measurer != key.address:
        raise RatingError(f"The rating names {rating.measurer} as its measurer; the key is {key.address}'s.")
    return replace(rating, signature=key.sign_text(rating.text))


def verify_rating(rating: Rating) -> None:
    """Make sure that the measurer that a rating names did sign it.

    Raises:
        RatingError: it did not.

    """
    try:
        signer = recover(text_digest(rating.text), rating.signature)
    except InvalidSignatureError as error:
        raise RatingError(f"The rating of {rating.operator} is not signed: {error}") from error
    if signer.lower() != rating.measurer.lower():
        raise RatingError(
            f"The rating of {rating.operator} names {rating.measurer} as its measurer, and {signer} signed it: somebody "
            "changed it, or lies. Ask the measurer for the original."
        )


def save_rating(folder: Path, rating: Rating) -> Path:
    """Write a rating to `folder`/ratings/OPERATOR.json, whole or not at all; where it is."""
    path = folder / "ratings" / f"{rating.operator}.json"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomic(path, json.dumps(rating.to_json(), indent=2).encode() + b"\n")
    return path


def load_rating(path: Path) -> Rating:
    """Read a rating from anybody's file; its signature is `verify_rating`'s business.

    Raises:
        RatingError: it cannot be read, or is none.

    """
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise RatingError(f"{str(path)!r} is larger than any rating ({_MAX_FILE_BYTES >> 20} MiB).")
        data = decode_json(path.read_bytes())
    except OSError as error:
        raise RatingError(f"The rating {str(path)!r} cannot be read: {error.strerror}. Name another file.") from error
    return Rating.from_json(data)
