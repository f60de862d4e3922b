"""The mechanism in all its roles: real digits, real models, and every cheat against them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tercet.errors import SubnetError, TaskError, UsageError
from tercet.market import Usage, Verdict
from tercet.subnets import Auditable, Contender, Contest, Mechanism, PayFloor, Submission, Traceable
from tercet.subnets.kit.beacon import derive
from tercet.subnets.labelling import BEHAVIOURS, Labelling

SEED, LATER = derive(b"assignment"), derive(b"a later beacon")
CREW = (("knn", 0), ("logreg", 1), ("bayes", 2), ("tree", 3))


@pytest.fixture
async def judge() -> AsyncIterator[Labelling]:
    mechanism = Labelling()
    await mechanism.open("validator")
    yield mechanism
    await mechanism.close()


async def answers(task: Any, by: str, seed: int, behaviour: Any = "honest", times: int = 1) -> Sequence[Any]:
    miner = Labelling(by=by, seed=seed, behaviour=behaviour)
    await miner.open("miner")
    for _ in range(times):
        pieces = [piece async for piece in miner.answer(task)]
    await miner.close()
    return list(json.loads(json.dumps(pieces)))


def contender(uid: int, task: Any, pieces: Sequence[Any], seconds: float = 0.1) -> Contender:
    return Contender(uid, uid, task, Submission(uid, pieces, seconds, seconds, b"signed"))


def test_it_is_a_mechanism_a_contest_and_auditable() -> None:
    for protocol in (Mechanism, Contest, Auditable, Traceable, PayFloor):
        assert isinstance(Labelling(), protocol)


async def test_models_are_paid_by_their_skill_and_cheats_nothing(judge: Labelling) -> None:
    task = judge.assign(SEED, 7)
    assert task == judge.challenge(SEED) == judge.assign(SEED, 8)
    assert len(json.dumps(task)) < 2**20
    honest = [contender(uid, task, await answers(task, by, seed)) for uid, (by, seed) in enumerate(CREW, 1)]
    cheats = [
        contender(uid, task, await answers(task, "bayes", 2, behaviour), 0.6)
        for uid, behaviour in enumerate(BEHAVIOURS[1:], 5)
    ]
    verdicts = await judge.judge_round(LATER, [*honest, *cheats])
    scores = [verdict.score for verdict in verdicts]
    assert scores[0] > scores[2] > scores[3] > 0.5
    assert scores[4:] == [0.0] * len(cheats)
    copycat = verdicts[4 + BEHAVIOURS[1:].index("copycat")]
    assert "repeats the errors of miner 3" in copycat.reason
    assert all(verdict.reason for verdict in verdicts[4:])
    assert (verdicts[0].measures or {})["value_lower"] > 0.5
    for verdict, each in zip(verdicts, [*honest, *cheats], strict=True):
        assert (await judge.recheck(task, each.submission, verdict)).agrees


async def test_a_hunter_that_has_seen_everything_before_does_the_work(judge: Labelling) -> None:
    """It is paid for items it takes the trouble over: all of them, when all come back."""
    task = judge.challenge(SEED)
    pieces = await answers(task, "knn", 0, "hunter", times=2)
    (verdict,) = await judge.judge(task, [contender(1, task, pieces).submission])
    assert verdict.score > 0.85


async def test_junk_and_silence_get_a_zero_and_a_reason(judge: Labelling) -> None:
    task, other = judge.assign(SEED, 0), judge.assign(derive(b"other"), 0)
    good = await answers(task, "knn", 0)
    foreign = await answers(other, "knn", 0)
    bad: list[Any] = [[], [{"answers": "x"}], foreign, [{**good[0], "usage": {"prompt": 1, "completion": 1}}], [None]]
    contenders = [contender(1, task, good), *(contender(uid, task, pieces) for uid, pieces in enumerate(bad, 2))]
    gone = replace(contenders[0], uid=9, submission=Submission(9, [], 1.0, 1.0, b"", "no answer in 30 s"))
    verdicts = await judge.judge_round(LATER, [*contenders, gone])
    assert verdicts[0].score > 0.85
    assert [verdict.score for verdict in verdicts[1:]] == [0.0] * 6
    assert all(verdict.reason for verdict in verdicts[1:])
    assert verdicts[-1].reason == "no answer in 30 s"
    assert "another task" in verdicts[3].reason
    assert await judge.judge_round(LATER, []) == []


async def test_gold_is_drawn_after_the_answers(judge: Labelling) -> None:
    """Another later seed is other gold; the score hardly changes for honest work."""
    task = judge.assign(SEED, 0)
    work = [contender(1, task, await answers(task, "logreg", 1))]
    first, second = [(await judge.judge_round(seed, work))[0] for seed in (LATER, derive(b"another"))]
    assert first.opening != second.opening
    assert first.score == pytest.approx(second.score, abs=0.15)
    assert (await judge.judge_round(LATER, work))[0] == first


async def test_an_easier_task_than_the_rounds_is_seen(judge: Labelling, tmp_path: Path) -> None:
    """With the digits, which all validators have; of a validator's own data nobody else can tell."""
    task = judge.assign(SEED, 1)
    assert judge.is_assigned(SEED, 1, json.loads(json.dumps(task)))
    assert not judge.is_assigned(SEED, 1, {**task, "items": task["items"][:10]})
    assert not judge.is_assigned(LATER, 1, task)
    assert Labelling(tmp_path / "own.csv").is_assigned(SEED, 1, {"kind": "x"})


