"""Whether the result is right, for a fraction of its cost, and how fast it came.

Freivalds' check of the whole chain at once. For a random u over the rows that were sent, u·X[k] is worked out twice: from
the rows, and from the definition, (((u·Q)·P[k])·Q)·...·Q, vector by matrix. A chain of k links costs its miner 2·k·n³
operations and its judge about 8·k·n². u is drawn from the miner's signature, so it was unknown when the rows were fixed.

For floats the two differ by rounding. Its size is known closely, because it is the mean over thousands of numbers: work
done in a narrower dtype, or left out for more than a few rows or links, stands out.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tercet.errors import SubmissionError
from tercet.market import Verdict
from tercet.subnets.flops import memory
from tercet.subnets.flops.chain import Array, counter, decode_rows, link_flops
from tercet.subnets.flops.commitment import Opened, leaf_count, parse_answer
from tercet.subnets.flops.reference import Machine
from tercet.subnets.flops.tasks import LEAF_ITEMS, Dtype, Probe
from tercet.subnets.flops.walk import walk
from tercet.subnets.kit import derive
from tercet.subnets.mechanism import Submission

__all__ = ["FLOOR", "Rules", "grace", "judge_all", "noise_limit", "punctuality"]

VECTORS = 4
"""Random vectors: an error that hides from one in ten does so from one in ten thousand. In int8 one hides from 1 in 256
vectors, and the worst, the top bit of a single column, from every second."""
GRACE = 0.05
"""Windows after the window by which the promise must be there, `GRACE_SECONDS` on top. What comes later is worth the floor:
whoever serves several names one after the other would else be paid for each of them in full. Between the window's end
and that moment the pay of the speed falls to nothing in a straight line, or the second name would live on the grace."""
GRACE_SECONDS = 0.2
"""For the way there and back, and a machine that was busy for a moment."""
FLOOR = 0.001
"""The score of honest work that is worth nothing: zero says that it is wrong."""
_SPREAD = 2.0
"""Times the usual rounding that is taken: an eighth of the precision in 5 % of the links is more."""
_LARGEST = 4.0
"""Times the limit that any single number may be off: eight times the usual rounding, which stays below five."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a full score is."""

    machine: Machine
    """Its rates are worth 1; half of them a half."""
    share: float = 1.0
    """Of the machine's rates that a full score needs: more than 0."""


@dataclass(frozen=True, slots=True)
class _Way:
    """A chain to go back along, from the vectors over the rows that were sent."""

    nonce: bytes
    links: int
    start: Array

    @classmethod
    def of(cls, case: _Case, vectors: Array) -> _Way:
        start = np.zeros((case.probe.n, vectors.shape[1]), vectors.dtype)
        start[case.opened.leaves] = vectors
        return cls(case.probe.nonce, case.opened.done, start)


@dataclass(frozen=True, slots=True)
class _Case:
    index: int
    probe: Probe
    submission: Submission
    opened: Opened


def noise_limit(dtype: Dtype, links: int, slack: float = 1.0, n: int = 1024) -> float:
    """The most that rounding may move the check, relative: root mean square over its numbers.

    Narrow floats round once a link, 0.43 units in the last place. Wide ones round inside the products, the judge's own
    among them, by about 11 units at n = 1024, and who adds up one term after the other by the root of n more.
    `benchmarks/flops.py --noise` measures both. In float64 two processors' QR, and so their Q, differ by up to 42 units.
    """
    if dtype == "int8":
        return 0.0
    inside = 12.0 * max(1.0, math.sqrt(n / 1024))
    digits, per_link = {
        "bfloat16": (8, 0.43),
        "float16": (11, 0.43),
        "float32": (24, inside),
        "float64": (53, inside + 28.0),
    }[dtype]
    return slack * _SPREAD * per_link * 2.0**-digits * math.sqrt(links)


