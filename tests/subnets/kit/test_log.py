"""A judge's log: what is written stays, and what was changed is seen."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tercet.errors import DamagedLogError, StateLockedError
from tercet.subnets.kit import JudgeLog

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
EVENTS = st.lists(st.dictionaries(st.text(max_size=5), VALUES, max_size=3), min_size=1, max_size=6)


def written(path: Path, count: int = 3) -> list[str]:
    """A log of `count` events; its lines."""
    with JudgeLog(path) as log:
        for number in range(count):
            log.write({"uid": number, "seed": bytes([number]) * 4, "score": 0.5})
    return path.read_text().splitlines(keepends=True)


def test_an_auditor_reads_what_the_judge_wrote(tmp_path: Path) -> None:
    """In order, with the seeds, and each digest fixes all before it."""
    written(tmp_path / "log")
    entries = list(JudgeLog(tmp_path / "log").read())
    assert [entry.event["uid"] for entry in entries] == [0, 1, 2]
    assert bytes.fromhex(entries[1].event["seed"]) == b"\x01" * 4
    assert JudgeLog(tmp_path / "log").verify() == entries[-1].digest
    assert JudgeLog(tmp_path / "log").verify(entries[0].digest) == entries[-1].digest


@settings(max_examples=30, deadline=None)
@given(EVENTS)
def test_any_events_come_back(tmp_path_factory: pytest.TempPathFactory, events: list[dict[str, object]]) -> None:
    """Whatever JSON can hold."""
    path = tmp_path_factory.mktemp("log") / "log"
    with JudgeLog(path) as log:
        for event in events:
            log.write(event)
    assert [entry.event for entry in JudgeLog(path).read()] == json.loads(json.dumps(events))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda lines: [lines[0].replace("0.5", "0.9"), *lines[1:]], 1),
        (lambda lines: [lines[0], *lines[2:]], 2),
        (lambda lines: [lines[1], lines[0], lines[2]], 1),
        (lambda lines: [lines[0], lines[0], *lines[1:]], 2),
        (lambda lines: [*lines[:2], "not json\n"], 3),
        (lambda lines: [*lines[:2], "[]\n"], 3),
        (lambda lines: [*lines, '{"digest":"00","event":{}}\n'], 4),
        (lambda lines: [*lines, '{"digest":5,"event":NaN}\n'], 4),
        (lambda lines: [*lines, "[" * 100_000 + "\n"], 4),
    ],
)
def test_every_change_is_seen_where_it_is(tmp_path: Path, change: object, line: int) -> None:
    """Rewritten, left out, swapped, put in twice, or junk."""
    lines = written(tmp_path / "log")
    (tmp_path / "log").write_text("".join(change(lines)))  # type: ignore[operator]
    with pytest.raises(DamagedLogError, match=f"Line {line} ") as caught:
        JudgeLog(tmp_path / "log").verify()
    assert caught.value.line == line
    with pytest.raises(DamagedLogError):
        JudgeLog(tmp_path / "log").write({})


def test_a_cut_end_is_seen_by_whoever_knows_the_digest(tmp_path: Path) -> None:
    """A log that was cut is a log in order; the published digest is what it lacks."""
    lines = written(tmp_path / "log")
    head = JudgeLog(tmp_path / "log").verify()
    (tmp_path / "log").write_text("".join(lines[:2]))
    JudgeLog(tmp_path / "log").verify()
    with pytest.raises(DamagedLogError, match="published"):
        JudgeLog(tmp_path / "log").verify(head)


def test_a_torn_line_is_dropped_and_the_log_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What a power cut leaves of an event that nobody was told was written."""
    lines = written(tmp_path / "log")
    (tmp_path / "log").write_text("".join(lines)[:-7])
    assert len(list(JudgeLog(tmp_path / "log").read())) == 2
    with JudgeLog(tmp_path / "log") as log:
        assert log.write({"uid": 9}).number == 2
    assert "judgelog.torn" in caplog.text
    assert [entry.event["uid"] for entry in JudgeLog(tmp_path / "log").read()] == [0, 1, 9]


def test_two_judges_do_not_write_to_one_log(tmp_path: Path) -> None:
    """Also not from another process; readers may."""
    with JudgeLog(tmp_path / "log") as log:
        log.write({"uid": 1})
        code = f"from pathlib import Path; from tercet.subnets.kit import JudgeLog; JudgeLog(Path({str(tmp_path / 'log')!r})).write({{}})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert StateLockedError.__name__ in done.stderr
        assert len(list(JudgeLog(tmp_path / "log").read())) == 1


@pytest.mark.parametrize(("event", "error"), [({"x": math.nan}, ValueError), ({"x": object()}, TypeError)])
def test_what_is_no_value_is_not_written(tmp_path: Path, event: dict[str, object], error: type[Exception]) -> None:
    """And leaves no half line."""
    with JudgeLog(tmp_path / "log") as log:
        log.write({"uid": 1, 2: "two", 10: "ten"})  # type: ignore[dict-item]
        with pytest.raises(error):
            log.write(event)
        log.write({"uid": 2})
    assert len(list(JudgeLog(tmp_path / "log").read())) == 2


def test_no_log_is_an_empty_log(tmp_path: Path) -> None:
    """A judge that has not begun."""
    assert list(JudgeLog(tmp_path / "none").read()) == []
    assert len(JudgeLog(tmp_path / "none").verify()) == 32