async def test_false_scores_are_found(judge: Labelling) -> None:
    task = judge.assign(SEED, 0)
    work = [contender(uid, task, await answers(task, by, seed)) for uid, (by, seed) in enumerate(CREW, 1)]
    guess = contender(9, task, await answers(task, "knn", 0, "guesser"))
    honest, *_, worthless = await judge.judge_round(LATER, [*work, guess])

    async def check(submission: Submission, claim: Verdict) -> tuple[bool, bool]:
        found = await judge.recheck(task, submission, claim)
        return found.agrees, found.certain

    assert await check(guess.submission, replace(worthless, score=0.9)) == (False, True)
    assert await check(work[0].submission, replace(honest, score=0.0)) == (False, False)
    invented = json.dumps({**json.loads(honest.opening), "copied": [0] * 200})
    assert await check(work[0].submission, replace(honest, score=0.0, opening=invented)) == (False, False)
    assert await check(replace(guess.submission, pieces=[]), replace(honest, score=0.5)) == (False, True)
    for junk in ("", "{", "[]", '{"seed": 7}', '{"seed": "zz"}', '{"seed": "00", "copied": [1e9]}'):
        assert await check(work[0].submission, replace(honest, opening=junk)) == (False, True), "not the round's seed"
    elsewhere = Labelling()
    await elsewhere.open("validator")
    assert (await elsewhere.recheck(task, work[0].submission, replace(honest, opening="{"))).agrees
    assert (await judge.recheck({"kind": "x"}, work[0].submission, honest)).certain


async def test_own_rows_are_mixed_with_gold(tmp_path: Path) -> None:
    """Rows that nobody knows are asked about too, and models learn from rows of their own."""
    good, bad = "superb lovely bright", "awful dull broken"
    lines = [f"{n} {word},{label}" for n in range(40) for word, label in ((good, "good"), (bad, "bad"))]
    (tmp_path / "rows.csv").write_text("text,label\n" + "\n".join([*lines, *(f"{n} {good}x," for n in range(60))]))
    validator = Labelling(tmp_path / "rows.csv", items=50, gold=0.3)
    await validator.open("validator")
    task = validator.assign(SEED, 0)
    texts = [item["text"] for item in task["items"]]
    assert sum(text.endswith("x") for text in texts) == 27
    (tmp_path / "own.csv").write_text("text,label\n" + "\n".join(f"a{line}" for line in lines))
    miner = Labelling(by="logreg", own=str(tmp_path / "own.csv"))
    await miner.open("miner")
    work = contender(1, task, [piece async for piece in miner.answer(task)])
    (verdict,) = await validator.judge_round(LATER, [work])
    assert verdict.score > 0.8
    with pytest.raises(TaskError, match="does not know the label"):
        miner.limit({**task, "labels": ["good", "bad", "odd"]})


async def test_a_model_refuses_what_it_never_learned(judge: Labelling) -> None:
    miner = Labelling()
    await miner.open("miner")
    task = judge.challenge(SEED)
    assert miner.limit(task) == Usage(300, 200)
    with pytest.raises(TaskError, match="items of one form"):
        miner.limit({**task, "items": [{"id": "1", "text": "seven"}]})


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"by": "magic"}, "Nobody called 'magic'"),
        ({"behaviour": "bad"}, "No behaviour"),
        ({"by": "people", "behaviour": "guesser"}, "People behave"),
        ({"items": 1}, "2 to 256 items"),
        ({"gold": 0}, "share of gold"),
        ({"rate": "1", "floor": "2"}, "under the market's floor"),
        ({"rate": "-1"}, "is not an amount"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        Labelling(**options)


async def test_roles_need_what_they_need(tmp_path: Path) -> None:
    idle = Labelling()
    await idle.open("gateway")
    with pytest.raises(SubnetError, match="no data"):
        idle.challenge(SEED)
    (tmp_path / "few.csv").write_text("text,label\na,x\nb,y\nc,\n")
    with pytest.raises(UsageError, match="2 labelled items"):
        await Labelling(tmp_path / "few.csv").open("validator")
    with pytest.raises(UsageError, match="no file or folder"):
        await Labelling(own="nowhere.csv").open("miner")
