"""The mechanism as the roles use it: tasks out, answers in, rounds judged."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tercet.errors import StateLockedError, SubnetError, TaskError, UsageError
from tercet.market import Task, Verdict
from tercet.subnets import Auditable, Contender, Contest, Mechanism, Prepared, Submission
from tercet.subnets.training import Training
from tercet.subnets.training.curve import CURVE, note_loss, read_losses

SMALL: dict[str, Any] = {"model": "nano", "steps": 6, "batch": 8}


class Hall:
    """A validator, miners, and what passes between them."""

    def __init__(self, folder: Path, text: Path) -> None:
        self.folder, self.text = folder, text
        self.stack = AsyncExitStack()

    async def open(self, role: Any, **options: Any) -> Training:
        mechanism = Training(**{**SMALL, "corpus": str(self.text), **options})
        await mechanism.open(role)
        self.stack.push_async_callback(mechanism.close)
        return mechanism

    async def validator(self, name: str = "validator", **options: Any) -> Training:
        return await self.open("validator", folder=self.folder / name, serve="127.0.0.1:0", **options)

    async def miner(self, validator: Training, **options: Any) -> Training:
        return await self.open("miner", **{"store": validator.store_url, **options})

    async def round(self, validator: Training, miners: Sequence[Training], number: int) -> list[Contender]:
        """Everybody's answer to the round."""
        await validator.begin(number)
        contenders = []
        for uid, miner in enumerate(miners, start=1):
            task = validator.assign(bytes([number]) * 32, uid)
            contenders.append(contend(uid, task, await answer(miner, task)))
        return contenders


async def answer(miner: Training, task: Task) -> list[Any]:
    return [piece async for piece in miner.answer(task)]


def contend(uid: int, task: Task, pieces: Sequence[Any]) -> Contender:
    return Contender(uid, 1, task, Submission(uid, pieces, 0.1, 0.1, b"signature %d" % uid))


@pytest.fixture
async def hall(tmp_path: Path, text: Path) -> AsyncIterator[Hall]:
    built = Hall(tmp_path, text)
    async with built.stack:
        yield built


def judged(number: int) -> bytes:
    return bytes([100 + number]) * 32


async def test_rounds_go_on_and_the_model_is_there_for_everybody(hall: Hall, tmp_path: Path) -> None:
    validator = await hall.validator()
    miners = [await hall.miner(validator) for _ in range(3)]
    assert isinstance(validator, Mechanism)
    assert isinstance(validator, Contest)
    assert isinstance(validator, Prepared)
    assert isinstance(validator, Auditable)
    for number in range(6):
        contenders = await hall.round(validator, miners, number)
        assert contenders[0].task["round"] == number
        usage = contenders[0].submission.pieces[0]["usage"]
        assert usage == {"prompt": 0, "completion": validator.limit(contenders[0].task).completion}
        verdicts = await validator.judge_round(judged(number), contenders)
    assert max(verdict.score for verdict in verdicts) > 0.3
    assert all((verdict.measures or {})["gain"] > 0 for verdict in verdicts)
    model = load_file(tmp_path / "validator" / "store" / "model.safetensors")
    assert model["bytes.weight"].shape == (256, 48)


def test_the_curve_has_each_round_once(tmp_path: Path) -> None:
    """A validator that begins anew measures the checkpoint where it stands again; one that follows others takes theirs."""
    path = tmp_path / CURVE
    assert read_losses(path) == []
    for number, checkpoint, loss in ((0, "a", 5.5), (1, "b", 5.0), (1, "b", 5.0), (1, "c", 4.9), (2, "d", 4.0)):
        note_loss(path, number, checkpoint, loss)
    assert read_losses(path) == [5.5, 4.9, 4.0]
    assert len(path.read_text().splitlines()) == 5


async def test_a_latecomer_and_a_text_of_ones_own_are_no_obstacle(hall: Hall, tmp_path: Path) -> None:
    """Checkpoint and text come from the validator's store, known by their hashes."""
    validator = await hall.validator()
    early = await hall.miner(validator)
    for number in range(3):
        await validator.judge_round(judged(number), await hall.round(validator, [early], number))
    losses = read_losses(tmp_path / "validator" / CURVE)
    assert len(losses) == 4
    assert losses[0] == pytest.approx(math.log(256), abs=0.3), "an untrained model knows nothing of bytes"
    assert losses[-1] < losses[0] - 0.1
    (tmp_path / "other.txt").write_text("another text " * 20_000)
    late = await hall.miner(validator, corpus=str(tmp_path / "other.txt"))
    task = validator.assign(bytes(32), 1)
    assert await answer(late, task)


async def test_two_validators_are_told_the_same_and_stay_together(hall: Hall) -> None:
    one, two = await hall.validator("one"), await hall.validator("two")
    miner = await hall.miner(one)
    for number in range(2):
        for validator in (one, two):
            await validator.begin(number)
        task = one.assign(bytes([number]) * 32, 1)
        assert two.assign(bytes([number]) * 32, 1) == task
        first, again = await answer(miner, task), await answer(miner, task)
        assert first == again
        for validator in (one, two):
            await validator.judge_round(judged(number), [contend(1, task, first)])
    assert one.assign(bytes(32), 1) == two.assign(bytes(32), 1)


