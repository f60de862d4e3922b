"""What a validator keeps of each evaluation so that others can run it again, and how they read it. No I/O.

A package holds the exchange byte by byte, the miner's signature under it, the times, and the judge's opening. Its hash
stands in the log whose root the validator reveals. Packages go to other validators only, never on chain: they name the
payer, and whoever knows the payer knows an examiner (docs/explanation/audits.md).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tercet.errors import MarketError, WireError
from tercet.market import Task, Verdict
from tercet.market.audit import SCORE_SCALE, Evaluation, hash_package
from tercet.market.text import decode_json
from tercet.nodes import wire
from tercet.nodes.buyer import Transcript
from tercet.nodes.response import read_pieces
from tercet.nodes.scores import Finding, score_miner
from tercet.subnets import Submission

__all__ = [
    "Evidence",
    "EvidenceError",
    "build_entries",
    "build_package",
    "check_age",
    "check_row",
    "list_entries",
    "parse_entries",
    "read_package",
    "with_package",
]

GRACE_SECONDS = 180
"""How long before its epoch's window an exchange may have begun: an answer counts for the epoch that is measured when
its verdict is there, so the time that answer and verdict took, and what honest clocks differ by.
"""
SKEW_SECONDS = 60
"""How far honest clocks may be apart: an auditor's, and that of who asked."""
_ROW_TOLERANCE = 0.02
"""Of the whole row: what rounding and slots that changed hands since may move."""


class EvidenceError(MarketError):
    """A package or a log that does not prove what it says.

    `certain`: whoever holds the entry's own package sees the same, so it is reason enough to accuse.
    """

    def __init__(self, message: str, *, certain: bool = False) -> None:
        super().__init__(message)
        self.certain = certain


@dataclass(frozen=True, slots=True)
class Evidence:
    """A package, read and proven: this miner did answer this task with these bytes."""

    task: Task
    submission: Submission
    verdict: Verdict
    """Its score is the log's; the opening is the package's."""
    request: bytes
    """sha256 of the request text: no two evaluations share one."""
    made_ms: int
    """When it was asked, Unix milliseconds, as its asker's clock had it."""
    signer: str


def build_package(transcript: Transcript | None, submission: Submission, verdict: Verdict) -> bytes:
    """What is kept of one evaluation; without a transcript only that nothing came, which nobody can check."""
    package: dict[str, Any] = {"v": 1, "salt": secrets.token_hex(32), "reason": verdict.reason}
    if transcript is not None:
        package |= {
            # Latin-1 keeps every byte that a miner may have sent, text or not.
            "head": transcript.head.decode("latin-1"),
            "body": transcript.body.decode("latin-1"),
            "lines": transcript.lines.decode("latin-1"),
            "trailer": wire.encode_answer(transcript.answer).decode(),
            "first_seconds": submission.first_seconds,
            "total_seconds": submission.total_seconds,
            "opening": verdict.opening,
        }
    return wire.encode_json(package)


def with_package(finding: Finding) -> Finding:
    """The finding with a package, be it an empty one: what has none is in no log."""
    silence = Submission(finding.uid, [], 0.0, 0.0, b"")
    return finding if finding.package else replace(finding, package=build_package(None, silence, finding.verdict))


def read_package(package: bytes, entry: Evaluation, operators: Collection[str]) -> Evidence | None:
    """Take a package apart and check every hash and signature in it.

    Args:
        package: the bytes.
        entry: what the log says of it.
        operators: every key that this miner has been seen to answer with.

    Returns:
        What was evaluated; None for an answer that never came.

    Raises:
        EvidenceError: it does not belong to the entry, or proves no such answer.

    """
    if hash_package(package) != entry.package:
        raise EvidenceError("The package is not the one that the log's entry hashes.")
    if entry.kind != "judged":
        if entry.score:
            raise EvidenceError(f"The entry claims a score for an answer that was {entry.kind}.", certain=True)
        return None
    content = decode_json(package)
    if not isinstance(content, dict):
        raise EvidenceError("The package is no JSON object.", certain=True)
    try:
        return _read(content, entry, operators)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, WireError) as error:
        raise EvidenceError(f"The package is no signed exchange: {error!r}.", certain=True) from error


def _read(content: Mapping[str, Any], entry: Evaluation, operators: Collection[str]) -> Evidence:
    head, body, lines = (content[name].encode("latin-1") for name in ("head", "body", "lines"))
    version, _, _, receiver, _, nonce, _, digest = content["head"].split("\n")
    trailer = decode_json(content["trailer"])["answer"]
    answer = wire.parse_answer(trailer)
    request = hashlib.sha256(head).digest()
    if version != wire.VERSION or digest != hashlib.sha256(body).hexdigest():
        raise EvidenceError("The request's text does not name its body.", certain=True)
    wire.validate_answer(answer, receiver, request, hashlib.sha256(lines).digest())
    if receiver not in operators:
        # Of a miner that has left nothing is known any more.
        raise EvidenceError(f"{receiver} never was the operator of miner {entry.uid}.", certain=bool(operators))
    pieces = read_pieces(lines)
    first, total = float(content["first_seconds"]), float(content["total_seconds"])
    if not 0 <= first <= total < 86_400:
        raise EvidenceError("The times are none.", certain=True)
    submission = Submission(entry.uid, pieces, first, total, answer.signature)
    verdict = Verdict(entry.score / SCORE_SCALE, "", None, str(content["opening"]))
    return Evidence(decode_json(body)["task"], submission, verdict, request, int(nonce[:13]), answer.signer)


