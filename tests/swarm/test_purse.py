"""A purse that pays on a chain: exactly what was agreed to, once however often the run dies, within its bounds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.swarm.paying_run import CREDIT, PAID, kernel_of
from tests.swarm.small_goals import seen

from tercet.chain import Deployment, Key, Ledger, Rpc, Sender, deploy, serve
from tercet.client import Client
from tercet.errors import CapabilityError, ChainUnreachableError, GuardError, PlanError, RefusedError, TercetError
from tercet.market import JobState
from tercet.swarm.capabilities import Capabilities
from tercet.swarm.claims import Claims
from tercet.swarm.control import request
from tercet.swarm.explanation import render
from tercet.swarm.guard import Guard
from tercet.swarm.journal import Journal
from tercet.swarm.plan import parse_plan
from tercet.swarm.purse import ChainPurse
from tercet.swarm.replay import replay
from tercet.swarm.steps import run_scope, step
from tercet.swarm.tools import Toolbox
from tercet.swarm.why import explain

SHOP, THIEF = Key.from_hex("11" * 32).address, Key.from_hex("22" * 32).address
FUNDS = 100 * CREDIT


@dataclass(frozen=True)
class Bank:
    """A chain, and a wallet that has credit on it."""

    client: Client
    wallet: Key
    url: str
    deployment: Deployment
    minter: Sender

    async def balances(self) -> list[int]:
        """Of the wallet, the shop, the thief, and what is held for jobs."""
        ledger = self.client.ledger
        return [await ledger.credit.balance(who) for who in (self.wallet.address, SHOP, THIEF, ledger.jobs.address)]


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[Bank]:
    """An embedded chain with all contracts."""
    folder = tmp_path / "chain"
    async with serve(folder) as server, Rpc(server.url) as rpc:
        faucet = Sender(rpc, Key.from_hex((folder / "faucet.key").read_text()))
        ledger = Ledger(rpc, await deploy(faucet))
        wallet = Key.generate()
        await faucet.send(wallet.address, value=10**20, gas=21_000)
        await ledger.credit.mint(faucet, wallet.address, FUNDS)
        yield Bank(Client(ledger), wallet, server.url, ledger.deployment, faucet)


def box_of(bank: Bank, journal: Journal, folder: Path, *, limit: int = FUNDS, money: int = FUNDS) -> Toolbox:
    """A payer without anybody to ask: it rests on checked claims alone."""
    caps = Capabilities(money=money, people=(SHOP,))
    purse = ChainPurse(bank.client, bank.wallet, limit, journal)
    return Toolbox("buyer-1", caps, folder, Guard(Claims(journal)), purse=purse, task="t", model="m")


async def checked(box: Toolbox) -> str:
    claim = await box.claim("the shop asks for it")
    await box.claims.check_by_tool(claim.id, ok=True, by="kernel", tool="t", evidence="e")
    return claim.id


async def test_it_pays_what_is_checked_and_bounded_and_nothing_else(bank: Bank, tmp_path: Path) -> None:
    """Not on an unchecked word, not to a stranger, not beyond the run's purse; a held job is a payment too."""
    with Journal(tmp_path / "journal.db") as journal:
        box = box_of(bank, journal, tmp_path, limit=10 * CREDIT)
        good, rumour = await checked(box), (await box.claim("the shop asks 9")).id
        for refused, why in (
            (box.pay(SHOP, 9, [rumour]), GuardError),
            (box.pay(SHOP, 9, []), GuardError),
            (box.pay(THIEF, 9, [good]), CapabilityError),
            (box.pay(SHOP, 11 * CREDIT, [good]), RefusedError),
            (box.buy({"worker": THIEF, "work": "w", "market": "m"}, 9, [good]), CapabilityError),
            (box.buy({"worker": SHOP, "work": "w", "market": "nowhere"}, 9, [good]), RefusedError),
        ):
            with pytest.raises(why):
                await refused
        assert await bank.balances() == [FUNDS, 0, 0, 0]
        said = await box.pay(SHOP, 4 * CREDIT, [good])
        assert await bank.balances() == [FUNDS - 4 * CREDIT, 4 * CREDIT, 0, 0]
        receipt = await bank.client.ledger.rpc.receipt(bytes.fromhex(said.rpartition("0x")[2].rstrip(".")))
        assert receipt is not None
        assert receipt.status == 1
        with pytest.raises(RefusedError, match="6 credit left of the 10"):
            await box.pay(SHOP, 7 * CREDIT, [good])
        ledger, market = bank.client.ledger, await opened(bank)
        said = await box.buy({"worker": SHOP, "work": "Write it", "market": market}, CREDIT, [good])
        assert await bank.balances() == [FUNDS - 5 * CREDIT, 4 * CREDIT, 0, CREDIT]
        (job,) = await ledger.jobs.jobs(ledger.deployment.block)
        assert (job.terms.worker, job.terms.amount) == (SHOP, CREDIT)
        assert (await ledger.jobs.record(job.id)).state is JobState.FUNDED
        assert f"0x{job.id.hex()}" in said


