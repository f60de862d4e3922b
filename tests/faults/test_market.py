"""Three validators, honest miners and cheats, for some epochs, with deaths in between. All of it in processes."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from tests.faults.town import POKES, RATE, TCT, Resident, Town, until

from tercet.chain.closing import close_epoch
from tercet.chain.keys import Key
from tercet.client import ClosedEpoch
from tercet.market import FULL_ROW

pytestmark = pytest.mark.slow


async def test_a_market_pays_the_honest_through_deaths_and_cheats(town: Town) -> None:
    """Two honest miners share the pay for three epochs; a liar, and one that dies in mid-answer, earn nothing.

    One validator commits and never reveals: it earns nothing, and the others agree without it. Another one is killed
    between its commit and its reveal, and reveals when it is back. All three close each epoch at once.
    """
    judges = [await town.add_validator(f"judge-{n}") for n in (1, 2, 3)]
    honest = [await town.add_miner(f"honest-{n}") for n in (1, 2)]
    cheats = [await town.add_miner("liar", echo="liar"), await town.add_miner("deserter", echo="deserter")]
    mute = Key.generate()
    await town.fund(mute, stake=5 * TCT)
    silent_seat = await town.client.join_as_validator(town.client.sender(mute), town.market, mute.address, 5 * TCT)
    await asyncio.gather(*(resident.until_ready() for resident in town.residents))

    await town.live_through(judges, honest + cheats)
    for killed in (judges[:1], [], []):
        await town.market.commit(town.client.sender(mute), os.urandom(32))
        await town.until_asked(judges, honest + cheats)
        await town.until_committed(judges)
        for judge in killed:
            await judge.end(signal.SIGKILL)
            judge.start()
            await judge.until_ready()
        await town.until_revealed(judges)
        closed = await town.until_closed()
        assert silent_seat.vid not in closed.rows
        await only_the_honest_are_paid(town, closed, honest)
    why = {
        line["uid"]: line["reason"] for line in judges[1].reasons() if line["event"] == "score" and not line["value"]
    }
    liar, deserter = [await town.uid(cheat) for cheat in cheats]
    assert why[liar] == "the text came back changed"
    assert why[deserter]
    await books_balance(town)


async def only_the_honest_are_paid(town: Town, closed: ClosedEpoch, honest: list[Resident]) -> None:
    """Half each; the three validators that revealed share theirs; nothing is lost on the way."""
    uids = [await town.uid(miner) for miner in honest]
    assert set(closed.miners) == set(uids)
    assert set(closed.rows) == set(closed.validators) == {0, 1, 2}
    for uid in uids:
        assert 0.4 < closed.consensus[uid] / FULL_ROW < 0.6
    assert closed.to_miners + closed.to_validators + closed.refunded + closed.pokes == RATE
    assert closed.pokes == sum(closed.pokers.values()) == POKES
    assert closed.refunded < RATE // 1_000


async def books_balance(town: Town) -> None:
    """What each of the market's contracts holds is what it owes, to the last unit."""
    stakes, treasury, balance = (
        await town.market.stakes(),
        await town.market.treasury(),
        town.client.ledger.token.balance,
    )
    assert await town.market.deposits() == await balance(town.market.address)
    staked, held = await stakes.books(), await treasury.books()
    assert staked.bonded + staked.unbonding + staked.reward == await balance(stakes.address)
    assert held.owed + held.budget + held.refundable + held.carry == await balance(treasury.address)


async def test_useless_miners_send_the_reward_back(town: Town) -> None:
    """One answers junk, one never answers: the whole epoch is the sponsor's again, and both hear why.

    Then every validator is gone. Anybody closes; the whole reward of that epoch goes back as well.
    """
    judge = await town.add_validator("judge", answer_seconds=5.0)
    miners = [await town.add_miner("babbler", echo="babbler"), await town.add_miner("brooder", echo="brooder")]
    await asyncio.gather(*(resident.until_ready() for resident in town.residents))
    await town.settle_in()
    closed = await town.live_through([judge], miners[:1])
    assert (closed.to_miners, closed.to_validators, closed.refunded) == (0, 0, RATE - POKES)
    assert closed.consensus == {0: FULL_ROW}
    babbler, brooder = [await town.uid(miner) for miner in miners]

    async def both_heard() -> bool:
        return {babbler, brooder} <= {uid for epoch in range(4) for uid in judge.asked(epoch)}

    await until(both_heard, 30, "the judge did not give up on the brooder")
    reasons = {line["uid"]: line for line in judge.reasons() if line["event"] == "verdict"}
    assert (reasons[babbler]["kind"], reasons[babbler]["reason"]) == ("judged", "the text came back changed")
    assert reasons[brooder]["kind"] == "missed"
    assert "answer" in reasons[brooder]["reason"]

    assert await judge.end(signal.SIGINT) == 130
    status = await town.market.status()
    await town.jump_to(status.reveal_ends)
    anybody, another = await town.passer_by(), await town.passer_by()
    await asyncio.gather(close_epoch(town.market, anybody), close_epoch(town.market, another))
    closed = (await town.client.closed_epochs(town.market))[-1]
    assert (closed.number, closed.refunded) == (status.epoch, RATE - POKES)
    assert await (await town.market.treasury()).claim_refund(town.faucet, 0) == 3 * (RATE - POKES)
    await books_balance(town)
