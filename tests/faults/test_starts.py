"""Roles that must not start: each says why and how to mend it, and leaves nothing locked."""

from __future__ import annotations

import asyncio
import json
import signal
from dataclasses import asdict
from typing import Any

import pytest
from tests.faults.town import Resident, Town

pytestmark = pytest.mark.slow


async def ended(resident: Resident) -> tuple[int, str]:
    """The exit code and the last line of a role that does not start."""
    assert resident.process is not None
    code = await asyncio.to_thread(resident.process.wait, 40)
    return code, resident.log.splitlines()[-1]


async def restarted(town: Town, resident: Resident, **facts: Any) -> tuple[int, str]:
    """The same after it is told other facts."""
    path = town.folder / f"{resident.name}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))
    resident.start()
    return await ended(resident)


async def test_a_validator_without_a_seat_does_not_start(town: Town) -> None:
    """It says how to get one; with one it starts on the same state."""
    stranger = await town.add_validator("stranger", register=False)
    code, why = await ended(stranger)
    assert (code, why.split(":")[0]) == (1, "NotRegisteredError")
    assert "Register with: tercet validate" in why
    sender = town.client.sender(stranger.key)
    await town.client.join_as_validator(sender, town.market, stranger.key.address, 10**18)
    stranger.start()
    await stranger.until_ready()
    assert await stranger.end(signal.SIGTERM) == 0


async def test_wrong_surroundings_are_named(town: Town) -> None:
    """Other rules, one key for two purposes, no chain, another chain: each with its exit code and its mend."""
    validator = await town.add_validator("validator", echo="newer")
    code, why = await ended(validator)
    assert (code, why.split(":")[0]) == (3, "RulesMismatchError")
    assert "judges by 'echo' version 1, here is 'echo' version 2" in why

    code, why = await restarted(town, validator, echo="echo", payer=validator.key.secret.hex())
    assert (code, why.split(":")[0]) == (2, "UsageError")
    assert "would know its examiner" in why

    other = {**asdict(town.client.ledger.deployment), "chain_id": 1}
    code, why = await restarted(town, validator, payer="11" * 32, deployment=other)
    assert (code, why.split(":")[0]) == (1, "WrongChainError")
    assert "the deployment was made on 1" in why

    deployment = asdict(town.client.ledger.deployment)
    code, why = await restarted(town, validator, deployment=deployment, url="http://127.0.0.1:9")
    assert (code, why.split(":")[0]) == (4, "ChainUnreachableError")
    assert "tercet chain start" in why


async def test_a_miner_on_another_chain_does_not_start(town: Town) -> None:
    """It would sign answers for vouchers that nobody honours."""
    miner = await town.add_miner("miner")
    await miner.until_ready()
    assert await miner.end(signal.SIGINT) == 130
    other = {**asdict(town.client.ledger.deployment), "chain_id": 1}
    code, why = await restarted(town, miner, deployment=other)
    assert (code, why.split(":")[0]) == (1, "WrongChainError")
    code, why = await restarted(town, miner, url="http://127.0.0.1:9")
    assert (code, why.split(":")[0]) == (4, "ChainUnreachableError")
