"""The journal, on real files, with real processes that are killed and disks that are full."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tercet.errors import BodyError, DamagedJournalError, JournalError, RunLockedError
from tercet.swarm.journal import GENESIS, Journal, event_hash, read_events, verify_journal

APPENDER = """
import asyncio, sys
from pathlib import Path
from tercet.swarm.journal import Journal

async def main():
    journal = Journal(Path(sys.argv[1]))
    async def one(lane):
        n = 0
        while True:
            event = await journal.append("tool", {"lane": lane, "n": n, "text": "x" * 300})
            print(event.seq, lane, n, flush=True)
            n += 1
    await asyncio.gather(*(one(lane) for lane in range(8)))

asyncio.run(main())
"""
FILLER = """
import asyncio, resource, sys
from pathlib import Path
from tercet.errors import JournalError
from tercet.swarm.journal import Journal

async def main():
    journal = Journal(Path(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
    written = 0
    try:
        while True:
            await journal.append("tool", {"text": "x" * 5000})
            written += 1
    except JournalError as error:
        print(written)
        print(error)
    try:
        journal.note("tool", {})
    except JournalError:
        print("refused")
    journal.close()

asyncio.run(main())
"""


def start(program: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)


async def fill(path: Path, count: int = 5) -> None:
    with Journal(path) as journal:
        await asyncio.gather(*(journal.append("tool", {"n": n}, actor=f"coder-{n}") for n in range(count)))


async def test_what_is_written_is_read_back_in_order(tmp_path: Path) -> None:
    """An event comes back as it went in, and later changes to its body are not seen."""
    path, body = tmp_path / "journal.db", {"path": "a.py", "nested": {"n": [1, 2.5, None]}}
    with Journal(path) as journal:
        first = await journal.append("artefact", body, actor="coder-1", task="fix")
        body["path"] = "changed"
        journal.note("agent.state", {"state": "idle"})
        second = await journal.append("step", {"output": 1}, scope="fix/1", number=0)
        assert [event.kind for event in journal.events()] == ["artefact", "agent.state", "step"]
        assert list(journal.events(kinds=["step"])) == [second] == list(journal.events(after=2))
        assert journal.step("fix/1", 0) == second
        assert journal.step("fix/1", 1) is None
    assert first.body["path"] == "a.py"
    assert first.hash == event_hash(GENESIS, first)
    assert verify_journal(path) == (3, second.hash) == (journal.head, journal.hash)


def test_events_of_some_kinds_come_in_order_over_many_pages(tmp_path: Path) -> None:
    """Each once, however often its kind is named, and whatever lies between."""
    with Journal(tmp_path / "journal.db") as journal:
        for n in range(3000):
            journal.note(("call", "step", "tool", "ask.raised", "step")[n % 5], {"n": n})
    among = [n for n in range(3000) if n % 5 in {0, 2, 3}]
    kinds = ("tool", "call", "ask.raised", "call", "no.such")
    assert [event.body["n"] for event in read_events(tmp_path / "journal.db", 0, kinds)] == among
    assert [event.body["n"] for event in read_events(tmp_path / "journal.db", 2001, kinds)] == [
        n for n in among if n >= 2001
    ]


async def test_a_note_is_on_the_disk_when_the_journal_is_closed_or_flushed(tmp_path: Path) -> None:
    """Nobody waits for notes, and none is lost."""
    path = tmp_path / "journal.db"
    with Journal(path) as journal:
        for n in range(2000):
            journal.note("tool", {"n": n})
        await journal.flush()
        assert sum(1 for _ in read_events(path)) == 2000
        journal.note("tool", {"n": 2000})
    assert [event.body["n"] for event in read_events(path)] == list(range(2001))


def test_notes_of_a_process_that_forgot_to_close_are_written(tmp_path: Path) -> None:
    """Leaving Python closes the journal."""
    path = tmp_path / "journal.db"
    program = (
        "import sys; from pathlib import Path; from tercet.swarm.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1]))\nfor n in range(100): journal.note('tool', {'n': n})"
    )
    process = start(program, path)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert verify_journal(path)[0] == 100


def test_two_processes_never_write_one_journal(tmp_path: Path) -> None:
    """The second is refused and told who can be asked; it may read."""
    path = tmp_path / "journal.db"
    writer = start(APPENDER, path)
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(RunLockedError, match="tercet attach"):
            Journal(path)
        assert next(read_events(path)).seq == 1
    finally:
        writer.kill()
        writer.communicate()
    with Journal(path) as journal:
        assert journal.head > 0


@pytest.mark.parametrize("seconds", [0.02, 0.1, 0.3])
def test_kill_9_loses_nothing_that_append_returned(tmp_path: Path, seconds: float) -> None:
    """Whatever was printed after `append` is there, in order, and the chain holds."""
    path = tmp_path / "journal.db"
    writer = start(APPENDER, path)
    assert writer.stdout is not None
    first = writer.stdout.readline()
    time.sleep(seconds)
    writer.kill()
    said = writer.communicate()[0]
    lines = [first, *said[: said.rfind("\n") + 1].splitlines()]  # it may die within its last one
    told = {int(line.split()[0]): line.split()[1:] for line in lines if line.count(" ") == 2}
    events = {event.seq: event.body for event in read_events(path)}
    assert len(told) >= 8
    assert all([str(events[seq]["lane"]), str(events[seq]["n"])] == rest for seq, rest in told.items())
    with Journal(path) as journal:  # a resumed run goes on behind it
        assert journal.head == len(events)


def test_a_full_disk_says_what_to_do_and_keeps_what_was_written(tmp_path: Path) -> None:
    """The journal refuses more, everything before stands, and with room the run goes on."""
    path = tmp_path / "journal.db"
    out, _ = start(FILLER, path).communicate(timeout=60)
    written, message, refused = out.splitlines()
    assert int(written) > 10
    assert "make room on the disk and resume the run" in message
    assert refused == "refused"
    assert verify_journal(path)[0] >= int(written)
    with Journal(path) as journal:
        journal.note("run.state", {"state": "running"})
    assert verify_journal(path)[0] > int(written)


async def test_notes_that_the_disk_had_no_room_for_are_heard_of(tmp_path: Path) -> None:
    """Closing raises when a note that was taken could not be written, and so does waiting for it."""
    path = tmp_path / "journal.db"
    journal = Journal(path)
    await journal.append("tool", {"n": 0})
    journal._db.execute("PRAGMA max_page_count = 20")
    for _ in range(40):
        try:
            journal.note("tool", {"text": "x" * 5000})
        except JournalError:
            break
    with pytest.raises(JournalError, match="make room"):
        await journal.flush()
    with pytest.raises(JournalError, match="make room"):
        journal.close()
    assert verify_journal(path)[0] >= 1


def tamper(path: Path, sql: str) -> None:
    with sqlite3.connect(path) as db:
        db.executescript(sql)
    db.close()


@pytest.mark.parametrize(
    ("sql", "seq"),
    [
        ("UPDATE events SET body = '{\"n\":99}' WHERE seq = 3", 3),
        ("UPDATE events SET actor = 'person' WHERE seq = 2", 2),
        ("UPDATE events SET time_ms = 'noon' WHERE seq = 4", 4),
        ("UPDATE events SET body = x'00ff' WHERE seq = 1", 1),
        ("UPDATE events SET hash = 7 WHERE seq = 5", 5),
        ("DELETE FROM events WHERE seq = 3", 3),
        ("DELETE FROM events WHERE seq = 3; UPDATE events SET seq = seq - 1 WHERE seq > 3", 3),
        (
            "UPDATE events SET seq = 99 WHERE seq = 2; UPDATE events SET seq = 2 WHERE seq = 3; UPDATE events SET seq = 3 WHERE seq = 99",
            2,
        ),
        (
            "UPDATE events SET seq = seq + 100 WHERE seq > 1; UPDATE events SET seq = seq - 99 WHERE seq > 1; INSERT INTO events SELECT 2, time_ms, kind, actor, task, scope, number, body, hash FROM events WHERE seq = 1",
            2,
        ),
    ],
    ids=["body", "actor", "type", "bytes", "hash", "dropped", "closed gap", "reordered", "inserted"],
)
async def test_tampering_is_seen_and_the_event_named(tmp_path: Path, sql: str, seq: int) -> None:
    """Changed, dropped, inserted or swapped: the first event that does not follow is named, and nobody goes on."""
    path = tmp_path / "journal.db"
    await fill(path)
    tamper(path, sql)
    with pytest.raises(DamagedJournalError, match=f"event {seq}") as caught:
        verify_journal(path)
    assert caught.value.seq == seq
    with pytest.raises(DamagedJournalError):
        Journal(path)
    assert len(list(read_events(path))) >= 4  # it can still be looked at


async def test_a_cut_end_is_seen_by_who_kept_a_hash(tmp_path: Path) -> None:
    """The chain alone cannot tell that its last events are gone; a head that was kept can."""
    path = tmp_path / "journal.db"
    await fill(path)
    _, head = verify_journal(path)
    middle = list(read_events(path))[2].hash
    assert verify_journal(path, head) == (5, head)
    tamper(path, "DELETE FROM events WHERE seq = 5")
    assert verify_journal(path, middle)[0] == 4
    with pytest.raises(DamagedJournalError, match="its end was cut off") as caught:
        verify_journal(path, head)
    assert caught.value.seq == 5


@pytest.mark.parametrize("content", [b"", b"not a database at all, just text " * 20])
def test_another_file_is_no_journal(tmp_path: Path, content: bytes) -> None:
    """Reading and checking a file of another kind says so."""
    path = tmp_path / "journal.db"
    path.write_bytes(content)
    for read in (lambda: list(read_events(path)), lambda: verify_journal(path)):
        with pytest.raises(JournalError, match="no journal of a run"):
            read()
    with pytest.raises(JournalError, match="tercet ps --all"):
        verify_journal(tmp_path / "nothing.db")
    with pytest.raises(JournalError, match="Look at its folder"):
        Journal(tmp_path / "no" / "folder" / "journal.db")


async def test_torn_pages_are_damage(tmp_path: Path) -> None:
    """A file whose pages were overwritten is damaged, not empty."""
    path = tmp_path / "journal.db"
    await fill(path, 400)
    data = bytearray(path.read_bytes())
    data[8192 : 8192 + 16384] = b"\xff" * 16384
    path.write_bytes(data)
    with pytest.raises(DamagedJournalError):
        verify_journal(path)


def deep(levels: int) -> object:
    value: object = 0
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "body",
    [
        {"deep": deep(100_000)},
        {"nan": float("nan")},
        {"huge": float("inf")},
        {"bytes": b"x"},
        {"set": {1}},
        {1: "a", "1": "b"},
        {"long": "x" * (17 << 20)},
    ],
    ids=["deep", "nan", "inf", "bytes", "set", "keys", "long"],
)
async def test_a_body_that_is_no_plain_json_is_refused_and_harms_nothing(
    tmp_path: Path, body: dict[str, object]
) -> None:
    """The event is refused, the journal goes on."""
    with Journal(tmp_path / "journal.db") as journal:
        with pytest.raises(BodyError):
            journal.note("tool", body)
        with pytest.raises(BodyError):
            await journal.append("tool", body)
        assert (await journal.append("tool", {"fine": True})).seq == 1


async def test_hostile_text_stands_in_a_body(tmp_path: Path) -> None:
    """Halves of surrogates, zero bytes and line ends come from models, and come back as they were."""
    body = {"text": "\ud800 \x00 \u2028 \x1b[31m 𝄞", "key\udfff": 10**400}
    path = tmp_path / "journal.db"
    with Journal(path) as journal:
        event = await journal.append("call", body)
        with pytest.raises(JournalError, match="no text"):
            await journal.append("call", {}, actor="\ud800")
        with pytest.raises(JournalError, match="a scope and a number"):
            await journal.append("step", {}, scope="a", number=-1)
    assert next(read_events(path)).body == body == event.body
    assert verify_journal(path)[0] == 1


async def test_a_body_made_deep_by_a_stranger_still_reads(tmp_path: Path) -> None:
    """Reading never breaks on what somebody put there; checking names it."""
    path = tmp_path / "journal.db"
    await fill(path, 2)
    tamper(path, f"UPDATE events SET body = '{'[' * 100_000}' WHERE seq = 2")
    assert "damaged" in list(read_events(path))[1].body
    with pytest.raises(DamagedJournalError, match="event 2"):
        verify_journal(path)


async def test_a_step_is_written_once(tmp_path: Path) -> None:
    """A second step of the same number is refused, and does not stop the others."""
    with Journal(tmp_path / "journal.db") as journal:
        await journal.append("step", {"output": 1}, scope="a", number=0)
        with pytest.raises(JournalError, match="already"):
            await journal.append("step", {"output": 2}, scope="a", number=0)
        await journal.append("step", {"output": 3}, scope="a", number=1)
        step = journal.step("a", 0)
        assert step is not None
        assert step.body["output"] == 1


async def test_the_loop_goes_on_while_the_disk_syncs(tmp_path: Path) -> None:
    """The thread that syncs is not the loop's: with a disk that takes half a second, the loop still turns."""
    journal = Journal(tmp_path / "journal.db")
    slow = _Slow(journal._db)
    journal._db = slow  # type: ignore[assignment]
    writing = asyncio.create_task(journal.append("tool", {}))
    turns = 0
    while not writing.done():
        await asyncio.sleep(0.005)
        turns += 1
    assert turns > 20
    assert slow.commits == 1
    await asyncio.gather(*(journal.append("tool", {"n": n}) for n in range(100)))
    assert slow.commits <= 3, "what gathers while the disk syncs goes in one commit"
    journal.close()


class _Slow:
    """A connection to a slow disk."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db, self.commits = db, 0

    def execute(self, sql: str) -> object:
        if sql == "COMMIT":
            self.commits += 1
            time.sleep(0.5 if self.commits == 1 else 0.05)
        return self._db.execute(sql)

    def __getattr__(self, name: str) -> object:
        return getattr(self._db, name)


async def test_cancelling_who_waits_does_not_unwrite(tmp_path: Path) -> None:
    """A caller that is cancelled between doing and hearing has its step recorded all the same."""
    path = tmp_path / "journal.db"
    with Journal(path) as journal:
        task = asyncio.create_task(journal.append("step", {"output": 1}, scope="a", number=0))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert verify_journal(path)[0] == 1


def test_a_closed_journal_says_so(tmp_path: Path) -> None:
    """Writing after `close` is refused, in words."""
    journal = Journal(tmp_path / "journal.db")
    journal.close()
    journal.close()
    with pytest.raises(JournalError, match="is closed"):
        journal.note("tool", {})


json_bodies = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(json_bodies, min_size=1, max_size=8), st.data())
def test_every_event_binds_all_before_it(tmp_path: Path, bodies: list[dict[str, object]], data: st.DataObject) -> None:
    """Any bodies come back equal, anybody can compute the hashes again, and any change of any event is found there."""
    path = tmp_path / f"{time.monotonic_ns()}.db"
    with Journal(path) as journal:
        for body in bodies:
            journal.note("tool", body)
    events, digest = list(read_events(path)), GENESIS
    assert [event.body for event in events] == bodies
    for event in events:
        digest = event_hash(digest, event)
        assert digest == event.hash
    assert verify_journal(path) == (len(bodies), digest)
    victim = data.draw(st.sampled_from(events))
    other = data.draw(json_bodies.filter(lambda body: body != victim.body))
    text = json.dumps(other).replace("'", "''")
    tamper(path, f"UPDATE events SET body = '{text}' WHERE seq = {victim.seq}")
    with pytest.raises(DamagedJournalError) as caught:
        verify_journal(path)
    assert caught.value.seq == victim.seq


def test_a_long_journal_opens_quickly(tmp_path: Path) -> None:
    """A journal of 10,000 steps is checked and open again within two seconds."""
    path = tmp_path / "journal.db"
    with Journal(path) as journal:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(_steps(journal, 10_000))
        loop.close()
    started = time.process_time()
    with Journal(path) as journal:
        assert journal.head == 10_000
        assert journal.step("fix/1", 9_999) is not None
    assert time.process_time() - started < 2


async def _steps(journal: Journal, count: int) -> None:
    body = {"name": "model", "output": {"parts": [{"content": "x" * 700}]}}
    await asyncio.gather(*(journal.append("step", body, scope="fix/1", number=n) for n in range(count)))