async def test_a_validator_that_got_fewer_answers_follows_the_others(hall: Hall) -> None:
    one, two = await hall.validator("one"), await hall.validator("two")
    third = await hall.validator("three", peers=f"{one.store_url},{two.store_url}", sync_seconds=0.1)
    miners = [await hall.miner(one) for _ in range(2)]
    contenders = await hall.round(one, miners, 0)
    for validator, seen in ((one, contenders), (two, contenders), (third, contenders[:1])):
        await validator.judge_round(judged(0), seen)
    assert third.assign(bytes(32), 1) != one.assign(bytes(32), 1)
    await third.begin(1)
    assert third.assign(bytes(32), 1) == one.assign(bytes(32), 1)


async def test_a_restart_between_judging_and_committing_changes_nothing(hall: Hall) -> None:
    """The same round with the same seed has the same verdicts, and the model takes no second step."""
    validator = await hall.validator()
    contenders = await hall.round(validator, [await hall.miner(validator) for _ in range(2)], 0)
    verdicts = await validator.judge_round(judged(0), contenders)
    task = validator.assign(bytes(32), 1)
    await validator.close()
    again = await hall.validator()
    assert await again.judge_round(judged(0), contenders) == verdicts
    assert again.assign(bytes(32), 1) == task


async def test_a_miner_that_was_restarted_goes_on_with_what_it_knew(hall: Hall, tmp_path: Path) -> None:
    validator = await hall.validator()
    steady, shaky = await hall.miner(validator), await hall.miner(validator, folder=tmp_path / "miner")
    first = validator.assign(bytes(32), 1)
    assert await answer(steady, first) == await answer(shaky, first)
    await validator.judge_round(judged(0), [contend(1, first, await answer(steady, first))])
    back = await hall.miner(validator, folder=tmp_path / "miner")
    second = validator.assign(bytes(32), 1)
    assert await answer(back, second) == await answer(steady, second)


BAD: list[tuple[list[Any], str]] = [
    ([], "one piece"),
    (["update"], "one piece"),
    ([{"update": "x"}, {}], "one piece"),
    ([{"update": None}], "string of base64"),
    ([{"update": "AAAA"}], "zlib"),
    ([{"update": 1e999}], "string of base64"),
    ([{}], "string of base64"),
]


async def test_what_strangers_send_is_worth_nothing_and_stops_nothing(hall: Hall) -> None:
    validator = await hall.validator()
    miner = await hall.miner(validator)
    contenders = await hall.round(validator, [miner], 0)
    task = contenders[0].task
    contenders += [contend(uid, task, pieces) for uid, (pieces, _) in enumerate(BAD, start=2)]
    silent = Submission(90, [], 1.0, 1.0, b"", "no answer in 30 s")
    contenders.append(Contender(90, 1, task, silent))
    verdicts = await validator.judge_round(judged(0), contenders)
    assert (verdicts[0].measures or {})["gain"] > 0, "the honest one is measured beside all that"
    for verdict, (_, why) in zip(verdicts[1:], BAD, strict=False):
        assert verdict.score == 0
        assert why in verdict.reason
    assert verdicts[-1] == Verdict(0.0, "no answer in 30 s")
    assert validator.assign(bytes(32), 1)["round"] == 1


async def test_an_answer_to_anothers_task_is_a_copy(hall: Hall) -> None:
    validator = await hall.validator()
    contenders = await hall.round(validator, [await hall.miner(validator) for _ in range(2)], 0)
    theirs = validator.assign(bytes(32), 3)
    contenders.append(contend(3, theirs, contenders[0].submission.pieces))
    verdicts = await validator.judge_round(judged(0), contenders)
    assert verdicts[2].score == 0
    assert "copy of miner 1's" in verdicts[2].reason


async def test_an_audit_finds_what_the_judge_found_and_nothing_else(hall: Hall) -> None:
    """Scores, gains and openings that were made up are found; another validator's honest ones never are."""
    one, two = await hall.validator("one"), await hall.validator("two")
    miners = [await hall.miner(one) for _ in range(3)]
    for number in range(6):
        contenders = await hall.round(one, miners, number)
        contenders.append(contend(4, one.assign(bytes([number]) * 32, 4), contenders[0].submission.pieces))
        verdicts = await one.judge_round(judged(number), contenders)
        await two.judge_round(judged(number), contenders)
        for contender, verdict in zip(contenders, verdicts, strict=True):
            found = await two.recheck(contender.task, contender.submission, verdict)
            assert found.agrees, (found, verdict)
    best = max(range(len(verdicts)), key=lambda index: verdicts[index].score)
    task, submission, honest = contenders[best].task, contenders[best].submission, verdicts[best]
    opening = json.loads(honest.opening)
    assert honest.score > 0.3

    async def certain(score: float, **changes: Any) -> bool:
        claimed = Verdict(score, "", None, json.dumps({**opening, **changes}))
        found = await two.recheck(task, submission, claimed)
        assert not found.agrees
        return found.certain

    assert await certain(0.0)
    assert await certain(honest.score, gain=opening["gain"] + 0.1)
    assert await certain(honest.score, proof=opening["proof"] + 2)
    assert await certain(0.0, flaw="I do not like it")
    assert not await certain(honest.score, peers=["0" * 64])
    for junk in ("", "{", "[]", "{}", json.dumps({**opening, "seed": 7}), json.dumps({**opening, "gain": "NaN"})):
        found = await two.recheck(task, submission, Verdict(honest.score, "", None, junk))
        assert not found.agrees


