"""The guard: what nobody has checked reaches neither money, nor what cannot be undone, nor the shared memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tercet.errors import GuardError
from tercet.swarm.claims import Claim, Claims, Origin, Taint
from tercet.swarm.guard import Act, Approval, Guard, Reach
from tercet.swarm.journal import Journal

CLOSED = (Reach.MONEY, Reach.IRREVERSIBLE, Reach.SHARED)


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[Guard]:
    """The guard of an empty run, on a clock that stands at 1000."""
    with Journal(tmp_path / "journal.db") as journal:
        yield Guard(Claims(journal), now_ms=lambda: 1000)


def act(reach: Reach = Reach.MONEY, **arguments: object) -> Act:
    return Act("buyer-1", "pay", arguments, reach, amount=5 if reach is Reach.MONEY else 0)


async def made(guard: Guard, text: str, *, checked: bool = False) -> Claim:
    claim = await guard.claims.make(text, author="teller-1", model="m")
    if checked:
        await guard.claims.check_by_tool(claim.id, ok=True, by="kernel", tool="t", evidence="e")
    return guard.claims.known[claim.id]


@pytest.mark.parametrize("reach", CLOSED)
async def test_the_unchecked_is_refused_and_written_down(guard: Guard, reach: Reach) -> None:
    """The message names the claim, its author and the mend; the journal has the refusal."""
    claim = await made(guard, "the shop is honest")
    with pytest.raises(GuardError, match=rf"{claim.id} \('the shop is honest' by teller-1\).*checked") as caught:
        await guard.check(act(reach), [claim.id])
    assert caught.value.claims == (claim.id,)
    (event,) = guard.claims.journal.events(kinds=("guard.refused",))
    assert event.body["claims"] == [claim.id]
    assert event.actor == "buyer-1"


@pytest.mark.parametrize("reach", CLOSED)
async def test_the_checked_passes(guard: Guard, reach: Reach) -> None:
    """After exactly the mend that the refusal named."""
    claim = await made(guard, "the shop is honest")
    with pytest.raises(GuardError):
        await guard.check(act(reach), [claim.id])
    await guard.claims.check_by_tool(claim.id, ok=True, by="kernel", tool="t", evidence="e")
    await guard.check(act(reach), [claim.id])


async def test_what_an_agent_has_read_counts_too(guard: Guard) -> None:
    """Naming good claims does not launder a context, until what was read is checked."""
    good, bad = await made(guard, "good", checked=True), await made(guard, "bad")
    context = Taint(frozenset({bad.id}))
    for reach in (Reach.MONEY, Reach.IRREVERSIBLE):
        with pytest.raises(GuardError, match=bad.id):
            await guard.check(act(reach), [good.id], context)
    await guard.check(act(Reach.LOCAL), [bad.id], context)
    await guard.claims.check_by_tool(bad.id, ok=True, by="kernel", tool="t", evidence="e")
    await guard.check(act(), [good.id], context)


async def test_money_and_shared_memory_rest_on_something(guard: Guard) -> None:
    """No claim, or one that nobody made, is refused."""
    for reach in (Reach.MONEY, Reach.SHARED):
        with pytest.raises(GuardError, match="names no claim"):
            await guard.check(act(reach))
        with pytest.raises(GuardError, match="nobody made"):
            await guard.check(act(reach), ["0123"])


async def test_an_approval_is_for_one_act_once_and_for_a_time(guard: Guard) -> None:
    """Another amount, another recipient, a second use, a late use: refused."""
    wanted = act(to="shop", amount=5)
    yes = Approval(wanted.digest, "person", until_ms=2000, card="card-1", despite=guard.complaint(Reach.MONEY))
    for other in (
        act(to="shop", amount=6),
        act(to="thief", amount=5),
        Act("thief-1", "pay", wanted.arguments, Reach.MONEY),
    ):
        with pytest.raises(GuardError, match="another act"):
            await guard.check(other, approval=yes)
    with pytest.raises(GuardError, match="run out"):
        await guard.check(wanted, approval=Approval(wanted.digest, by="person", until_ms=1000))
    await guard.check(wanted, approval=yes)
    with pytest.raises(GuardError, match="used before"):
        await guard.check(wanted, approval=yes)
    (event,) = guard.claims.journal.events(kinds=("guard.passed",))
    assert (event.body["by"], event.body["card"], event.body["amount"]) == ("person", "card-1", 5)


async def test_no_approval_waves_a_claim_into_the_shared_memory(guard: Guard) -> None:
    """There it is checked or not."""
    claim = await made(guard, "x")
    wanted = act(Reach.SHARED)
    with pytest.raises(GuardError):
        await guard.check(wanted, [claim.id], approval=Approval(wanted.digest, by="person", until_ms=2000))


async def test_a_used_approval_stays_used_after_a_restart(tmp_path: Path) -> None:
    """Except for a payment that was under way: it has its key and is made once."""
    money, burn = act(to="shop"), act(Reach.IRREVERSIBLE, what="release")
    with Journal(tmp_path / "journal.db") as journal:
        guard = Guard(Claims(journal), now_ms=lambda: 1000)
        yes = [Approval(each.digest, "person", 2000, despite=guard.complaint(each.reach)) for each in (money, burn)]
        await guard.check(money, approval=yes[0])
        await guard.check(burn, approval=yes[1])
    with Journal(tmp_path / "journal.db") as journal:
        guard = Guard(Claims(journal), now_ms=lambda: 1000)
        await guard.check(money, approval=yes[0])
        for again, approval in ((money, yes[0]), (burn, yes[1])):
            with pytest.raises(GuardError, match="used before"):
                await guard.check(again, approval=approval)


async def test_with_the_guard_off_everything_passes_and_is_written_down(tmp_path: Path) -> None:
    """So that a run can tell what it would have refused."""
    with Journal(tmp_path / "journal.db") as journal:
        guard = Guard(Claims(journal), enforce=False)
        claim = await guard.claims.make("x", author="a-1", origin=Origin.EXTERNAL)
        for reach in CLOSED:
            await guard.check(act(reach), [claim.id])
        refusals = list(journal.events(kinds=("guard.refused",)))
        assert [event.body["enforced"] for event in refusals] == [False] * 3