async def opened(bank: Bank) -> str:
    """A market, whose validators would judge a held job."""
    from tercet.chain import MarketParams

    return await bank.client.open_market(bank.minter, "judges", MarketParams(subnet="echo"))


async def test_nothing_is_bought_while_the_chain_is_away(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked again for a while; then the money is free for the next try."""
    monkeypatch.setattr("tercet.swarm.purse._TRIES", (0.01, 0.01))
    market, find, away = await opened(bank), bank.client.find_market, [True] * 4

    async def patchy(name: str) -> Any:
        if away and away.pop():
            raise ChainUnreachableError("no chain there")
        return await find(name)

    monkeypatch.setattr(Client, "find_market", lambda _self, name: patchy(name))
    with Journal(tmp_path / "journal.db") as journal:
        box = box_of(bank, journal, tmp_path, money=CREDIT)
        good, wanted = await checked(box), {"worker": SHOP, "work": "Write it", "market": market}
        with pytest.raises(RefusedError, match="Nothing was bought: no chain there"):
            await box.buy(wanted, CREDIT, [good])
        assert box.money_left == CREDIT
        await box.buy(wanted, CREDIT, [good])
        assert away == []
    assert await bank.balances() == [FUNDS - CREDIT, 0, 0, CREDIT]


async def test_whatever_is_asked_no_credit_appears_or_is_lost(bank: Bank, tmp_path: Path) -> None:
    """Thirty drawn acts, some refused, some twice under one key: what left the wallet is what the books say, and within both bounds."""
    draw = random.Random(5)
    with Journal(tmp_path / "journal.db") as journal:
        box = box_of(bank, journal, tmp_path, limit=30 * CREDIT, money=28 * CREDIT)
        purse = ChainPurse(bank.client, bank.wallet, 30 * CREDIT, journal)
        good = await checked(box)
        supply = await bank.client.ledger.credit.total_supply()
        for _ in range(30):
            claims = [good] if draw.random() < 0.8 else []
            to = SHOP if draw.random() < 0.8 else THIEF
            try:
                await box.pay(to, draw.randrange(1, 6 * CREDIT), claims)
            except TercetError:
                continue
            if draw.random() < 0.3:  # the same again, as after a kill
                await journal.append("control", {})
                last = [e.body for e in journal.events(kinds=("tool",)) if e.body.get("charged")][-1]
                again = await purse.pay("buyer-1", SHOP, last["charged"], last["digest"])
                assert again == last["receipt"]
        await journal.append("control", {})
        charged = sum(e.body.get("charged", 0) for e in journal.events(kinds=("tool",)))
        assert await bank.balances() == [FUNDS - charged, charged, 0, 0]
        assert 20 * CREDIT < charged <= 28 * CREDIT
        assert await bank.client.ledger.credit.total_supply() == supply


async def test_what_was_paid_before_a_kill_is_booked_whatever_became_of_its_ground(bank: Bank, tmp_path: Path) -> None:
    """Its claim is found false meanwhile: the guard would refuse it now, and cannot unmake it. So for a held job."""
    with Journal(tmp_path / "journal.db") as journal:
        market = await opened(bank)
        for scope, wanted in (("t/1", None), ("t/2", {"worker": SHOP, "work": "w", "market": market})):
            said = []
            for killed in (True, False):
                box = box_of(bank, journal, tmp_path)
                good = (await box.claim(f"the shop asks for it in {scope}")).id
                await box.claims.check_by_tool(good, ok=killed, by="kernel", tool="t", evidence="e")
                noted = journal.note

                async def do(box: Toolbox = box, good: str = good, wanted: Any = wanted) -> str:
                    paid = box.buy(wanted, CREDIT, [good]) if wanted else box.pay(SHOP, CREDIT, [good])
                    return await paid

                try:
                    if killed:  # all is lost that is written after the payment
                        journal.note = lambda *_a, **_k: None  # type: ignore[method-assign,assignment]
                    async with run_scope(journal, scope):
                        if killed:
                            await lost(do)
                        else:
                            said.append(await step("pay", do))
                finally:
                    journal.note = noted  # type: ignore[method-assign]
            assert said[0].startswith("Paid 1 credit, receipt 0x")
        assert await bank.balances() == [FUNDS - 2 * CREDIT, CREDIT, 0, CREDIT]


async def lost(do: Callable[[], Awaitable[str]]) -> None:
    """A step whose end nobody wrote down."""

    class Killed(BaseException):
        pass

    async def died() -> str:
        await do()
        raise Killed

    with contextlib.suppress(Killed):
        await step("pay", died)


def bodies(run: Path, *kinds: str) -> list[Any]:
    """Of a run's events."""
    return [event.body for event in seen(run, *kinds)]


async def answered(run: Path, choice: str) -> None:
    """The person answers the first card that comes."""
    while not bodies(run, "ask.raised"):  # noqa: ASYNC110 - the run has the journal
        await asyncio.sleep(0.05)
    (card,) = [body["card"] for body in bodies(run, "ask.raised")]
    assert "pay for up to 5 credit" in card["action"]
    assert SHOP in card["action"]
    await request(run, "answer", card=card["id"], choice=choice, dwell=60)


@pytest.mark.parametrize("choice", ["yes", "no"])
async def test_a_runs_agent_pays_what_its_person_agrees_to(bank: Bank, tmp_path: Path, choice: str) -> None:
    """An unchecked wish comes before the person, with payee and amount; why tells who let it pass."""
    run = tmp_path / "run"
    kernel = kernel_of(run, bank.url, bank.deployment, bank.wallet, SHOP)
    running = asyncio.create_task(kernel.run())
    await answered(run, choice)
    outcome = await running
    assert (outcome.status, outcome.why) == ("done", "")
    paid = PAID if choice == "yes" else 0
    assert await bank.balances() == [FUNDS - paid, paid, 0, 0]
    assert [body["capabilities"]["money"] for body in bodies(run, "task.started")] == [6 * CREDIT]
    if paid:
        (tool,) = [body for body in bodies(run, "tool") if body["tool"] == "pay"]
        assert tool["charged"] == paid
        told = list(render(explain(run, tool["receipt"])))
        assert any("by the person's yes" in line for line in told), told
        (played,) = await replay(run)
        assert played.same, played
        assert await bank.balances() == [FUNDS - paid, paid, 0, 0], "a replay pays nothing"


async def test_a_payment_that_the_tasks_time_cut_off_is_told(bank: Bank, tmp_path: Path) -> None:
    """Nobody knows whether it was made, and nobody looks any more: the person has its nonce."""
    run = tmp_path / "run"

    class Slow(ChainPurse):
        async def pay(self, agent: str, to: str, amount: int, key: str) -> str:
            await asyncio.Event().wait()
            raise AssertionError

    @contextlib.asynccontextmanager
    async def slow(journal: Journal) -> AsyncIterator[ChainPurse]:
        yield Slow(bank.client, bank.wallet, FUNDS, journal)

    kernel = kernel_of(run, bank.url, bank.deployment, bank.wallet, SHOP, seconds=2)
    kernel._purse = slow
    running = asyncio.create_task(kernel.run())
    await answered(run, "yes")
    outcome = await running
    (passed,) = bodies(run, "guard.passed")
    assert outcome.status == "failed"
    assert f"5 credit may have been paid (nonce 0x{passed['digest']})" in outcome.why


@pytest.mark.slow
async def test_a_run_that_is_killed_around_a_payment_pays_once(bank: Bank, tmp_path: Path) -> None:
    """Kill -9 before it is sent, when it is sent, when it is found made, and when it is noted: one transfer, one charge."""
    run, deployment = tmp_path / "run", tmp_path / "deployment.json"
    bank.deployment.save(deployment)
    (tmp_path / "wallet").write_text(bank.wallet.secret.hex())
    arguments = [str(run), bank.url, str(deployment), str(tmp_path / "wallet"), SHOP]
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.swarm.paying_run", *arguments,
        cwd=Path(__file__).parents[2], stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, wrong = await asyncio.wait_for(child.communicate(), 120)
    assert (child.returncode, wrong.decode()) == (0, "")
    assert json.loads(said) == {"signals": [9, 9, 9, 9], "status": "done"}
    assert await bank.balances() == [FUNDS - PAID, PAID, 0, 0]
    charged = {body["digest"]: body["charged"] for body in bodies(run, "tool") if "charged" in body}
    assert list(charged.values()) == [PAID]
    assert len({body["receipt"] for body in bodies(run, "tool") if body.get("charged")}) == 1
    assert len(bodies(run, "guard.passed")) == 2, "what is made is looked up, and not let pass anew"
    assert len(bodies(run, "ask.raised")) == 1, "and the person was asked once"


def test_a_plan_says_in_form_what_its_agents_may_pay() -> None:
    """What is no amount, or no list of names, is no plan."""
    task = {"id": "t", "title": "T", "role": "assistant", "done": {"command": ["true"]}, "budget": 0}
    for options, why in (({"money": "much"}, "money"), ({"payees": SHOP}, "payees"), ({"tools": "calls"}, "tools")):
        with pytest.raises(PlanError, match=why):
            parse_plan({"goal": "g", "tasks": [{**task, "options": options}]}, budget=0)
