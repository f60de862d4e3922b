"""The judge with the real model: honest miners pass, cheats do not, junk scores 0 with a reason."""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tercet.errors import SubnetError, TaskError
from tercet.market import Task, Verdict
from tercet.subnets import Submission
from tercet.subnets.inference import Inference
from tercet.subnets.inference.judge import Rules, speed_score
from tercet.subnets.inference.rogues import Behaviour
from tercet.subnets.inference.serve import ModelServer
from tercet.subnets.inference.tasks import ChatTask, parse_task

pytestmark = pytest.mark.model
CONTEXT = 1024


async def submit(miner: Inference, task: Task) -> Submission:
    """One answer, signed and timed."""
    begun, first, pieces = time.perf_counter(), 0.0, []
    async for piece in miner.answer(task):
        first = first or time.perf_counter() - begun
        pieces.append(piece)
    return Submission(1, pieces, first, time.perf_counter() - begun, sign(repr(pieces)))


def sign(what: str) -> bytes:
    """In a signature's place: always the same, since with the judge's salt it draws the tokens that are checked."""
    return hashlib.sha512(what.encode()).digest() + b"\x1b"


@pytest.fixture
async def judge(smol: Path) -> AsyncIterator[Inference]:
    validator = Inference("smol", context=CONTEXT)
    await validator.open("validator")
    assert validator._judge is not None
    validator._judge._salt = bytes(32)
    yield validator
    await validator.close()


async def answers(behaviour: Behaviour, tasks: Sequence[Task], *, at_once: int = 1) -> list[Submission]:
    """What a miner of this behaviour sends."""
    miner = Inference("smol", behaviour=behaviour, context=CONTEXT)
    await miner.open("miner")
    try:
        found: list[Submission] = []
        for start in range(0, len(tasks), at_once):
            found += await asyncio.gather(*(submit(miner, task) for task in tasks[start : start + at_once]))
        return found
    finally:
        await miner.close()


async def verdicts(judge: Inference, tasks: Sequence[Task], submissions: Sequence[Submission]) -> list[Verdict]:
    """One for each task."""
    return [(await judge.judge(task, [each]))[0] for task, each in zip(tasks, submissions, strict=True)]


def challenges(judge: Inference, count: int) -> list[Task]:
    """Real ones, made a little shorter."""
    drawn = [judge.challenge(f"test {index}".encode()) for index in range(count)]
    return [{**task, "max_tokens": min(task["max_tokens"], 20)} for task in drawn]


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_honest_miners_pass_and_liars_and_cachers_do_not(judge: Inference) -> None:
    """Twelve challenges each: no overlap, and reasons that say what happened."""
    tasks = challenges(judge, 12)
    honest = await verdicts(judge, tasks, await answers("honest", tasks, at_once=2))
    liar = await verdicts(judge, tasks, await answers("liar", tasks))
    cacher = await verdicts(judge, tasks, await answers("cacher", tasks))
    assert [verdict.reason for verdict in honest] == [""] * 12
    assert min(verdict.score for verdict in honest) > 0
    assert [verdict.score for verdict in liar + cacher] == [0.0] * 24
    worst = max((verdict.measures or {})["max_dlogp"] for verdict in honest)
    assert worst < 0.5 < min((verdict.measures or {})["max_dlogp"] for verdict in liar + cacher)
    reasons = " ".join(verdict.reason for verdict in liar)
    assert "from smol (tolerance 0.50): another model answered" in reasons


async def test_an_answer_to_another_seed_is_recognised(judge: Inference) -> None:
    """Right text, right log-probabilities, wrong seed: kept from an earlier buyer."""
    tasks = [{**task, "temperature": 1.0} for task in challenges(judge, 3)]
    earlier = [{**task, "seed": task["seed"] + 1} for task in tasks]
    replayed = (await answers("replayer", [*earlier, *tasks]))[3:]
    found = await verdicts(judge, tasks, replayed)
    assert [verdict.score for verdict in found] == [0.0] * 3
    assert all("not the one the seed draws from smol" in verdict.reason for verdict in found)
    assert all(verdict.score > 0 for verdict in await verdicts(judge, earlier, replayed))