async def test_an_audit_of_an_answer_that_is_none(hall: Hall) -> None:
    validator = await hall.validator()
    task, junk = validator.assign(bytes(32), 1), Submission(1, [{"update": "x"}], 0.1, 0.1, b"")
    assert (await validator.recheck(task, junk, Verdict(0.0, "junk"))).agrees
    assert (await validator.recheck(task, junk, Verdict(0.7, ""))).certain
    assert (await validator.recheck({"kind": "?"}, junk, Verdict(0.7, ""))).certain


async def test_a_single_answer_can_be_bought_and_judged(hall: Hall) -> None:
    validator = await hall.validator()
    miner = await hall.miner(validator)
    task = validator.challenge(b"\x01" * 32)
    assert task == validator.challenge(b"\x01" * 32) != validator.challenge(b"\x02" * 32)
    good = Submission(1, await answer(miner, task), 0.1, 0.1, b"signature")
    flipper = await hall.miner(validator, behaviour="flipper")
    bad = Submission(2, await answer(flipper, task), 0.1, 0.1, b"signature")
    verdicts = await validator.judge(task, [good, bad])
    assert verdicts[0].score > 0 == verdicts[1].score
    assert validator.assign(bytes(32), 1)["round"] == 0


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"model": "tiny"}, "market's model is 'tiny', this miner's 'nano'"),
        ({"rank": 4}, "market's rank is 4"),
        ({"base": "b" * 64}, "market's base is"),
        ({"fraction": 64}, "market's fraction is 64"),
    ],
)
async def test_a_miner_refuses_what_its_owner_did_not_install(changes: Any, why: str, hall: Hall) -> None:
    validator = await hall.validator()
    miner = await hall.miner(validator)
    task = validator.assign(bytes(32), 1)
    with pytest.raises(TaskError, match=why):
        await answer(miner, {**task, "rules": {**task["rules"], **changes}})


async def test_a_checkpoint_that_nobody_has_is_an_error_that_says_where_to_look(hall: Hall) -> None:
    validator = await hall.validator()
    miner = await hall.miner(validator, store="http://127.0.0.1:1")
    task = {**validator.assign(bytes(32), 1), "checkpoint": "0" * 64, "round": 3}
    with pytest.raises(SubnetError, match="-o store="):
        await answer(miner, task)


async def test_whoever_asks_beside_the_market_does_not_spoil_the_next_round(hall: Hall) -> None:
    """Adam's state goes on from one of the round's answers, not from all of them one after the other."""
    validator = await hall.validator()
    busy, quiet = await hall.miner(validator), await hall.miner(validator)
    task = validator.assign(bytes(32), 1)
    await answer(busy, validator.assign(b"buyer" + bytes(27), 1))
    assert await answer(busy, task) == await answer(quiet, task)


@pytest.mark.parametrize(
    "options",
    [
        {"behaviour": "saint"},
        {"parallel": "prayer"},
        {"steps": 0},
        {"model": "os; rm"},
        {"rate": 9},
        {"batch": "many"},
    ],
)
def test_options_that_make_no_sense_are_refused_at_once(options: Any) -> None:
    with pytest.raises((UsageError, TaskError)):
        Training(**options)


async def test_a_validator_needs_a_folder() -> None:
    with pytest.raises(UsageError, match="-o folder=DIR"):
        await Training("nano").open("validator")


async def test_roles_do_what_they_are_for(hall: Hall) -> None:
    validator = await hall.validator()
    miner, gateway = await hall.miner(validator), await hall.open("gateway")
    task = validator.assign(bytes(32), 1)
    assert gateway.limit(task).completion == 6 * 8 * 64
    assert gateway.price().charge(gateway.limit(task)) > 0
    with pytest.raises(SubnetError, match="Only a miner trains"):
        await answer(validator, task)
    with pytest.raises(SubnetError, match="Only a validator judges"):
        miner.assign(bytes(32), 1)


async def test_another_process_in_the_folder_is_noticed(hall: Hall) -> None:
    await hall.validator()
    with pytest.raises(StateLockedError, match="-o folder="):
        await hall.validator()


def test_the_class_is_there_without_torch() -> None:
    """Entry points are loaded to list them; and without the extra the mend is in the message."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import asyncio\n"
        "from tercet.subnets.training import Training\n"
        "try: asyncio.run(Training('nano').open('miner'))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "SubnetError" in done.stdout
    assert "pip install 'tercet[training]'" in done.stdout
