"""The mechanism in its roles: asks, answers, judges, and says no in words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.errors import SubnetError, TaskError, UsageError
from tercet.market import Verdict
from tercet.subnets import Contender, Contest, Mechanism, Traceable
from tercet.subnets.flops import BEHAVIOURS, DTYPES, KINDS, Flops
from tercet.subnets.flops.memory import LANES
from tercet.subnets.flops.rogues import Behaviour
from tercet.subnets.flops.tasks import Kind, parse_probe

from .desk import ALL_KINDS, asked, honest, in_time, opened, submitted

BEACON = b"\x07" * 32


@pytest.mark.parametrize("kind", KINDS)
async def test_honest_miners_are_paid_for_every_kind(kind: Kind) -> None:
    """Real work in a real window, on whatever this machine has."""
    miner, validator = await opened("miner"), await opened()
    rates = []
    for number in range(10):  # on a busy machine a promise may be late, which is no reading; never wrong
        task = validator.probe(kind, bytes([number]) * 32).task
        (verdict,) = await validator.judge(task, [await asked(miner, task)])
        assert verdict.score > 0, verdict.reason
        rates = [rate for name, rate in (verdict.measures or {}).items() if name == f"rate_{kind}"]
        if rates:
            break
    assert rates
    assert rates[0] > 1e6


CHEATS: list[Behaviour] = ["precomputed", "stale", "narrow", "zeros", "inflated", "cell"]


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("behaviour", CHEATS)
async def test_cheats_are_wrong_in_every_dtype(behaviour: Behaviour, kind: Kind) -> None:
    """Whatever they send passes for no product."""
    miner, validator = await opened("miner", behaviour=behaviour), await opened()
    if behaviour in ("precomputed", "stale"):
        await asked(miner, validator.probe(kind, b"\x01" * 32).task)
    task = validator.probe(kind, BEACON).task
    (verdict,) = await validator.judge(task, [await asked(miner, task)])
    assert verdict.score == 0
    assert verdict.reason


@pytest.mark.parametrize("behaviour", ["precomputed", "stale", "zeros", "inflated"])
async def test_the_memory_test_sees_who_did_not_stream(behaviour: Behaviour) -> None:
    """Old lanes, the same lane twice, or none at all. In so short a window no machine does all lanes by itself."""
    miner, validator = await opened("miner", behaviour=behaviour, window=0.01), await opened(window=0.01)
    await asked(miner, validator.probe("memory", b"\x01" * 32).task)
    task = validator.probe("memory", BEACON).task
    submission = await asked(miner, task)
    (verdict,) = await validator.judge(task, [submission])
    nearly_all = behaviour == "inflated" and submission.pieces[0]["done"] > LANES - 3  # hardly any left to invent
    assert verdict.score == 0 or nearly_all


async def test_work_done_far_away_pays_for_the_way() -> None:
    """The window runs while the request travels; here it is over before the helper has begun."""
    miner, validator = await opened("miner", behaviour="outsourced"), await opened()
    near = await opened("miner")
    task = validator.probe("float32", BEACON).task
    answers = [await asked(miner, task), in_time(await asked(near, task), task)]
    far, local = await validator.judge(task, answers)
    assert far.score > 0
    rates = [(verdict.measures or {}).get("rate_float32", 0.0) for verdict in (far, local)]  # too late is no rate
    assert rates[0] < rates[1] / 4


def test_it_is_a_mechanism_and_a_contest() -> None:
    """Asked of all miners in the same moment, judged together."""
    assert isinstance(Flops("tiny"), Mechanism)
    assert isinstance(Flops("tiny"), Contest)


@given(st.binary(min_size=32, max_size=32))
def test_a_challenge_follows_from_its_beacon(beacon: bytes) -> None:
    """And is a task that every miner takes."""
    flops = Flops("tiny", kinds=ALL_KINDS)
    task = flops.challenge(beacon)
    assert task == flops.challenge(beacon)
    assert parse_probe(task).task == task
    assert flops.limit(task).completion == 0


def test_a_round_asks_all_for_the_same_kind_with_nonces_nobody_knows() -> None:
    """The seed is public for a while before the question: a nonce that followed from it could be worked ahead."""
    flops = Flops("tiny", kinds=ALL_KINDS)
    tasks = [parse_probe(flops.assign(BEACON, uid)) for uid in range(1, 9)]
    assert len({task.kind for task in tasks}) == 1
    assert len({task.nonce for task in [*tasks, parse_probe(flops.assign(BEACON, 1))]}) == 9


def test_an_auditor_sees_a_round_that_asked_something_easier() -> None:
    """Another kind, fewer rows or a longer window; the nonce alone is the asker's own."""
    flops = Flops("tiny", kinds=ALL_KINDS)
    assert isinstance(flops, Traceable)
    task = flops.assign(BEACON, 1)
    assert flops.is_assigned(BEACON, 1, task)
    assert flops.is_assigned(BEACON, 1, {**task, "nonce": "00" * 32})
    easier = [{"rows": task["rows"] - 1}, {"window_ms": 20_000}, {"n": 64}, {"kind": "float8"}, {"nonce": 7}]
    assert not any(flops.is_assigned(BEACON, 1, {**task, **change}) for change in easier)
    assert not Flops("mini", kinds=ALL_KINDS).is_assigned(BEACON, 1, task)


