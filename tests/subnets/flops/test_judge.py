"""The check: honest work passes whoever multiplies, wrong work does not, and its price is time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tercet.subnets.flops.chain import build_base, decode_rows, encode_rows, round_to, shuffle
from tercet.subnets.flops.judge import FLOOR, Rules, grace, judge_all, noise_limit, punctuality
from tercet.subnets.flops.reference import MACHINES
from tercet.subnets.flops.tasks import DTYPES, Dtype, Probe
from tercet.subnets.flops.walk import multiply
from tercet.subnets.mechanism import Submission

from .desk import NONCE, RULES, answer_with, by_definition, honest, probe_of, submitted


def judged(probe: Probe, submission: Submission, rules: Rules = RULES) -> tuple[float, str]:
    (verdict,) = judge_all(rules, [probe], [submission])
    return verdict.score, verdict.reason


@pytest.mark.parametrize("links", [1, 7, 60])
@pytest.mark.parametrize("dtype", DTYPES)
def test_honest_work_passes(dtype: Dtype, links: int) -> None:
    """One link or sixty: rounding grows with the root of their number, and so does the limit."""
    probe, pieces = honest(dtype, links)
    score, reason = judged(probe, submitted(pieces))
    assert score >= FLOOR
    assert "a second" in reason


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
def test_another_library_passes(dtype: Dtype) -> None:
    """Torch adds in another order, and rounds in its own kernels."""
    pytest.importorskip("torch")
    from tercet.subnets.flops.engines import TorchEngine

    probe = probe_of(dtype)
    chain = TorchEngine("cpu", 1).start(dtype, probe.n)
    for link in range(1, 31):
        chain.step(shuffle(NONCE, link, probe.n))
    score, _ = judged(probe, submitted(answer_with(probe, chain.finish(), 30)))
    assert score > 0


@settings(max_examples=60)
@given(st.data())
def test_int8_has_no_tolerance(data: st.DataObject) -> None:
    """Freivalds' bound: an odd change of any number that was sent hides from 4 vectors with probability 2^-32."""
    probe, links = probe_of("int8"), 3
    rows = by_definition("int8", probe.n, NONCE, links)
    where = data.draw(st.tuples(st.integers(0, 127), st.integers(0, 127)))
    rows[where] ^= np.int8(2 * data.draw(st.integers(-64, 63)) + 1)
    signature = data.draw(st.binary(min_size=65, max_size=65))
    score, reason = judged(probe, submitted(answer_with(probe, rows, links), signature=signature))
    assert (score, reason) == (0.0, "the product is wrong in 1 of 128 columns")


def test_the_top_bit_hides_from_few_signatures() -> None:
    """The worst error there is, 128 in one number, hides from 4 vectors with probability 1 in 16."""
    probe = probe_of("int8")
    rows = by_definition("int8", probe.n, NONCE, 1)
    rows[3, 5] ^= np.int8(-128)
    pieces = answer_with(probe, rows, 1)
    passed = [judged(probe, submitted(pieces, signature=bytes([k]) * 65))[0] > 0 for k in range(200)]
    assert 2 <= sum(passed) <= 30


@settings(max_examples=40)
@given(st.data())
def test_floats_see_every_number_that_is_off_by_more_than_rounding(data: st.DataObject) -> None:
    """float32: a change of a hundredth of a number's usual size, anywhere."""
    probe, links = probe_of("float32"), 3
    rows = by_definition("float32", probe.n, NONCE, links)
    where = data.draw(st.tuples(st.integers(0, 127), st.integers(0, 127)))
    rows[where] += data.draw(st.sampled_from([-1, 1])) * data.draw(st.floats(1e-3, 1))
    score, reason = judged(probe, submitted(answer_with(probe, rows, links)))
    assert score == 0.0
    assert "the product is" in reason


