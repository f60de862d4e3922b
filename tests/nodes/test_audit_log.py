"""Packages and logs: what they prove, and what they do not."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.chain.keys import Key
from tercet.market import Usage, Verdict, build_row
from tercet.market.audit import SCORE_SCALE, Evaluation, hash_package
from tercet.nodes import wire
from tercet.nodes.audit_log import (
    EvidenceError,
    build_entries,
    build_package,
    check_age,
    check_row,
    list_entries,
    parse_entries,
    read_package,
)
from tercet.nodes.book import Book
from tercet.nodes.buyer import Transcript
from tercet.nodes.scores import Finding, decide
from tercet.subnets import Auditable, Submission
from tercet.subnets.echo import Echo

MINER, STRANGER, PAYER = (Key(bytes([n]) * 32) for n in (1, 2, 3))
MARKET = "0x" + "ab" * 20


def exchange(text: str = "hello", answer: str | None = None, signer: Key = MINER) -> tuple[Transcript, Submission]:
    """A purchase of an echo, and the answer that came."""
    body = wire.encode_json({"task": {"text": text}})
    head = wire.build_head("/tercet/v1/echo", signer.address, PAYER.address, body, now_ms=1_800_000_000_000)
    piece = {"text": text if answer is None else answer, "usage": {"prompt": 5, "completion": 5}}
    lines = wire.encode_json(piece) + b"\n"
    request, digest = hashlib.sha256(head.text).digest(), hashlib.sha256(lines).digest()
    trailer = wire.sign_answer(signer, request, digest, Usage(5, 5), 7, 7)
    return Transcript(head.text, body, lines, trailer), Submission(1, [piece], 0.25, 0.5, trailer.signature)


def entry(package: bytes, score: float = 1.0, **changes: Any) -> Evaluation:
    usual = Evaluation(MARKET, 3, 9, 0, 1, 2, "judged", round(score * SCORE_SCALE), hash_package(package))
    return replace(usual, **changes)


def test_a_package_gives_back_what_was_judged() -> None:
    """Task, pieces, times, signature and the judge's opening."""
    transcript, submission = exchange()
    package = build_package(transcript, submission, Verdict(1.0, "", None, "ab12"))
    found = read_package(package, entry(package), {MINER.address})
    assert found is not None
    assert (found.task, found.submission) == ({"text": "hello"}, submission)
    assert (found.verdict.score, found.verdict.opening, found.signer) == (1.0, "ab12", MINER.address)
    assert found.made_ms == 1_800_000_000_000


def test_equal_evaluations_have_different_packages() -> None:
    """So a leaf on chain tells nobody which answer it is of."""
    silence = Submission(1, [], 0.0, 0.0, b"")
    assert build_package(None, silence, Verdict(0.0, "x")) != build_package(None, silence, Verdict(0.0, "x"))


@pytest.mark.parametrize("name", ["head", "body", "lines", "trailer"])
def test_nothing_in_a_package_can_be_changed(name: str) -> None:
    """The miner's signature covers every byte of question and answer."""
    content = json.loads(build_package(*exchange(), Verdict(1.0, "")))
    content[name] = (
        content[name].replace("echo", "ohce").replace("hello", "hallo").replace('"charged":7', '"charged":6')
    )
    package = wire.encode_json(content)
    with pytest.raises(EvidenceError) as caught:
        read_package(package, entry(package), {MINER.address})
    assert caught.value.certain


def test_an_answer_of_somebody_else_proves_nothing() -> None:
    """A self-made miner is seen by all who know the true one; of a miner that has left nothing is known."""
    package = build_package(*exchange(signer=STRANGER), Verdict(1.0, ""))
    with pytest.raises(EvidenceError, match="never was the operator") as caught:
        read_package(package, entry(package), {MINER.address})
    assert caught.value.certain
    with pytest.raises(EvidenceError) as caught:
        read_package(package, entry(package), set())
    assert not caught.value.certain


def test_another_package_than_the_entrys_is_no_reason_to_accuse() -> None:
    """The others may have been handed the right one."""
    package = build_package(*exchange(), Verdict(1.0, ""))
    with pytest.raises(EvidenceError, match="not the one") as caught:
        read_package(package + b" ", entry(package), {MINER.address})
    assert not caught.value.certain


def test_only_a_judged_answer_has_a_score() -> None:
    """A miss proves nothing and earns nothing; a score for one is a lie on its face."""
    package = build_package(None, Submission(1, [], 0.0, 0.0, b""), Verdict(0.0, "silent"))
    assert read_package(package, entry(package, 0, kind="missed"), {MINER.address}) is None
    with pytest.raises(EvidenceError, match="claims a score") as caught:
        read_package(package, entry(package, 0.5, kind="missed"), {MINER.address})
    assert caught.value.certain
    with pytest.raises(EvidenceError) as caught:
        read_package(package, entry(package, 0.5), {MINER.address})
    assert caught.value.certain


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (999_999, ""),
        (2_000_000, ""),
        (1_000_000 - 180_000, ""),
        (1_000_000 - 180_001, "180 s before"),
        (0, "1000 s before"),
        (2_060_000, ""),
        (2_060_001, "60 s from now"),
    ],
)
def test_an_exchange_belongs_to_its_epoch(made: int, words: str) -> None:
    """From the begin of the epoch before, less what answers and honest clocks take, up to now."""
    found = check_age(made, 1_000_000, 2_000_000)
    assert words in found
    assert bool(found) is bool(words)


