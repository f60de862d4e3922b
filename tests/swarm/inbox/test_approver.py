"""What the guard refuses can be let pass by the person, for the exact act, through the inbox."""

from __future__ import annotations

import asyncio

import pytest

from tercet.errors import GuardError
from tercet.swarm.claims import Claims
from tercet.swarm.guard import Act, Guard, Reach
from tercet.swarm.inbox import InboxApprover, Scope

from .conftest import CREDIT, HOUR, Office

PAY = Act("payer-1", "pay", {"to": "0xab"}, Reach.MONEY, "buy", 2 * CREDIT)


async def test_a_yes_opens_the_guard_for_one_act(office: Office) -> None:
    """The card tells the amount; another act needs another yes."""
    guard = Guard(Claims(office.inbox.journal), now_ms=lambda: int(office.clock.now() * 1000))
    approver = InboxApprover(office.inbox, "run/payers/payer-1")
    asked = asyncio.create_task(approver.approve(PAY, guard.complaint(Reach.MONEY)))
    await office.settle()
    (item,) = office.inbox.queue().items
    assert item.top.action == 'pay for up to 2 credit: {"to": "0xab"}'
    assert (item.top.kind, item.top.loss, item.top.default) == ("money", 2 * CREDIT, "no")
    await office.inbox.answer(item.id, "yes", dwell=4)
    approval = await asked
    assert approval is not None
    await guard.check(PAY, approval=approval)
    with pytest.raises(GuardError, match="another act"):
        await guard.check(Act("payer-1", "pay", {"to": "0xcd"}, Reach.MONEY, "buy", 2 * CREDIT), approval=approval)


async def test_a_no_is_none(office: Office) -> None:
    """And silence is a no where money is concerned."""
    approver = InboxApprover(office.inbox, "run/payers/payer-1", patience=60)
    asked = asyncio.create_task(approver.approve(PAY, ""))
    await office.settle()
    await office.clock.wind(61)
    assert await asked is None


async def test_a_policy_pays_small_sums(office: Office) -> None:
    """Up to its bounds, without asking; what cannot be undone asks all the same."""
    await office.inbox.make_policy(Scope("money", 3 * CREDIT, office.clock.now() + HOUR))
    approver = InboxApprover(office.inbox, "run/payers/payer-1")
    assert await approver.approve(PAY, "") is not None
    publish = Act("payer-1", "publish", {}, Reach.IRREVERSIBLE)
    asked = asyncio.create_task(approver.approve(publish, ""))
    await office.settle()
    assert not asked.done()
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
