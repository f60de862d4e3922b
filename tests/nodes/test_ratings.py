"""Ratings out of a validator's log: what counts, who signs, what a changed file is worth."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tercet.chain.keys import Key
from tercet.errors import RatingError
from tercet.market import Rating, Reading, Verdict
from tercet.nodes.book import Book
from tercet.nodes.ratings import load_rating, read_record, save_rating, sign_rating, verify_rating
from tercet.nodes.scores import Finding

KEY = Key(b"\x07" * 32)


def found(rate: float, at: float, uid: int = 1, generation: int = 1, kind: str = "float32", **verdict: Any) -> Finding:
    measures = {f"rate_{kind}": rate, "link_bytes_per_second": 5.5, "claimed_cores": 2.0, "claimed_load": at / 10}
    return Finding(3, uid, generation, "judged", Verdict(0.5, "", measures, **verdict), at=at)


def written(folder: Path, *findings: Finding) -> Path:
    book = Book(folder, "here")
    for finding in findings:
        book.record(finding)
    book.say("score", {"epoch": 3, "uid": 1})
    book.close()
    return folder / "verdicts.jsonl"


def rated(**changes: Any) -> Rating:
    usual = Rating(KEY.address, KEY.address, KEY.address, "", (Reading("int8", 5, 0, 7, bytes(32)),))
    return replace(usual, **changes)


def test_the_last_readings_of_one_tenant_count(tmp_path: Path) -> None:
    """Not those of others, of an earlier tenant, or older ones; failures in between are counted."""
    wrong = Finding(3, 1, 1, "judged", Verdict(0.0, "the product is wrong"), at=3.5)
    missed = Finding(3, 1, 1, "missed", Verdict(0.0, "no answer"), at=0.5)
    log = written(
        tmp_path,
        found(9, 0, generation=0),
        missed,
        found(1, 1),
        found(2, 2),
        found(8, 2, uid=2),
        found(3, 3),
        wrong,
        found(4, 4),
    )
    record = read_record(log, 1, 1, last=3)
    assert [reading.rate for reading in record.readings] == [2, 3, 4]
    assert [reading.at for reading in record.readings] == [2, 3, 4]
    assert (record.failed, record.cores, record.load_milli) == (1, 2, 400)
    assert record.readings[-1].evidence == hashlib.sha256(log.read_bytes().splitlines()[-2]).digest()


def test_a_kind_that_is_measured_rarely_is_reached(tmp_path: Path) -> None:
    """However many readings of another kind are newer."""
    log = written(tmp_path, found(7, 1, kind="int8"), *(found(rate, rate) for rate in range(2, 7)))
    record = read_record(log, 1, 1, last=2)
    assert [(reading.kind, reading.rate) for reading in record.readings] == [
        ("int8", 7),
        ("float32", 5),
        ("float32", 6),
    ]


def test_failures_before_the_first_reading_that_counts_are_forgiven(tmp_path: Path) -> None:
    """As the readings of their time are forgotten; those since then count."""
    wrong = [Finding(3, 1, 1, "judged", Verdict(0.0, "the product is wrong"), at=at) for at in (1.5, 2.5, 3.5)]
    log = written(tmp_path, found(1, 1), wrong[0], found(2, 2), wrong[1], found(3, 3), wrong[2])
    assert read_record(log, 1, 1, last=1).failed == 1
    assert read_record(log, 1, 1, last=2).failed == 2
    assert read_record(log, 1, 1, last=3).failed == 3


def test_junk_in_a_log_is_passed_over(tmp_path: Path) -> None:
    """A line that was cut off by a power failure, for instance."""
    log = written(tmp_path, found(1, 1))
    log.write_bytes(log.read_bytes() + b'[1]\n\xff\n{"event": "verd')
    assert len(read_record(log, 1, 1, last=5).readings) == 1


def test_without_a_reading_there_is_no_rating(tmp_path: Path) -> None:
    """The message says what to do, and the missing file is named."""
    with pytest.raises(RatingError, match="has no measurement of miner 4"):
        read_record(written(tmp_path, found(1, 1)), 4, 1, last=5)
    with pytest.raises(RatingError, match="There is no log at"):
        read_record(tmp_path / "nowhere", 1, 1, last=5)


def test_a_signed_rating_is_kept_and_verified(tmp_path: Path) -> None:
    """Written whole, read back, signed by who it says."""
    signed = sign_rating(KEY, rated())
    path = save_rating(tmp_path, signed)
    assert path == tmp_path / "ratings" / f"{KEY.address}.json"
    again = load_rating(path)
    assert again == signed
    verify_rating(again)


@pytest.mark.parametrize(
    "change",
    [{"failed": 3}, {"readings": (Reading("int8", 50, 0, 7, bytes(32)),)}, {"lease": "x"}, {"signature": b""}],
)
def test_a_changed_rating_does_not_verify(change: dict[str, Any]) -> None:
    """Whichever field somebody improves."""
    with pytest.raises(RatingError, match="signed"):
        verify_rating(replace(sign_rating(KEY, rated()), **change))


def test_nobody_signs_in_anothers_name() -> None:
    """Neither by mistake, nor on purpose."""
    other = Key(b"\x08" * 32)
    with pytest.raises(RatingError, match="as its measurer; the key is"):
        sign_rating(other, rated())
    forged = replace(rated(), signature=other.sign_text(rated().text))
    with pytest.raises(RatingError, match="signed it"):
        verify_rating(forged)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "[" * 100_000, "\x00", json.dumps({"readings": []})])
def test_a_file_that_is_no_rating_says_so(tmp_path: Path, text: str) -> None:
    """Empty, cut short, something else, or made to exhaust a parser."""
    path = tmp_path / "rating.json"
    path.write_text(text)
    with pytest.raises(RatingError, match="rating"):
        load_rating(path)


def test_huge_and_missing_files_are_not_read(tmp_path: Path) -> None:
    """Sizes are looked at first."""
    with pytest.raises(RatingError, match="cannot be read"):
        load_rating(tmp_path / "nowhere")
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(5 << 20)
    with pytest.raises(RatingError, match="larger than any rating"):
        load_rating(path)