async def test_a_round_is_judged_whoever_is_missing() -> None:
    """A verdict for each, in order."""
    validator = await opened(kinds="float32")
    probe, pieces = honest("float32", 3)
    contenders = [
        Contender(1, 1, probe.task, submitted(pieces)),
        Contender(2, 1, probe.task, submitted([], uid=2)),
        Contender(3, 1, probe.task, submitted([{"nonce": "junk"}], uid=3)),
    ]
    verdicts = await validator.judge_round(BEACON, contenders)
    assert [verdict.score > 0 for verdict in verdicts] == [True, False, False]


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "float8"},
        {"kind": None},
        {"kind": ["float32"]},
        {"n": "128"},
        {"n": 100_000},
        {"n": 129},
        {"n": 0},
        {"n": True},
        {"rows": 0},
        {"rows": 129},
        {"window_ms": 1},
        {"window_ms": 10**9},
        {"window_ms": 1.5},
        {"nonce": "00"},
        {"nonce": "zz" * 32},
        {"nonce": 7},
        {"kind": "int8", "n": 16384},
        {"kind": "memory", "n": 1 << 30},
        {"kind": "memory", "n": 8200},
    ],
)
async def test_a_malformed_task_is_refused_before_any_work(change: dict[str, Any]) -> None:
    """By miners and buyers alike, and an auditor that meets one is sure."""
    flops = await opened("miner", kinds="float32")
    task = {**flops.probe("float32", BEACON).task, **change}
    with pytest.raises(TaskError, match=r"flops task|multiple"):
        flops.limit(task)
    with pytest.raises(TaskError):
        await anext(aiter(flops.answer(task)))
    recheck = await (await opened(kinds="float32")).recheck(task, submitted([]), Verdict(1.0, ""))
    assert recheck.certain


async def test_an_auditor_finds_what_the_judge_found() -> None:
    """From the same rows and the times that stand in the evidence; false scores are certain."""
    judge, auditor = await opened(kinds="float32"), await opened(kinds="float32")
    probe, pieces = honest("float32", 9)
    good = submitted(pieces)
    (fair,) = await judge.judge(probe.task, [good])
    assert (await auditor.recheck(probe.task, good, fair)).agrees
    for false in (0.0, 1.0):
        found = await auditor.recheck(probe.task, good, Verdict(false, ""))
        assert (found.agrees, found.certain) == (False, True)
        assert found.reason
    wrong = submitted([{**pieces[0], "done": 8}, *pieces[1:]])
    assert (await auditor.recheck(probe.task, wrong, Verdict(0.5, ""))).certain


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"size": "huge"}, "No size is called 'huge'. Known: tiny, mini, small, large"),
        ({"full": "abacus"}, "No machine is called 'abacus'"),
        ({"behaviour": "odd"}, "No behaviour is called 'odd'"),
        ({"kinds": "float32,float8"}, "Kinds are some of"),
        ({"kinds": ""}, "Kinds are some of"),
        ({"window": 0.0}, "window is"),
        ({"share": 0.0}, "share above 0"),
    ],
)
def test_wrong_options_name_the_right_ones(options: dict[str, Any], why: str) -> None:
    """Before anything is loaded."""
    with pytest.raises(UsageError, match=why):
        Flops(**options)


async def test_roles_that_are_not_open_say_so() -> None:
    """A miner does not judge, and nobody works before `open`."""
    probe, pieces = honest("float32")
    with pytest.raises(SubnetError, match="Only a validator judges"):
        await (await opened("miner", kinds="float32")).judge(probe.task, [submitted(pieces)])
    with pytest.raises(SubnetError, match="is not open"):
        await anext(aiter(Flops("tiny").answer(probe.task)))


def test_every_behaviour_is_documented_where_it_is_defined() -> None:
    """The module's table is what people read."""
    from tercet.subnets.flops import rogues

    assert rogues.__doc__ is not None
    assert all(f"\n{behaviour} " in rogues.__doc__ for behaviour in BEHAVIOURS if behaviour != "honest")
