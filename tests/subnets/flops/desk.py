"""What the tests of this subnet share: a chain worked out by the definition, and answers made of it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tercet.market import Task
from tercet.subnets import Role, Submission, load_mechanism
from tercet.subnets.flops.chain import Array, build_base, encode_rows, round_to, shuffle
from tercet.subnets.flops.commitment import build_answer, hash_leaves
from tercet.subnets.flops.judge import Rules
from tercet.subnets.flops.mechanism import Flops
from tercet.subnets.flops.reference import MACHINES
from tercet.subnets.flops.tasks import KINDS, SIZES, Dtype, Kind, Probe
from tercet.subnets.mechanism import Piece

NONCE = hashlib.sha256(b"a nonce").digest()
RULES = Rules(MACHINES["2-cores"])
ALL_KINDS = ",".join(KINDS)


def probe_of(kind: Kind, nonce: bytes = NONCE, window: float = 1.0) -> Probe:
    return Probe.of(kind, SIZES["tiny"], window, nonce)


def by_definition(dtype: Dtype, n: int, nonce: bytes, links: int) -> Array:
    """X[links], one product after the other."""
    base = build_base(dtype, n)
    now = base
    for link in range(1, links + 1):
        now = round_to(dtype, base @ now[shuffle(nonce, link, n)])
    return encode_rows(dtype, now)


def answer_with(probe: Probe, rows: Array, done: int) -> list[Piece]:
    """An answer that promises these rows, whatever they are."""
    return list(build_answer(probe, done, rows, hash_leaves(rows), {"cores": 2, "load": 0.5}))


def honest(kind: Dtype, links: int = 5, nonce: bytes = NONCE) -> tuple[Probe, list[Piece]]:
    probe = probe_of(kind, nonce)
    return probe, answer_with(probe, by_definition(kind, probe.n, nonce, links), links)


def submitted(pieces: Sequence[Any], seconds: float = 0.9, signature: bytes = b"s" * 65, uid: int = 1) -> Submission:
    return Submission(uid, pieces, seconds, seconds + 0.1, signature)


async def opened(role: Role = "validator", **options: Any) -> Flops:
    """The mechanism as the tests use it: small, numpy only, all kinds."""
    usual = {"size": "tiny", "window": 0.05, "device": "numpy", "full": "2-cores", "kinds": ALL_KINDS}
    found = load_mechanism("tercet.subnets.flops:Flops", **{**usual, **options})
    assert isinstance(found, Flops)
    await found.open(role)
    return found


async def asked(miner: Flops, task: Task, uid: int = 1) -> Submission:
    """What a validator would have seen."""
    began, first, pieces = time.monotonic(), 0.0, []
    async for piece in miner.answer(task):
        first = first or time.monotonic() - began
        pieces.append(piece)
    total = time.monotonic() - began
    return Submission(uid, pieces, first, total, hashlib.sha512(repr(pieces[0]).encode()).digest() + b"\x1b")


def in_time(submission: Submission, task: Task) -> Submission:
    """The same with a promise at the end of the window, where it is not the clock that is looked at: a busy machine is late."""
    late = max(0.0, submission.first_seconds - task["window_ms"] / 1000)
    return replace(
        submission, first_seconds=submission.first_seconds - late, total_seconds=submission.total_seconds - late
    )
