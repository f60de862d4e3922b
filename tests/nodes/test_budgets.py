"""Keys and budgets: money is reserved, then settled or freed, and never made or lost, whatever dies in between."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from tercet.errors import BudgetSpentError, UnknownKeyError, UsageError
from tercet.market import Receipt
from tercet.nodes.budgets import Budgets
from tercet.nodes.gateway_keys import create_key, gateway_db, hash_secret, list_keys, revoke_key, set_budget


def draft(call_id: str, key_id: str, charged: int = 0) -> Receipt:
    return Receipt(call_id, key_id, "chat", "smol", "complete", 1, charged=charged)


def test_only_the_hash_of_a_secret_is_kept(tmp_path: Path) -> None:
    """The file of keys does not contain the secret, and only its owner may read it."""
    secret, key = create_key(tmp_path, "agent", 1000)
    path = gateway_db(tmp_path)
    assert secret.encode() not in b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert path.stat().st_mode & 0o077 == 0
    with Budgets(path) as books:
        assert books.find(hash_secret(secret)) == key


def test_a_dead_key_opens_nothing(tmp_path: Path) -> None:
    """Unknown, expired and revoked keys are refused, each with its reason; also when they die before the reserve."""
    gone, gone_key = create_key(tmp_path, "gone", 10)
    late, _ = create_key(tmp_path, "late", 10, valid_seconds=1e-9)
    assert revoke_key(tmp_path, gone_key.id) == revoke_key(tmp_path, gone_key.id)
    with Budgets(gateway_db(tmp_path)) as books:
        for secret, why in ((gone, "revoked"), (late, "expired"), ("tck_guess", "unknown")):
            with pytest.raises(UnknownKeyError, match=why):
                books.find(hash_secret(secret))
        with pytest.raises(UnknownKeyError, match="revoked"):
            books.reserve(draft("c", gone_key.id), 1)
    assert [key.name for key in list_keys(tmp_path)] == ["gone", "late"]


def test_reserve_then_settle(tmp_path: Path) -> None:
    """The charge is spent, the rest is free again, the receipt is there; the second time changes nothing."""
    _, key = create_key(tmp_path, "agent", 100)
    with Budgets(gateway_db(tmp_path)) as books:
        books.reserve(draft("c", key.id), 60)
        books.reserve(draft("c", key.id), 80)
        assert books.key(key.id).left == 20
        for _ in range(2):
            books.settle(draft("c", key.id, charged=30))
        books.reserve(draft("c", key.id), 50)
        settled = books.key(key.id)
        assert (settled.spent, settled.reserved, settled.left) == (30, 0, 70)
        assert books.receipts(key.id) == [draft("c", key.id, charged=30)]
        assert books.check() == []


def test_a_budget_is_never_overdrawn(tmp_path: Path) -> None:
    """A reservation above what is left is refused with both numbers, and the one before it stays."""
    _, key = create_key(tmp_path, "agent", 100)
    with Budgets(gateway_db(tmp_path)) as books:
        books.reserve(draft("c", key.id), 60)
        with pytest.raises(BudgetSpentError, match=r"needs 0\.000101 credit, 0\.0001 credit is left"):
            books.reserve(draft("c", key.id), 101)
        with pytest.raises(BudgetSpentError, match=r"needs 0\.000041 credit, 0\.00004 credit is left"):
            books.reserve(draft("d", key.id), 41)
        with pytest.raises(ValueError, match="charges 61 of 60"):
            books.settle(draft("c", key.id, charged=61))
        assert books.key(key.id).reserved == 60


def test_a_budget_can_be_raised_but_not_below_what_is_gone(tmp_path: Path) -> None:
    """The mend that the refusal names works."""
    _, key = create_key(tmp_path, "agent", 100)
    with Budgets(gateway_db(tmp_path)) as books:
        books.reserve(draft("c", key.id), 60)
        with pytest.raises(UsageError, match=r"Set at least 0\.00006 credit"):
            set_budget(tmp_path, key.id, 59)
        assert set_budget(tmp_path, key.id, 60).left == 0


@pytest.mark.parametrize("wrong", [{"budget": -1}, {"budget": 1, "weight": 0}, {"budget": 1, "valid_seconds": 0.0}])
def test_keys_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """A key with a nonsensical budget, weight or life is not made."""
    with pytest.raises(UsageError):
        create_key(tmp_path, "agent", **wrong)


def test_receipts_come_in_pages(tmp_path: Path) -> None:
    """The newest first, each key its own, continued behind the last one seen."""
    _, mine = create_key(tmp_path, "mine", 0)
    _, other = create_key(tmp_path, "other", 0)
    with Budgets(gateway_db(tmp_path)) as books:
        for n in range(7):
            books.settle(draft(f"m{n}", mine.id))
            books.settle(draft(f"o{n}", other.id))
        first = books.receipts(mine.id, limit=4)
        rest = books.receipts(mine.id, limit=4, after=first[-1].id)
        assert [receipt.id for receipt in [*first, *rest]] == [f"m{n}" for n in reversed(range(7))]
        assert len(books.receipts(limit=100)) == 14


def test_many_at_once_never_overdraw(tmp_path: Path) -> None:
    """Eight connections that reserve at the same time get exactly what the budget holds."""
    _, key = create_key(tmp_path, "agent", 100)

    def spend(worker: int) -> int:
        won = 0
        with Budgets(gateway_db(tmp_path)) as books:
            for n in range(10):
                try:
                    books.reserve(draft(f"{worker}-{n}", key.id), 3)
                except BudgetSpentError:
                    continue
                books.settle(draft(f"{worker}-{n}", key.id, charged=3))
                won += 1
        return won

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(spend, range(8))) == 33
    with Budgets(gateway_db(tmp_path)) as books:
        assert (books.key(key.id).spent, books.key(key.id).reserved, books.check()) == (99, 0, [])


_KILLED = """
import os, signal, sys
from pathlib import Path
from typing import Any
from tercet.market import Receipt
from tercet.nodes.budgets import Budgets