def judge_all(
    rules: Rules,
    probes: Sequence[Probe],
    submissions: Sequence[Submission],
    slack: float = 1.0,
    device: str = "numpy",
) -> list[Verdict]:
    """One verdict per submission; whatever a miner sent gets one. Answers to tasks of one kind are checked together.

    `slack` times the usual rounding limit is taken. `device` is where the products are checked: numpy, or an
    accelerator as torch names it.
    """
    verdicts: dict[int, Verdict] = {}
    groups: dict[tuple[str, int], list[_Case]] = defaultdict(list)
    for index, (probe, submission) in enumerate(zip(probes, submissions, strict=True)):
        if submission.failure or not submission.pieces:
            verdicts[index] = Verdict(0.0, submission.failure or "there is no answer")
            continue
        try:
            case = _Case(index, probe, submission, parse_answer(probe, submission.pieces))
        except SubmissionError as error:
            verdicts[index] = Verdict(0.0, str(error))
            continue
        groups[probe.kind, probe.n].append(case)
    for (kind, _), cases in groups.items():
        flaws = _check_memory(cases) if kind == "memory" else _check_products(cases, slack, device)
        for case, flaw in zip(cases, flaws, strict=True):
            verdicts[case.index] = Verdict(0.0, flaw) if flaw else _score(rules, case)
    return [verdicts[index] for index in range(len(submissions))]


def measure(probe: Probe, done: int, submission: Submission) -> tuple[float, float]:
    """(operations or bytes a second, seconds that count): work over the window, or over the time if that was longer."""
    work = done * (memory.lane_bytes(probe.n) if probe.kind == "memory" else link_flops(probe.n))
    seconds = max(submission.first_seconds, probe.window_seconds)
    return work / seconds, seconds


def grace(window_seconds: float) -> float:
    """Seconds after the window in which a promise is still worth something."""
    return window_seconds * GRACE + GRACE_SECONDS


def punctuality(probe: Probe, seconds: float) -> float:
    """1 for a promise within the window, 0 from the end of the grace on."""
    return min(1.0, max(0.0, 1 - (seconds - probe.window_seconds) / grace(probe.window_seconds)))


def _score(rules: Rules, case: _Case) -> Verdict:
    probe, submission, opened = case.probe, case.submission, case.opened
    rate, _ = measure(probe, opened.done, submission)
    transfer = submission.total_seconds - submission.first_seconds
    measures = {f"rate_{probe.kind}": rate, "work_seconds": submission.first_seconds, "done": float(opened.done)}
    if transfer > 0:
        measures["link_bytes_per_second"] = opened.bytes_sent / transfer
    measures |= {f"claimed_{name}": said for name, said in opened.claims.items() if isinstance(said, float)}
    paid = punctuality(probe, submission.first_seconds)
    if not paid:
        late = f"the promise came after {submission.first_seconds:.2f} s, the window is {probe.window_seconds:g} s"
        # A rate under a deadline that was missed is no reading of the machine.
        return Verdict(FLOOR, late, {name: said for name, said in measures.items() if not name.startswith("rate_")})
    full = rules.machine.rate(probe.kind)
    if full is None:
        return Verdict(FLOOR, f"nobody knows what a full score in {probe.kind} is", measures)
    score = min(1.0, max(FLOOR, rate / (full * rules.share) * paid))
    slow = "" if score >= 1 else f"{rate / 1e9:.3g} of {full * rules.share / 1e9:.3g} billion a second"
    if score < 1 and paid < 1:
        slow += f", {1 - paid:.0%} off for {submission.first_seconds - probe.window_seconds:.2f} s after the window"
    return Verdict(score, slow, measures)


def _draw(case: _Case, label: str) -> np.random.Generator:
    """Draws that belong to an answer, and were unknown before it was signed."""
    return np.random.Generator(counter(derive(case.submission.evidence, "flops judge", label)))


# Products

_LARGEST_ENTRY = 2.0


