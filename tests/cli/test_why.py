"""`tercet why`: from a file, a receipt or a payment back to the person, from a journal that is verified first."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from tests.chain.conftest import run_embedded
from tests.chain.test_escrow import MINER, PAYER, config_of

from tercet.chain import Ledger, deploy, sign_voucher
from tercet.client import Client
from tercet.market import Receipt
from tercet.nodes.budgets import Budgets
from tercet.nodes.gateway_keys import create_key, gateway_db
from tercet.swarm.claims import Claims, Origin
from tercet.swarm.guard import Act, Guard, Reach
from tercet.swarm.journal import Journal
from tercet.swarm.why import explain

OPERATOR = "0x" + "ab" * 20
CONTENT = b"def add(a, b):\n    return a + b\n"
PLAN = {
    "goal": "g",
    "tasks": [
        {
            "id": "fix",
            "title": "Mend add",
            "role": "coder",
            "crew": "repair",
            "budget": 5,
            "done": {"command": ["python3", "t.py"]},
        }
    ],
}


async def record(folder: Path, dir_: Path, operator: str = OPERATOR) -> None:
    """A run as the kernel writes it: a goal, a policy, a task, two calls, claims, a payment, a file."""
    with Journal(folder / "journal.db") as journal:
        claims = Claims(journal)
        note = journal.note
        note(
            "run.started",
            {
                "goal": "Mend the sum\x1b[2J",
                "dir": str(dir_),
                "budget": 5_000_000,
                "gateway": "local",
                "model": "small",
            },
        )
        note("run.planned", {"plan": PLAN, "by": "planner-1"})
        note("run.approved", {"digest": "d", "by": "person"}, actor="person")
        note("policy.made", {"policy": {"id": "p1", "kind": "money", "choice": "yes", "up_to": 50, "by": "person"}})
        note("agent.started", {"agent": "coder-1", "role": "coder", "kind": "foreign", "crew": "repair", "model": "small",
                               "developer": "mini-swe-agent.org", "capabilities": {"read": ["**"], "money": 10}})  # fmt: skip
        note("task.started", {"attempt": 1, "agent": "coder-1"}, task="fix")
        for number, upstream in enumerate(
            ({"receipt": "market-receipt-1", "miner": 3, "operator": operator}, {"name": "local"})
        ):
            note("call", {"id": f"call-{number}aaaaaaa", "agent": "run/repair/coder-1", "task": "fix", "model": "small",
                          "status": "complete", "prompt": 10, "completion": 5, "charged": 1000 + number, "upstream": upstream},
                 actor="coder-1", task="fix")  # fmt: skip
        good = await claims.make("add is wrong", author="coder-1", model="small", task="fix")
        await claims.check_by_tool(good.id, ok=True, by="kernel", tool="tests: python3 t.py", evidence="e", task="fix")
        rumour = await claims.make(
            "what a.txt says", author="file a.txt", origin=Origin.EXTERNAL, sources=["a.txt@sha256:1"]
        )
        note(
            "tool",
            {"agent": "coder-1", "tool": "read_file", "digest": "x", "ok": True, "read": [rumour.id]},
            actor="coder-1",
            task="fix",
        )
        act = Act("coder-1", "pay", {"to": "shop"}, Reach.MONEY, "fix", 7)
        await Guard(claims).check(act, [good.id])
        note("tool", {"agent": "coder-1", "tool": "pay", "digest": act.digest, "ok": True, "charged": 7, "receipt": "paid-0001",
                      "claims": [good.id]}, actor="coder-1", task="fix")  # fmt: skip
        note(
            "task.tested",
            {"attempt": 1, "ok": True, "seconds": 1, "detail": "", "proof": "seen to its end"},
            task="fix",
        )
        note("artefact", {"path": "src/add.py", "sha256": hashlib.sha256(CONTENT).hexdigest(), "bytes": len(CONTENT), "agent": "coder-1",
                          "steps": [], "receipts": ["call-0aaaaaaa", "call-1aaaaaaa"], "claims": [good.id], "by": "model"}, task="fix")  # fmt: skip
        await journal.append("task.done", {"artefacts": []}, task="fix")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one run, and the person's folder with its file."""
    home = tmp_path_factory.mktemp("home")
    folder = home / "runs" / "fair-otter"
    folder.mkdir(parents=True)
    (home / "project/src").mkdir(parents=True)
    (home / "project/src/add.py").write_bytes(CONTENT)
    asyncio.run(record(folder, home / "project"))
    return home


@pytest.fixture
def home(recorded: Path, tmp_path: Path) -> Path:
    """A copy to break. The run still names the first one's folder."""
    return Path(shutil.copytree(recorded, tmp_path / "home"))


