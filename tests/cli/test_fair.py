"""Markets side by side: real work in each, one set of books, and a page."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tercet.cli.demo.fair import Fair, render_fair
from tercet.cli.demo.fair.record import FairRecord
from tercet.cli.demo.fair.stalls import STALLS, Deed, read_deeds
from tercet.cli.demo.progress import Progress
from tercet.cli.processes import Crew
from tercet.cli.report.charts import draw_curve
from tercet.cli.stage import Stage
from tercet.subnets.inference import models_directory
from tercet.subnets.training.curve import CURVE

from .conftest import Shell


def hold_fair(place: Path, *subnets: str) -> FairRecord:
    """Two short epochs of some markets."""
    stage = Stage(place, models_directory(), Crew(place / "logs"))
    stalls = [stall for stall in STALLS if stall.subnet in subnets]
    with Progress(colour=False) as progress:
        fair = Fair(1, stage, progress, stalls, commit_seconds=24, reveal_seconds=6)
        fair.check()
        return asyncio.run(fair.run("2026-01-01T00:00:00+00:00"))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_markets_run_side_by_side_and_their_books_balance(tmp_path: Path) -> None:
    """Who works is paid in its own market, who cheats is not, and nothing is lost between them."""
    record = hold_fair(tmp_path / "fair", "labelling", "flops")
    assert record.balanced, [flow for flow in record.books.flows if not flow.balanced]
    assert [market.subnet for market in record.markets] == ["labelling", "flops"]
    labelling, flops = record.markets
    for miner in flops.miners:
        assert (miner.earned.stake > 0) == (miner.kind == "honest"), miner
        assert bool(miner.why) == (miner.kind == "cheat"), miner
    # Guessing is told from work with 95 % confidence, and two good models share their errors now and then.
    honest = [miner for miner in labelling.miners if miner.kind == "honest"]
    cheats = [miner for miner in labelling.miners if miner.kind == "cheat"]
    assert any(miner.earned.stake > 0 and not miner.why for miner in honest), honest
    assert all(miner.earned.stake or miner.why for miner in cheats), cheats
    assert sum(miner.earned.stake for miner in cheats) < 0.1 * sum(miner.earned.stake for miner in honest)
    page = render_fair(record)
    for word in ("labelling", "guesser", "zeros", "balanced"):
        assert word in page


def test_the_page_shows_how_the_loss_fell() -> None:
    """A line with its two ends in numbers, and no picture where no model is trained."""
    curve = draw_curve("training: held-out loss", "nats a byte, by round", [5.55, 4.2, 3.81], "s2")
    assert "a line from 5.55 to 3.81" in curve
    assert curve.count("<circle") == 3
    (training,) = [stall for stall in STALLS if stall.curve]
    assert training.subnet == "training"
    assert training.curve.endswith("/" + CURVE)


def test_every_stall_has_somebody_honest_and_somebody_who_cheats() -> None:
    """So the table always shows the difference."""
    assert [stall.subnet for stall in STALLS] == ["inference", "training", "labelling", "coding", "folding", "flops"]
    for stall in STALLS:
        assert {actor.kind for actor in stall.miners} == {"honest", "cheat"}
        assert len({actor.name for actor in stall.miners}) == len(stall.miners)


def test_units_are_counted_from_what_the_judge_measured() -> None:
    """Tokens, right labels, mended programs, energy, operations: never what a miner says."""
    measures = {
        "completion": 30.0, "gain": 2.0, "items": 50.0, "accuracy": 0.9, "fixed": 1.0,
        "rate_float32": 4e9, "work_seconds": 0.5,
    }  # fmt: skip
    deed = Deed(1, 3, answered=True, score=0.5, reason="", charged=7, measures=measures)
    assert [stall.count(deed) for stall in STALLS] == [30, 2, 45, 1, 2, 2]
    for stall in STALLS:
        assert stall.tell([deed])


def test_an_update_that_helped_is_good_before_anybody_is_paid() -> None:
    """The model learns from the first round on, and the page shows it; noise does not count."""
    (training,) = [stall for stall in STALLS if stall.subnet == "training"]
    early, noise = (
        Deed(1, 3, answered=True, score=0.0, reason="not proven", charged=7, measures={"gain": gain})
        for gain in (0.25, -0.1)
    )
    assert (early.good, noise.good) == (True, False)
    assert "by 0.25 nats" in training.tell([early])


def test_verdicts_are_read_as_the_validator_writes_them(tmp_path: Path) -> None:
    """Scores and rows stand in the same file, and it may not be there yet."""
    assert read_deeds(tmp_path) == []
    verdict = {"event": "verdict", "uid": 1, "epoch": 2, "kind": "missed", "score": 0.0, "reason": "late", "charged": 0}
    lines = [{"event": "row", "weights": []}, {**verdict, "measures": None}]
    (tmp_path / "verdicts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (deed,) = read_deeds(tmp_path)
    assert (deed.answered, deed.good, deed.reason) == (False, False, "late")


def test_the_fair_leaves_nothing_running(shell: Shell) -> None:
    """So --keep has no meaning there, and the message says what to leave out."""
    done = shell.run("demo", "--all", "--keep")
    assert done.code == 2
    assert "--keep" in done.err
