"""A market for code on a real chain: an honest miner and a cheat, challenged, judged, audited, turned into a row."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import pytest

from tercet.chain import MarketParams
from tercet.market import Verdict
from tercet.nodes.directory import MinerEntry
from tercet.nodes.examiner import Examiner
from tercet.nodes.scores import Finding, decide
from tercet.subnets.coding import Coding

from .stage import PRICE, Stage, Town

BEACONS = (4, 9, 10)
"""Of programs that are mended within seconds: here the ways of the money are tried, not the search."""


@pytest.mark.slow
async def test_a_validator_pays_for_fixes_and_not_for_tricks(stage: Stage) -> None:
    """Everything is real: the chain, the channels, the sandbox, the public programs."""
    ledger, faucet = stage.ledger, stage.faucet
    await ledger.token.approve(faucet, ledger.registry.address)
    params = MarketParams("coding", commit_seconds=60, reveal_seconds=60, max_price=10**18)
    market = await ledger.registry.open_market(faucet, ledger.token.address, "Code", params)
    town: Town = replace(stage.town, market=market)
    stage = Stage(town, ledger, stage.folder)
    judge, other = Coding(libraries=0.0, stock=0), Coding(libraries=0.0, stock=0)
    findings: list[Finding] = []
    async with contextlib.AsyncExitStack() as stack:
        for mechanism in (judge, other):
            await mechanism.open("validator")
            stack.push_async_callback(mechanism.close)
        buyer = await stack.enter_async_context(stage.buyer(deposit=1_000_000))
        entries = [
            await _miner(stage, stack, uid, behaviour)
            for uid, behaviour in ((1, "honest"), (2, "hardcoder"), (3, "exiter"))
        ]
        examiner = Examiner(judge, buyer, answer_seconds=90, judge_seconds=60, keep=True)
        tasks = [await asyncio.to_thread(judge.challenge, bytes([beacon]) * 32) for beacon in BEACONS]
        for entry in entries:
            for task in tasks:
                response = await examiner.ask(examiner.pose(entry, PRICE, task))
                assert response is not None
                finding = await examiner.judge(entry, response)
                assert finding is not None
                assert finding.kind == "judged"
                findings.append(finding)
                found = await other.recheck(response.task, response.submission, _claimed(finding))
                assert found.agrees, found.reason
    decision = decide(findings, {1: 1, 2: 1, 3: 1})
    value = {score.uid: score.value for score in decision.scores}
    assert value[1] > 20 * value[2] > 0
    assert value[3] == 0
    assert decision.row[1] > 0.9 * (sum(decision.row) - decision.row[0])


async def _miner(stage: Stage, stack: contextlib.AsyncExitStack, uid: int, behaviour: str) -> MinerEntry:
    mechanism = Coding(behaviour=behaviour, seconds=60)  # type: ignore[arg-type]
    await mechanism.open("miner")
    stack.push_async_callback(mechanism.close)
    config = stage.config(await stage.key(), f"miner-{uid}", mechanism)
    _, entry = await stack.enter_async_context(stage.miner(config))
    return replace(entry, uid=uid)


def _claimed(finding: Finding) -> Verdict:
    """The verdict as an auditor gets it: the score of the log, the opening of the package."""
    return Verdict(finding.verdict.score, "", None, finding.verdict.opening)