async def test_true_logprobs_of_a_foreign_text_do_not_help(judge: Inference) -> None:
    """A forger has the promised model read another model's text; the seed would have drawn other tokens."""
    task = challenges(judge, 1)[0]
    foreign = (await answers("liar", [task]))[0]
    forged = await _forge(judge, task, foreign)
    (verdict,) = await judge.judge(task, [forged])
    assert verdict.score == 0
    assert verdict.reason


async def _forge(judge: Inference, task: Task, foreign: Submission) -> Submission:
    server, parsed = judge._server, parse_task(task)
    assert isinstance(server, ModelServer)
    assert isinstance(parsed, ChatTask)
    tokens = await server.encode_chat(parsed.messages)
    pieces: list[dict[str, Any]] = []
    async with server.seat() as seat:
        for piece in foreign.pieces:
            pairs = []
            for token, logprob in piece["tokens"]:
                ranked = {candidate.token: candidate.logprob for candidate in await seat.rank(tokens)}
                pairs.append([token, ranked.get(token, logprob)])
                tokens.append(token)
            pieces.append({**piece, "tokens": pairs})
    return replace(foreign, pieces=pieces)


async def test_another_judge_comes_to_the_same_and_sees_false_verdicts(judge: Inference) -> None:
    """With the opened salt it checks the same tokens: true claims stand, turned ones are certain mismatches."""
    (task,) = challenges(judge, 1)
    behaviours: tuple[Behaviour, ...] = ("honest", "liar")
    for behaviour in behaviours:
        (answer,) = await answers(behaviour, [task])
        (claimed,) = await judge.judge(task, [answer])
        assert (await judge.recheck(task, answer, claimed)).agrees, behaviour
        turned = replace(claimed, score=0.0 if claimed.score else 0.9)
        found = await judge.recheck(task, answer, turned)
        assert (found.agrees, found.certain) == (False, True), behaviour
    (answer,) = await answers("honest", [task])
    (claimed,) = await judge.judge(task, [answer])
    slower = await judge.recheck(task, replace(answer, total_seconds=answer.total_seconds * 40), claimed)
    assert "its own times make" in slower.reason
    unopened = await judge.recheck(task, answer, replace(claimed, opening=""))
    assert (unopened.agrees, unopened.certain) == (False, False)
    malformed = await judge.recheck({"kind": "chat"}, answer, claimed)
    assert malformed.certain


async def test_equal_answers_share_the_work_and_pass_together(judge: Inference) -> None:
    """Honest miners with the same seed say the same; that is no copy."""
    tasks = challenges(judge, 1)
    (answer,) = await answers("honest", tasks)
    others = [replace(answer, uid=uid, evidence=sign(f"miner {uid}")) for uid in (1, 2, 3)]
    assert judge._judge is not None
    found = await judge.judge(tasks[0], others)
    assert all(verdict.score > 0 for verdict in found)
    assert judge._judge.ranked <= 3 * 11
    tokens = sum(len(piece["tokens"]) for piece in answer.pieces)
    assert judge._judge.ranked <= tokens


async def test_tampered_answers_are_worth_nothing(judge: Inference) -> None:
    """Each with its own reason; the untouched one beside them passes."""
    task = {**challenges(judge, 1)[0], "max_tokens": 12, "stop": []}
    (good,) = await answers("honest", [task])
    *body, last = [dict(piece) for piece in good.pieces]
    tampered = {
        "do not spell": [{**body[0], "text": "Better: "}, *body[1:], last],
        "charged for": [*body, {**last, "usage": {**last["usage"], "prompt": 999}}],
        "ended for length": [*body[:-1], {**last, "usage": {**last["usage"], "completion": len(body) - 1}}],
        "claims to have ended": [*body, {**last, "finish": "stop" if last["finish"] == "length" else "length"}],
        "outside the vocabulary": [{**body[0], "tokens": [[10**9, -1.0]]}, *body[1:], last],
        "lacks its text": ["\udcff", *body[1:], last],
    }
    found = await judge.judge(task, [good, *(replace(good, pieces=pieces) for pieces in tampered.values())])  # type: ignore[arg-type]
    assert found[0].score > 0
    for reason, verdict in zip(tampered, found[1:], strict=True):
        assert verdict.score == 0
        assert reason in verdict.reason


