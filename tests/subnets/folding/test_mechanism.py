"""The mechanism as roles use it: a round of honest miners and cheats, answers piece by piece, bad options."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tercet.errors import SubnetError
from tercet.subnets import Auditable, Contender, Contest, Mechanism, Submission, Traceable, load_mechanism
from tercet.subnets.folding import BEHAVIOURS, Folding, parse_task

from .bench import workbench

SMALL: dict[str, Any] = {"shortest": 5, "longest": 5, "challenge_steps": 2000}


def role(behaviour: Any = "honest", **options: Any) -> Folding:
    """Open, with the tests' force field."""
    found = Folding(behaviour=behaviour, **options)
    found._bench = workbench()
    return found


async def answered(behaviour: str, task: Any, uid: int, seconds: float) -> Submission:
    mechanism = role(behaviour)
    if behaviour == "replayer":
        _ = [piece async for piece in mechanism.answer(Folding(**SMALL).challenge(b"\7" * 32))]
    pieces = [piece async for piece in mechanism.answer(task)]
    limit = mechanism.limit(task)
    assert pieces[-1]["usage"] == {"prompt": limit.prompt, "completion": limit.completion}
    return Submission(uid, pieces, 0.1, seconds, b"")


async def test_cheats_earn_nothing_beside_honest_miners() -> None:
    """One round: five honest, every cheat once, the twin twice.

    A short search is a matter of luck and may find nothing, so that a hasty miner would be paid as much. Five that are
    longer do not all fail.
    """
    judge = role(**{**SMALL, "challenge_steps": 3000})
    task = judge.assign(b"\3" * 32, 1)
    cast = [*["honest"] * 5, *(name for name in BEHAVIOURS if name != "honest"), "twin"]
    answers = [await answered(name, task, uid, float(uid)) for uid, name in enumerate(cast, 1)]
    contenders = [Contender(answer.uid, 1, task, answer) for answer in answers]
    verdicts = await judge.judge_round(bytes(32), contenders)
    paid: dict[str, list[float]] = {}
    for name, verdict in zip(cast, verdicts, strict=True):
        paid.setdefault(name, []).append(verdict.score)
        assert verdict.reason or verdict.score > 0
    assert all(score > 0 for score in paid["honest"])
    assert len({verdict.reason for name, verdict in zip(cast, verdicts, strict=True) if name == "twin"}) == 1
    for name in set(cast) - {"honest", "twin", "hasty"}:
        assert paid[name] == [0.0], name
    assert paid["hasty"][0] < 0.05 * max(paid["honest"])
    for answer, verdict in zip(answers, verdicts, strict=True):
        assert (await judge.recheck(task, answer, verdict)).agrees


async def test_an_answer_tells_how_it_goes() -> None:
    """Steps and finite energies, then the coordinates of the best."""
    judge = role(**SMALL)
    task = judge.challenge(b"\4" * 32)
    pieces = [piece async for piece in role().answer(task)]
    *path, last = pieces
    assert [piece["step"] for piece in path] == sorted(piece["step"] for piece in path)
    assert path[-1]["step"] == parse_task(task).steps
    assert all(math.isfinite(piece["energy"]) for piece in path)
    assert last["energy"] <= min(piece["energy"] for piece in path) + 1e-2
    (verdict,) = await judge.judge(task, [Submission(1, pieces, 0.1, 0.1, b"")])
    assert verdict.score > 0


async def test_a_miner_keeps_its_own_limits() -> None:
    """Fewer steps than are paid for, or no time for them: an answer comes all the same."""
    task = role(**SMALL).challenge(b"\5" * 32)
    *path, _ = [piece async for piece in role(steps=100).answer(task)]
    assert path[-1]["step"] == 100
    *path, last = [piece async for piece in role(seconds=1e-6).answer(task)]
    assert path[-1]["step"] < 2000
    assert "coordinates" in last


def test_it_is_what_validators_take_it_for() -> None:
    """A contest whose rounds others can check."""
    mechanism = load_mechanism("tercet.subnets.folding:Folding")
    assert isinstance(mechanism, Mechanism)
    assert isinstance(mechanism, Contest)
    assert isinstance(mechanism, Auditable)
    assert isinstance(mechanism, Traceable)


def test_all_miners_of_a_round_fold_the_same() -> None:
    """And nobody knows what before the beacon."""
    mechanism = Folding()
    assert mechanism.is_assigned(b"\1" * 32, 1, mechanism.assign(b"\1" * 32, 2))
    assert not mechanism.is_assigned(b"\1" * 32, 1, mechanism.assign(b"\2" * 32, 1))
    assert not mechanism.is_assigned(b"\1" * 32, 1, {"kind": "chat"})
    assert mechanism.assign(b"\1" * 32, 1) == mechanism.assign(b"\1" * 32, 2) != mechanism.assign(b"\2" * 32, 1)


@pytest.mark.parametrize(
    "options",
    [
        {"behaviour": "kind"},
        {"shortest": 1},
        {"shortest": 9, "longest": 8},
        {"challenge_steps": 0},
        {"steps": -1},
        {"slots": 0},
        {"seconds": -1.0},
        {"colour": "red"},
    ],
)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    """In words."""
    with pytest.raises(SubnetError):
        load_mechanism("tercet.subnets.folding:Folding", **options)


async def test_a_gateway_needs_no_force_field() -> None:
    """It knows what a task costs; only a judge has to be opened for more."""
    mechanism = Folding(**SMALL)
    await mechanism.open("gateway")
    task = mechanism.challenge(bytes(32))
    assert mechanism.limit(task).prompt > 0
    with pytest.raises(SubnetError, match="not open"):
        await mechanism.judge(task, [])