@given(st.binary(max_size=200) | st.text(max_size=50).map(str.encode))
def test_a_strangers_bytes_are_refused(package: bytes) -> None:
    """Whatever they are, they raise nothing else."""
    with pytest.raises(EvidenceError):
        read_package(package, entry(package), {MINER.address})


@pytest.mark.parametrize(
    ("text", "answer", "claimed", "agrees"),
    [
        ("a", "a", 1.0, True),
        ("a", "b", 0.0, True),
        ("a", "b", 1.0, False),
        ("a", "a", 0.0, False),
        ("a", "a", 0.5, False),
    ],
)
async def test_an_echo_is_checked_exactly(text: str, answer: str, claimed: float, agrees: bool) -> None:
    """Right answers score 1, wrong ones 0, and nothing else reproduces."""
    echo = Echo()
    assert isinstance(echo, Auditable)
    _, submission = exchange(text, answer)
    found = await echo.recheck({"text": text}, submission, Verdict(claimed, ""))
    assert (found.agrees, found.certain) == (agrees, not agrees)


# Logs


def log(scores: dict[int, list[float]]) -> list[Evaluation]:
    """One judged entry for each score; generation 1."""
    findings = [
        (Finding(3, uid, 1, "judged", Verdict(score, "")), bytes([uid, place]))
        for uid, values in scores.items()
        for place, score in enumerate(values)
    ]
    return build_entries(MARKET, 3, 9, findings)


def test_a_log_survives_the_wire() -> None:
    """As JSON and back, leaf by leaf."""
    entries = log({1: [1.0, 0.25], 7: [0.0]})
    rows = json.loads(json.dumps(list_entries(entries)))
    assert [found.leaf for found in parse_entries(MARKET, 3, 9, rows)] == [found.leaf for found in entries]


@pytest.mark.parametrize(
    "rows",
    [None, {}, [[]], [[1, 1, "judged", 1]], [[0, 1, "judged", 0, "00" * 32]], [[1, 1, "guessed", 0, "00" * 32]],
     [[1, 1, "judged", SCORE_SCALE + 1, "00" * 32]], [[1, 1, "judged", 0.5, "00" * 32]], [[1, 2**32, "judged", 0, "00" * 32]],
     [[1, 1, "judged", 0, "00" * 31]], [[True, 1, "judged", 0, "00" * 32]]],
)  # fmt: skip
def test_a_malformed_log_is_refused(rows: object) -> None:
    """Another validator is a stranger too."""
    with pytest.raises(EvidenceError):
        parse_entries(MARKET, 3, 9, rows)


@given(
    st.dictionaries(st.integers(1, 20), st.lists(st.floats(0, 1), min_size=1, max_size=6), min_size=1, max_size=8),
    st.floats(0.5, 8),
)
def test_an_honest_row_follows_from_its_log(scores: dict[int, list[float]], capacity: float) -> None:
    """Whatever the scores are, and however much is left unspent."""
    entries = log(scores)
    findings = [Finding(3, e.uid, 1, "judged", Verdict(e.score / SCORE_SCALE, "")) for e in entries]
    generations = dict.fromkeys(scores, 1)
    decision = decide(findings, generations, capacity=capacity)
    if sum(decision.row[1:]) > 2_000:  # rounding of a tiny rest is not what this is about
        assert check_row(decision.row, entries, generations) == ""


def test_a_copied_row_does_not_follow_from_ones_own_log() -> None:
    """Real evaluations with another's weights are not vouched for; nor are weights without any worth found."""
    entries = log({1: [1.0] * 4, 2: [0.5] * 4})
    generations = {1: 1, 2: 1}
    assert check_row(build_row({1: 1.0, 2: 0.5}, 3), entries, generations) == ""
    assert "apart" in check_row(build_row({1: 1.0, 2: 1.0}, 3), entries, generations)
    assert "no worth" in check_row(build_row({1: 1.0}, 3), log({1: [0.0]}), generations)
    assert check_row([65_535, 0, 0], entries, generations) == ""


def test_a_miner_that_came_since_is_left_out() -> None:
    """The row and the log speak of the one before."""
    entries = log({1: [1.0] * 4, 2: [1.0] * 4})
    assert check_row(build_row({1: 1.0, 2: 1.0}, 3), entries, {1: 1}) == ""


# The book


def test_a_log_is_fixed_when_the_row_is_pledged(tmp_path: Path) -> None:
    """What is found later is not in it, however often it is asked for; a restart changes nothing."""
    book = Book(tmp_path, "here")
    finding = Finding(3, 1, 2, "judged", Verdict(0.5, "slow", {"a": 1.0}, "secret"), 7, 1.5, b"package")
    book.record(finding)
    book.record(replace(finding, epoch=4))
    assert book.log(3) == (0, [])
    assert book.start_log(3, 9) == [(finding, b"package")]
    book.record(replace(finding, uid=2))
    assert book.start_log(3, 10) == [(finding, b"package")]
    book.close()
    book = Book(tmp_path, "here")
    assert book.log(3) == (9, [(finding, b"package")])
    book.close()
    assert "secret" not in (tmp_path / "verdicts.jsonl").read_text()