def _check_products(cases: Sequence[_Case], slack: float, device: str) -> list[str]:
    """What is wrong with each answer, or an empty text. All of one dtype and size: Q is read once a link for all."""
    probe = cases[0].probe
    dtype: Dtype = probe.kind  # type: ignore[assignment]  # the caller keeps `memory` apart
    rows = [decode_rows(dtype, case.opened.rows, probe.n) for case in cases]
    sane = [dtype == "int8" or _is_sane(found) for found in rows]
    good = [index for index, fine in enumerate(sane) if fine]
    vectors = {index: _vectors(cases[index], dtype, rows[index].shape[0]) for index in good}
    wanted = walk(device, dtype, probe.n, [_Way.of(cases[index], vectors[index]) for index in good])
    flaws = ["numbers that are not finite, or far too large for this chain"] * len(cases)
    for index, expected in zip(good, wanted, strict=True):
        found = rows[index].T @ vectors[index]
        limit = noise_limit(dtype, cases[index].opened.done, slack, probe.n)
        flaws[index] = _compare(dtype, limit, found, expected)
    return flaws


def _is_sane(rows: Array) -> bool:
    """Whether all numbers are finite and no larger than an orthogonal matrix has them, with room for rounding."""
    return bool(rows.max() <= _LARGEST_ENTRY and rows.min() >= -_LARGEST_ENTRY)  # false for NaN as well


def _vectors(case: _Case, dtype: Dtype, rows: int) -> Array:
    """(rows, vectors)."""
    draws = _draw(case, "vectors")
    if dtype == "int8":
        return draws.integers(-128, 128, (rows, VECTORS)).astype(np.float32)
    signs = draws.integers(0, 2, (rows, VECTORS)) * 2 - 1
    return signs.astype(np.float64 if dtype == "float64" else np.float32)


def _compare(dtype: Dtype, limit: float, found: Array, expected: Array) -> str:
    if dtype == "int8":
        apart = np.remainder(found.astype(np.int64) - expected.astype(np.int64), 256)
        wrong = int(np.count_nonzero(apart.any(axis=1)))
        return f"the product is wrong in {wrong} of {len(found)} columns" if wrong else ""
    scale = math.sqrt(float(np.mean(np.square(expected, dtype=np.float64))))
    apart = np.abs(found.astype(np.float64) - expected) / scale
    spread, worst = math.sqrt(float(np.mean(np.square(apart)))), float(apart.max())
    if spread > limit:
        return f"the product is off by {spread:.2g}, {dtype} rounds by at most {limit:.2g}: was it computed in less?"
    if worst > _LARGEST * limit:
        return f"the product is wrong in single columns, by {worst:.2g} where {_LARGEST * limit:.2g} is rounding"
    return ""


# Memory

_PLACES = 4
"""Words of each leaf that are worked out again."""


def _check_memory(cases: Sequence[_Case]) -> list[str]:
    return [_check_lanes(case) for case in cases]


def _check_lanes(case: _Case) -> str:
    probe, opened = case.probe, case.opened
    words = np.frombuffer(opened.rows, dtype="<u8")
    per_lane = leaf_count(probe, 1)
    places: Mapping[int, list[tuple[int, int]]] = defaultdict(list)
    drawn = _draw(case, "places").integers(0, LEAF_ITEMS, (len(opened.leaves), _PLACES)).tolist()
    for index, (leaf, within) in enumerate(zip(opened.leaves, drawn, strict=True)):
        lane, row = divmod(leaf, per_lane)
        places[lane] += [(index * LEAF_ITEMS + word, row * LEAF_ITEMS + word) for word in within]
    for lane, found in places.items():
        where = np.array([place for _, place in found], np.int64)
        right = memory.recompute(probe.nonce, lane, probe.n, where)
        if (words[[at for at, _ in found]] != right).any():
            return f"lane {lane} of the memory test is wrong"
    return ""