def tercet(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # A chain that nobody answers at.
    line = [sys.executable, "-m", "tercet.cli", *arguments, "--home", str(home), "--chain", "http://127.0.0.1:9"]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)


def test_a_file_leads_back_to_the_person(home: Path) -> None:
    """Goal, policy, task, agent, developer, model, miner, receipts, claims; and what was verified, to the end."""
    done = tercet(home, "why", "src/add.py")
    assert done.returncode == 0, done.stderr
    for words in (
        "src/add.py: 32 bytes", "The person wanted: 'Mend the sum [2J'", "Policy: p1: yes to money", "Task fix: Mend add (done",
        "Agent coder-1: somebody else's agent, role coder", "Developer: mini-swe-agent.org", "Thinks with: small", "pay 0.00001 credit",
        "Receipt call-0aaaaaaa", f"miner 3, operator {OPERATOR}", "market receipt market-receipt-1", "served by local",
        "[checked-by-tool, derived] 'add is wrong' by coder-1", "tests: python3 t.py, run by kernel: it holds",
        "[unverified, external] 'what a.txt says'", "pay, up to", "by checked claims",
    ):  # fmt: skip
        assert words in done.stdout
    assert "\x1b" not in done.stdout, "no agent draws on the terminal"
    verified = done.stdout.partition("Verified:\n")[2]
    assert "yes         the journal: each of" in verified
    assert "yes         the file src/add.py" in verified
    assert "yes         the done-test of fix" in verified
    assert "it said yes last (seen to its end)" in " ".join(verified.split())
    assert "not checked the claims: 1 of 2 rest on what nobody has checked" in verified
    assert "not checked payouts: the ledger is not at hand" in verified


def test_receipts_and_payments_are_found_by_their_ids(home: Path) -> None:
    """Our receipt, the market's, a payment, the file's digest, a path as the shell completes it."""
    names = ("call-0aaaaaaa", "market-receipt-1", "paid-0001", hashlib.sha256(CONTENT).hexdigest()[:12], "./src/add.py")
    found = {name: explain(home / "runs/fair-otter", name).kind for name in names}
    assert list(found.values()) == ["call", "call", "payment", "artefact", "artefact"]
    told = json.loads(tercet(home, "why", "paid-0001", "--json", "--run", "fair-otter").stdout)
    assert told["subject"] == "paid-0001"
    assert "checked claims" in json.dumps(told["tree"])
    assert explain(home / "runs/fair-otter", "0x" + "00" * 32, sellers=[OPERATOR]).kind == "seller"


def test_a_file_that_was_changed_afterwards_is_not_vouched_for(home: Path, recorded: Path) -> None:
    """Exit code 1, and it says so."""
    (recorded / "project/src/add.py").write_bytes(b"other")
    try:
        done = tercet(home, "why", "src/add.py")
    finally:
        (recorded / "project/src/add.py").write_bytes(CONTENT)
    assert done.returncode == 1
    assert "NO          the file src/add.py" in done.stdout


def test_a_journal_that_was_changed_is_not_believed_beyond_the_change(home: Path) -> None:
    """What comes before is told, and that it is all that can be."""
    db = sqlite3.connect(home / "runs/fair-otter/journal.db")
    seq = db.execute("SELECT seq FROM events WHERE kind = 'artefact'").fetchone()[0]
    db.execute("UPDATE events SET body = replace(body, 'coder-1', 'honest-1') WHERE seq = ?", (seq,))
    db.commit()
    db.close()
    assert tercet(home, "why", "src/add.py").returncode == 1
    done = tercet(home, "why", "call-0aaaaaaa")
    assert done.returncode == 1
    assert f"it was changed at event {seq}" in done.stdout


@pytest.mark.parametrize("charged", [1000, 900])
def test_a_market_receipt_is_held_against_the_gateways_book(home: Path, charged: int) -> None:
    """The same charge and operator, or not."""
    _, key = create_key(home / "gateway", "agent", 5000)
    with Budgets(gateway_db(home / "gateway")) as book:
        receipt = Receipt(
            "market-receipt-1", key.id, "chat", "small", "complete", 1, operator=OPERATOR, charged=charged
        )
        book.reserve(receipt, 1000)
        book.settle(receipt)
    done = tercet(home, "why", "call-0aaaaaaa")
    assert done.returncode == (0 if charged == 1000 else 1)
    assert ("1 of 1 stand in its book" in done.stdout) is (charged == 1000)