@settings(max_examples=25)
@given(st.sampled_from(["float64", "float32", "float16", "bfloat16", "int8"]), st.integers(0, 2**32))
def test_a_product_of_low_rank_never_passes(dtype: Dtype, seed: int) -> None:
    """Half of the rank is half of the work, and an error of the size of the result."""
    probe, links = probe_of(dtype), 4
    exact = decode_rows(dtype, by_definition(dtype, probe.n, NONCE, links).tobytes(), probe.n)
    draws = np.random.default_rng(seed)
    half, _ = np.linalg.qr(draws.normal(size=(probe.n, probe.n // 2)))
    rows = encode_rows(dtype, round_to(dtype, half @ (half.T @ exact)))
    assert judged(probe, submitted(answer_with(probe, rows, links)))[0] == 0.0


@pytest.mark.parametrize(
    ("dtype", "narrower"), [("float64", "float32"), ("float32", "bfloat16"), ("float16", "bfloat16")]
)
def test_one_link_in_ten_in_fewer_digits_shows(dtype: Dtype, narrower: Dtype) -> None:
    """The mean over thousands of numbers knows rounding closely."""
    probe, links = probe_of(dtype), 30
    base = build_base(dtype, probe.n)
    now = base
    for link in range(1, links + 1):
        now = round_to(dtype, base @ now[shuffle(NONCE, link, probe.n)])
        if link % 10 == 5:
            now = round_to(narrower, now.astype(np.float32)).astype(now.dtype)
    score, reason = judged(probe, submitted(answer_with(probe, encode_rows(dtype, now), links)))
    assert score == 0.0
    assert "was it computed in less?" in reason


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30, -3.0])
def test_numbers_that_no_chain_has_are_wrong(bad: float) -> None:
    """And never reach the arithmetic of the judge."""
    probe = probe_of("float32")
    rows = by_definition("float32", probe.n, NONCE, 2)
    rows[9, 9] = bad
    assert judged(probe, submitted(answer_with(probe, rows, 2))) == (
        0.0,
        "numbers that are not finite, or far too large for this chain",
    )


def test_the_answer_to_another_nonce_is_wrong() -> None:
    """Precomputed: the rows are right for a task that nobody asked."""
    probe = probe_of("float32", b"z" * 32)
    rows = by_definition("float32", probe.n, NONCE, 4)
    score, reason = judged(probe, submitted(answer_with(probe, rows, 4)))
    assert score == 0.0
    assert "off by 1.4" in reason


@pytest.mark.parametrize("claimed", [3, 5, 4096])
def test_the_number_of_links_cannot_be_wrong(claimed: int) -> None:
    """Neither more, nor fewer."""
    probe = probe_of("float32")
    assert judged(probe, submitted(answer_with(probe, by_definition("float32", probe.n, NONCE, 4), claimed)))[0] == 0.0


def test_the_score_is_the_speed() -> None:
    """Twice the links in the window, twice the score; the window counts even when the answer comes early."""
    rules = Rules(MACHINES["2-cores"], share=1e-3)
    scores = [
        judged(honest("float32", links)[0], submitted(honest("float32", links)[1], 0.9), rules)[0] for links in (4, 8)
    ]
    assert scores[1] == pytest.approx(2 * scores[0])
    probe, pieces = honest("float32", 4)
    assert judged(probe, submitted(pieces, 0.1), rules)[0] == scores[0]
    assert scores[0] == pytest.approx(4 * 2 * 128**3 / 1.0 / (104e9 * 1e-3))


def test_what_comes_late_is_worth_the_floor() -> None:
    """Right, so not a cheat; but whoever serves names in turn is paid for the first."""
    probe, pieces = honest("float32")
    late = probe.window_seconds + grace(probe.window_seconds)
    score, reason = judged(probe, submitted(pieces, late + 0.01))
    assert (score, reason) == (FLOOR, "the promise came after 1.26 s, the window is 1 s")
    assert FLOOR < judged(probe, submitted(pieces, late - 0.01), Rules(MACHINES["2-cores"], 1e-5))[0] < 1


def test_what_comes_after_the_window_loses_its_pay_in_a_straight_line() -> None:
    """Halfway through the grace half of the speed is paid; within the window no moment is better than another."""
    probe, pieces = honest("float32")
    window, rules = probe.window_seconds, Rules(MACHINES["2-cores"], 1e-3)
    early, last = (judged(probe, submitted(pieces, seconds), rules) for seconds in (window / 2, window))
    assert early == last
    late, reason = judged(probe, submitted(pieces, window + grace(window) / 2), rules)
    assert late == pytest.approx(last[0] / 2 * window / (window + grace(window) / 2))
    assert "50% off for 0.12 s after the window" in reason


@given(st.floats(0.05, 30), st.floats(0, 1))
def test_a_second_name_on_the_machine_adds_a_quarter_of_the_grace_at_most(window: float, part: float) -> None:
    """One name at a time, each paid as the judge pays it: the second can only use the grace."""
    probe = replace(probe_of("float32"), window_seconds=window)
    late = window + part * grace(window)
    second = (late - window) / late * punctuality(probe, late)
    assert second <= grace(window) / window / 4


def test_the_link_is_measured_from_the_rows_that_follow() -> None:
    """Bytes after the promise, over the time that they took."""
    probe, pieces = honest("float32")
    (verdict,) = judge_all(RULES, [probe], [submitted(pieces, 0.9)])
    assert verdict.measures is not None
    assert verdict.measures["link_bytes_per_second"] == pytest.approx(128 * 128 * 4 * 4 / 3 / 0.1, rel=0.01)
    assert verdict.measures["claimed_cores"] == 2


def test_answers_of_one_kind_are_checked_in_one_sweep_each_by_its_own_nonce() -> None:
    """Chains of different lengths, cheats among them, in the order in which they came."""
    nonces = [bytes([k]) * 32 for k in range(6)]
    probes = [probe_of("int8" if k % 2 else "float32", nonce) for k, nonce in enumerate(nonces)]
    answers = [honest("int8" if k % 2 else "float32", 1 + 3 * k, nonce)[1] for k, nonce in enumerate(nonces)]
    answers[2] = answers[4]
    submissions = [submitted(pieces, uid=k) for k, pieces in enumerate(answers)]
    submissions.append(Submission(9, [], 3.0, 3.0, b"", "no answer in 3 s"))
    verdicts = judge_all(RULES, [*probes, probes[0]], submissions)
    assert [verdict.score > 0 for verdict in verdicts] == [True, True, False, True, True, True, False]
    assert verdicts[-1].reason == "no answer in 3 s"
    assert [verdict.score for verdict in verdicts[:1]] == [judge_all(RULES, probes[:1], submissions[:1])[0].score]


def test_rows_that_were_not_computed_are_seen_where_only_some_are_sent() -> None:
    """Three quarters of the rows right, 32 sent: a root that picks none of the others takes ten thousand tries."""
    probe = replace(probe_of("float32"), rows=32)
    rows = by_definition("float32", probe.n, NONCE, 3)
    rows[96:] = 0
    assert judged(probe, submitted(answer_with(probe, rows, 3)))[0] == 0.0


def test_a_kind_without_a_reference_is_worth_the_floor() -> None:
    """Nobody knows what half of an unknown rate is."""
    probe, pieces = honest("int8")
    assert judged(probe, submitted(pieces), Rules(MACHINES["mi300x"]))[0] == FLOOR


def test_limits_grow_with_the_root_of_the_links() -> None:
    """Rounding errors do not add up, they wander."""
    assert noise_limit("bfloat16", 64) == pytest.approx(8 * noise_limit("bfloat16", 1))
    assert noise_limit("int8", 64) == 0
    assert noise_limit("float64", 1) < 1e-14
    assert 1e-7 < noise_limit("float32", 1) < 1e-5


@pytest.mark.parametrize("n", [32, 96, 1024])
@pytest.mark.parametrize("width", [4, 28, 400])
def test_in_blocks_or_whole_a_product_of_whole_numbers_is_the_same(n: int, width: int) -> None:
    """Few vectors take blocks, many and odd sizes one product; the left part of an array is no copy of it."""
    draws = np.random.default_rng(n)
    base = draws.integers(-63, 64, (n, n)).astype(np.float32)
    now = draws.integers(-128, 128, (n, width + 4)).astype(np.float32)[:, :width]
    found = multiply(base, now)
    assert (found == base.astype(np.int64) @ now.astype(np.int64)).all()