def check_age(made_ms: int, began_ms: int, now_ms: int) -> str:
    """Whether an exchange happened in the epoch that it counts for; what is wrong, or an empty text.

    What counts for epoch e was asked after the validator's commit in e - 1 and before that in e, so never before e - 1
    began. The miner has signed the request that names the time, and takes none that is far from its own clock. The end
    needs no check but for the absurd: what was made after the commit cannot be in the log.

    Args:
        made_ms: when it was asked, Unix milliseconds, as its asker's clock had it; as the next two.
        began_ms: when the epoch before the one that it counts for began.
        now_ms: the auditor's clock.

    """
    early, late = began_ms - 1000 * GRACE_SECONDS - made_ms, made_ms - now_ms - 1000 * SKEW_SECONDS
    if early > 0:
        return f"it was asked {(began_ms - made_ms) / 1000:.0f} s before anything could count for this epoch"
    return f"it says that it was asked {(made_ms - now_ms) / 1000:.0f} s from now" if late > 0 else ""


def build_entries(market: str, epoch: int, pool: int, findings: Iterable[tuple[Finding, bytes]]) -> list[Evaluation]:
    """The log of what was found, in order; each with its package."""
    return [
        Evaluation(
            market,
            epoch,
            pool,
            index,
            finding.uid,
            finding.generation,
            finding.kind,
            fix_score(finding),
            hash_package(package),
        )
        for index, (finding, package) in enumerate(findings)
    ]


def fix_score(finding: Finding) -> int:
    """The score in a leaf: 0 unless the answer was judged."""
    return round(SCORE_SCALE * min(1.0, max(0.0, finding.verdict.score))) if finding.kind == "judged" else 0


def list_entries(entries: Sequence[Evaluation]) -> list[list[Any]]:
    """A log as JSON: what differs from entry to entry."""
    return [[e.uid, e.generation, e.kind, e.score, e.package.hex()] for e in entries]


def parse_entries(market: str, epoch: int, pool: int, rows: object) -> list[Evaluation]:
    """Read what `list_entries` wrote.

    Raises:
        EvidenceError: it is malformed.

    """
    if not isinstance(rows, list):
        raise EvidenceError("The log is no list.")
    try:
        return [_entry(market, epoch, pool, index, row) for index, row in enumerate(rows)]
    except (TypeError, ValueError, OverflowError) as error:
        raise EvidenceError(f"An entry of the log is malformed: {error!r}.") from error


def _entry(market: str, epoch: int, pool: int, index: int, row: Any) -> Evaluation:
    uid, generation, kind, score, package = row
    numbers_fit = all(type(number) is int for number in (uid, generation, score)) and 0 < uid < 256 and generation > 0
    if not numbers_fit or generation >= 2**32 or not 0 <= score <= SCORE_SCALE:
        raise ValueError(row)
    if kind not in ("judged", "missed", "forged"):
        raise ValueError(kind)
    digest = bytes.fromhex(package)
    if len(digest) != 32:
        raise ValueError(package)
    return Evaluation(market, epoch, pool, index, uid, generation, kind, score, digest)


def check_row(row: Sequence[int], entries: Sequence[Evaluation], generations: Mapping[int, int]) -> str:
    """Whether a row of weights follows from the log, by the rule of `nodes.scores`; what is wrong, or an empty text.

    Only the division between miners is compared: how much is left unspent is a validator's own setting.

    Args:
        row: u16 weights, slot 0 unspent.
        entries: of the log.
        generations: uid to generation of every registered miner, now. Others are left out of the comparison.

    """
    findings: dict[int, list[Finding]] = {}
    for entry in entries:
        if generations.get(entry.uid) == entry.generation:
            verdict = Verdict(entry.score / SCORE_SCALE, "")
            found = Finding(entry.epoch, entry.uid, entry.generation, entry.kind, verdict)
            findings.setdefault(entry.uid, []).append(found)
    values = {uid: score_miner(uid, found).value for uid, found in findings.items()}
    weights = {uid: row[uid] for uid in generations if uid < len(row)}
    worth, given = sum(values.values()), sum(weights.values())
    if not worth or not given:
        return "" if not given else "it gives weight to miners in which its log finds no worth"
    apart = sum(abs(values.get(uid, 0) / worth - weights.get(uid, 0) / given) for uid in {*values, *weights})
    return "" if apart <= _ROW_TOLERANCE else f"its row is {apart:.2f} apart from what its log says"