def test_it_says_which_run_it_tells_of_and_looks_only_in_one_that_is_named(home: Path) -> None:
    """A run is named by how it begins, as anywhere; what it does not know is said of it, and where its journal ends to hold."""
    assert tercet(home, "why", "src/add.py").stdout.startswith("Run fair-otter\n")
    assert tercet(home, "why", "src/add.py", "--run", "fair").returncode == 0
    done = tercet(home, "why", "nothing.py", "--run", "fair")
    assert done.returncode == 2
    assert "The run fair-otter made no file, call or payment 'nothing.py'" in done.stderr
    with sqlite3.connect(home / "runs/fair-otter/journal.db") as db:
        db.execute("UPDATE events SET body = '{}' WHERE seq = 2")
    db.close()
    done = tercet(home, "why", "src/add.py", "--run", "fair")
    assert done.returncode == 1
    assert "Of its journal: it was changed at event 2" in done.stderr


def test_what_no_run_knows_says_how_to_go_on(home: Path) -> None:
    """Exit code 2 and the next command; one broken run hides no other."""
    done = tercet(home, "why", "nothing.py")
    assert done.returncode == 2
    assert "tercet ps --all" in done.stderr
    (home / "runs/broken").mkdir()
    (home / "runs/broken/journal.db").write_bytes(b"junk" * 1000)
    done = tercet(home, "why", "src/add.py")
    assert done.returncode == 0
    assert "not checked the newer run broken: its journal cannot be read" in done.stdout
    assert tercet(home, "why", "nothing.py").returncode == 1


def test_where_there_is_no_run_it_says_how_to_start_one(tmp_path: Path) -> None:
    """As every other command about runs does."""
    done = tercet(tmp_path, "why", "report.md")
    assert (done.returncode, "Start one: tercet run GOAL" in done.stderr) == (2, True), done.stderr


def test_a_newer_run_whose_journal_was_changed_is_not_passed_over_in_silence(home: Path) -> None:
    """It may have made the file anew: the answer of an older run is told, and does not count as verified."""
    newer = shutil.copytree(home / "runs/fair-otter", home / "runs/newer-otter")
    (newer / "journal.lock").touch()
    db = sqlite3.connect(newer / "journal.db")
    db.execute("UPDATE events SET body = '{}' WHERE kind = 'artefact'")
    db.commit()
    db.close()
    done = tercet(home, "why", "src/add.py")
    assert done.stdout.startswith("Run fair-otter\n")
    assert "NO          the newer run newer-otter: its journal was changed at event" in done.stdout
    assert "tercet journal verify newer-otter" in " ".join(done.stdout.split())
    assert done.returncode == 1
    lost = tercet(home, "why", "nothing.py")
    assert lost.returncode == 1
    assert "tercet journal verify newer-otter says why" in lost.stderr


@pytest.mark.slow
async def test_a_transaction_leads_to_the_calls_that_it_paid_for(tmp_path: Path) -> None:
    """A miner redeems a voucher on a chain; its hash leads to the run's calls, and a receipt to the payout."""
    folder = tmp_path / "home/runs/fair-otter"
    folder.mkdir(parents=True)
    await record(folder, tmp_path, operator=MINER.address)
    async with run_embedded(tmp_path / "chain") as chain:
        ledger = Ledger(chain.rpc, await deploy(chain.sender))
        ledger.deployment.save(tmp_path / "deployment.json")
        payer, miner = await chain.fund(PAYER, MINER)
        await ledger.credit.mint(chain.sender, PAYER.address, 10_000)
        await ledger.credit.ensure_allowance(payer, ledger.escrow.address, 10_000)
        config = config_of(ledger, 1)
        channel = await ledger.escrow.open(payer, config, 1_000)
        await ledger.escrow.redeem(miner, config, 250, sign_voucher(ledger.deployment.domain, PAYER, channel, 300))
        events = [event async for event in Client(ledger).events([ledger.escrow], names=("Redeemed",))]
        line = [
            "--home",
            str(tmp_path / "home"),
            "--chain",
            chain.url,
            "--deployment",
            str(tmp_path / "deployment.json"),
        ]

        def why(target: str) -> str:
            command = [sys.executable, "-m", "tercet.cli", "why", target, *line]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
            assert done.returncode == 0, done.stderr
            return done.stdout

        transaction = f"0x{events[0].transaction.hex()}"
        told = await asyncio.to_thread(why, transaction)
        assert f"{transaction} paid for 1 call of this run." in told
        assert "Receipt call-0aaaaaaa" in told
        assert "The person wanted" in told
        paid = f"payouts to {MINER.address}: 0.00025 credit in 1 redemptions of all its buyers, the last in transaction {transaction}"
        assert paid in await asyncio.to_thread(why, "call-0aaaaaaa")
