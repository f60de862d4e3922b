"""What a validator never forgets, and who may hold it."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from tercet.errors import StateLockedError, StateMismatchError
from tercet.market import Verdict
from tercet.nodes.book import KEPT_EPOCHS, Book, Pledge
from tercet.nodes.scores import Finding, Kind

SEEN = Finding(3, 1, 2, "judged", Verdict(0.5, "slow", {"seconds": 2.5}), 17, 1234.5)
PLEDGE = Pledge(3, 9, b"s" * 32, [0, 65_535])


def test_a_restart_finds_what_was_written(tmp_path: Path) -> None:
    """Findings, spending, and the pledge with its salt."""
    book = Book(tmp_path, "here")
    book.record(SEEN)
    book.spend(3, 100)
    book.spend(3, -83)
    book.pledge(PLEDGE)
    book.close()
    book = Book(tmp_path, "here")
    assert book.findings(3) == [SEEN]
    assert book.findings(4) == []
    assert book.taken(3) == {(1, 2): 1}
    assert (book.spent(3), book.spent(4)) == (17, 0)
    assert book.pledged(3) == PLEDGE
    assert book.pledged(4) is None
    book.close()


def test_each_finding_is_a_line_that_people_can_read(tmp_path: Path) -> None:
    """The demo's table takes the why from here."""
    book = Book(tmp_path, "here")
    book.record(SEEN)
    book.close()
    (line,) = (tmp_path / "verdicts.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "event": "verdict",
        "epoch": 3,
        "uid": 1,
        "generation": 2,
        "kind": "judged",
        "score": 0.5,
        "reason": "slow",
        "measures": {"seconds": 2.5},
        "charged": 17,
        "at": 1234.5,
    }


def test_answers_of_a_round_give_way_to_its_findings(tmp_path: Path) -> None:
    """All of them at once, over a restart; those of other rounds stay."""
    book = Book(tmp_path, "here")
    book.keep_answer(3, (2, 9), b"two")
    book.keep_answer(3, (1, 2), b"one")
    book.keep_answer(3, (1, 2), b"asked again")
    book.keep_answer(4, (1, 2), b"next")
    book.close()
    book = Book(tmp_path, "here")
    assert book.answered(3) == [(1, 2), (2, 9)]
    assert book.answer(3, (1, 2)) == b"one"
    broken = replace(SEEN, kind=cast("Kind", object()))
    with pytest.raises(sqlite3.Error):
        book.judge_round(3, [SEEN, broken])
    assert (book.findings(3), len(book.answered(3))) == ([], 2)
    book.judge_round(3, [SEEN])
    assert (book.findings(3), book.answered(3), book.answered(4)) == ([SEEN], [], [(1, 2)])
    book.forget_answers(5)
    assert book.answered(4) == []
    assert len((tmp_path / "verdicts.jsonl").read_text().splitlines()) == 1
    book.close()


def test_the_database_stays_small(tmp_path: Path) -> None:
    """Old epochs go when a new row is pledged."""
    book = Book(tmp_path, "here")
    book.record(SEEN)
    book.pledge(PLEDGE)
    book.pledge(Pledge(3 + KEPT_EPOCHS, 9, b"t" * 32, [65_535]))
    assert book.findings(3) == [SEEN]
    book.pledge(Pledge(4 + KEPT_EPOCHS, 9, b"t" * 32, [65_535]))
    assert book.findings(3) == []
    assert book.pledged(3) is None
    book.close()


def test_two_processes_never_share_a_folder(tmp_path: Path) -> None:
    """The second is told who holds it; a killed holder holds nothing."""
    code = (
        "import sys, time; from pathlib import Path; from tercet.nodes.book import Book; "
        "book = Book(Path(sys.argv[1]), 'here'); print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StateLockedError, match=f"in use by process {holder.pid}"):
            Book(tmp_path, "here")
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
        Book(tmp_path, "here").close()
    finally:
        holder.kill()
        holder.communicate(timeout=10)


def test_a_folder_of_another_market_is_refused(tmp_path: Path) -> None:
    """Findings and salts of one market mean nothing in another; and the refusal leaves nothing locked."""
    Book(tmp_path, "chain 1").close()
    with pytest.raises(StateMismatchError, match="holds the state of 'chain 1', not of 'chain 2'"):
        Book(tmp_path, "chain 2")
    Book(tmp_path, "chain 1").close()