path, key, steps = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
books = Budgets(path)

def count(statement):
    global steps
    steps -= 1
    if steps < 0:
        os.kill(os.getpid(), signal.SIGKILL)

books._db.set_trace_callback(count)
for n in range(2):
    receipt = Receipt(f"call{n}", key, "chat", "smol", "complete", 1, charged=7)
    books.reserve(receipt, 10)
    books.reserve(receipt, 20)
    books.settle(receipt)
books.reserve(Receipt("call2", key, "chat", "smol", "complete", 1), 10)
books.release("call2")
print("done")
"""


@pytest.mark.slow
def test_kill_9_between_any_two_writes_loses_nothing(tmp_path: Path) -> None:
    """Killed before its 1st, 2nd, ... statement, what is found after is whole: charged receipts, or freed money."""
    seen = set()
    for steps in range(64):
        _, key = create_key(tmp_path / str(steps), "agent", 20 + 7)
        path = gateway_db(tmp_path / str(steps))
        done = subprocess.run(
            [sys.executable, "-c", _KILLED, str(path), key.id, str(steps)], capture_output=True, timeout=60, check=False
        )
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        with Budgets(path) as books:
            assert books.check() == []
            lost = books.recover()
            after = books.key(key.id)
            whole = [receipt for receipt in books.receipts(key.id) if receipt.status == "complete"]
            assert (after.reserved, after.spent) == (0, 7 * len(whole))
            assert books.check() == []
            assert len(lost) <= 1
            seen.add((done.returncode, len(whole), len(lost)))
    assert {(-9, 0, 0), (-9, 0, 1), (-9, 1, 0), (-9, 1, 1), (-9, 2, 0), (0, 2, 0)} <= seen


class Accounts(RuleBasedStateMachine):
    """A plain model of the books beside the real ones, with crashes between any two steps."""

    calls = Bundle("calls")

    @initialize(budget=st.integers(0, 200))
    def open_books(self, budget: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        _, key = create_key(Path(self.folder.name), "agent", budget)
        self.books = Budgets(gateway_db(Path(self.folder.name)))
        self.key, self.budget, self.spent = key.id, budget, 0
        self.held: dict[str, int] = {}
        self.ended: set[str] = set()
        self.count = 0

    @rule(target=calls)
    def arrive(self) -> str:
        self.count += 1
        return f"c{self.count}"

    @rule(call=calls, amount=st.integers(0, 120))
    def reserve(self, call: str, amount: int) -> None:
        free = self.budget - self.spent - sum(self.held.values()) + self.held.get(call, 0)
        if call in self.ended or amount <= free:
            self.books.reserve(draft(call, self.key), amount)
            if call not in self.ended:
                self.held[call] = amount
        else:
            with pytest.raises(BudgetSpentError):
                self.books.reserve(draft(call, self.key), amount)

    @rule(call=calls, charge=st.integers(0, 150))
    def settle(self, call: str, charge: int) -> None:
        if call not in self.ended and charge > self.held.get(call, 0):
            with pytest.raises(ValueError, match="reserved"):
                self.books.settle(draft(call, self.key, charged=charge))
            return
        self.books.settle(draft(call, self.key, charged=charge))
        if call not in self.ended:
            self.ended.add(call)
            self.held.pop(call, None)
            self.spent += charge

    @rule(call=calls)
    def release(self, call: str) -> None:
        self.books.release(call)
        self.held.pop(call, None)

    @rule(more=st.integers(0, 50))
    def raise_budget(self, more: int) -> None:
        self.budget += more
        set_budget(Path(self.folder.name), self.key, self.budget)

    @rule()
    def crash(self) -> None:
        """The process is gone: a transaction half done, the connection never closed; another one takes over."""
        dead, self.books = self.books, Budgets(self.books.path)
        assert {receipt.id for receipt in self.books.recover()} == set(self.held)
        self.ended |= set(self.held)
        self.held = {}
        dead.close()

    @rule(call=calls)
    def crash_in_a_write(self, call: str) -> None:
        """A write begun and never committed leaves no trace."""
        half = sqlite3.connect(self.books.path, isolation_level=None)
        half.execute("BEGIN IMMEDIATE")
        half.execute("UPDATE keys SET spent = spent + 0, reserved = 0")
        half.execute("DELETE FROM reservations WHERE id = ?", (call,))
        half.close()

    @invariant()
    def books_balance(self) -> None:
        if not hasattr(self, "books"):
            return
        key = self.books.key(self.key)
        assert key.spent + key.reserved <= key.budget
        assert (key.spent, key.reserved, key.budget) == (self.spent, sum(self.held.values()), self.budget)
        assert self.books.check() == []

    def teardown(self) -> None:
        if hasattr(self, "books"):
            self.books.close()
            self.folder.cleanup()


Accounts.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestAccounts = Accounts.TestCase


def test_a_reservation_of_a_dead_process_is_freed(tmp_path: Path) -> None:
    """After a restart the call that was in flight has a receipt that says lost, and costs nothing."""
    _, key = create_key(tmp_path, "agent", 100)
    with Budgets(gateway_db(tmp_path)) as books:
        books.reserve(draft("c", key.id, charged=9), 60)
    with Budgets(gateway_db(tmp_path)) as books:
        assert [(receipt.status, receipt.charged) for receipt in books.recover()] == [("lost", 0)]
        assert books.recover() == []
        assert books.key(key.id).left == 100
    assert os.access(gateway_db(tmp_path), os.R_OK)