async def test_going_on_after_the_end_of_the_turn_is_not_paid(judge: Inference) -> None:
    """Tokens after the model's own end would be billed for nothing."""
    server = judge._server
    assert server is not None
    task = {"kind": "chat", "messages": [{"role": "user", "content": "Say yes."}], "max_tokens": 3, "seed": 1}
    prompt = len(await server.encode_chat(task["messages"]))  # type: ignore[arg-type]
    end = (await server.encode("<|im_end|>"))[0]
    pieces = [{"text": "Yes", "tokens": [[5, -0.1], [end, -0.1], [5, -0.1]], "finish": "length", "usage": {"prompt": prompt, "completion": 3}}]  # fmt: skip
    (verdict,) = await judge.judge(task, [Submission(1, pieces, 0.1, 0.2, b"e")])
    assert verdict == Verdict(0.0, "the answer went on after the end of its turn")


async def test_an_answer_cut_short_is_recognised(judge: Inference) -> None:
    """An end of turn where the model would have gone on."""
    task = {**challenges(judge, 1)[0], "max_tokens": 24, "stop": []}
    server = judge._server
    assert server is not None
    (good,) = await answers("honest", [task])
    end = (await server.encode("<|im_end|>"))[0]
    kept = [dict(piece) for piece in good.pieces[:6]]
    usage = {"prompt": good.pieces[-1]["usage"]["prompt"], "completion": 7}
    cut = [*kept, {"text": "", "tokens": [[end, -0.2]], "finish": "stop", "usage": usage, "model": "smol"}]
    (verdict,) = await judge.judge(task, [replace(good, pieces=cut)])
    assert verdict.score == 0
    assert "another model answered, or they were made up" in verdict.reason


async def test_no_answer_keeps_its_own_reason(judge: Inference) -> None:
    """What the validator noted, word for word."""
    found = await judge.judge(challenges(judge, 1)[0], [Submission(4, [], 0, 0, b"", "no answer within 30 s")])
    assert found == [Verdict(0.0, "no answer within 30 s")]


async def test_a_malformed_task_is_the_validators_own_fault(judge: Inference) -> None:
    """Nobody gets a zero for it."""
    with pytest.raises(TaskError):
        await judge.judge({"kind": "chat"}, [])


async def test_only_an_open_validator_judges(judge: Inference) -> None:
    """Said plainly."""
    task = challenges(judge, 1)[0]
    with pytest.raises(SubnetError, match="not open"):
        await Inference("smol").judge(task, [])


def test_a_right_answer_is_worth_what_its_speed_is_up_to_the_target() -> None:
    """Never nothing, and in proportion: three names on one machine are worth one."""
    rules = Rules("smol", tokens_per_second=20, first_seconds=1.5)
    slow = speed_score(rules, {"tokens_per_second": 0.01, "first_seconds": 900})
    fast = speed_score(rules, {"tokens_per_second": 1e6, "first_seconds": 0})
    middle = speed_score(rules, {"tokens_per_second": 10, "first_seconds": 3})
    third = speed_score(rules, {"tokens_per_second": 20 / 3, "first_seconds": 4.5})
    assert slow == pytest.approx(0.02, abs=0.001)
    assert fast == pytest.approx(1.0)
    assert math.isclose(middle, 0.02 + 0.98 / 2)
    assert 3 * third < 1.05
