"""A goal becomes files: planned, worked on, tested, merged, delivered, reported."""

from __future__ import annotations

import json
from pathlib import Path

from tests.swarm.small_goals import CREDIT, Yes, build_repository, build_table, scripted

from tercet.swarm.events import read_events, verify_journal
from tercet.swarm.kernel import Kernel, RunConfig
from tercet.swarm.why import explain, render


async def test_a_repository_is_repaired_and_its_changelog_written(tmp_path: Path) -> None:
    """The search finds the fix, the scripted model words it, programs check both, the files come back."""
    mine = build_repository(tmp_path / "mine")
    config = RunConfig("Make the tests pass and write the changelog entry", CREDIT, dir=str(mine), gateway="scripted")
    person = Yes()
    outcome = await Kernel(tmp_path / "run-1", config, scripted(), person).run()
    assert (outcome.status, outcome.why) == ("done", "")
    assert "return whole - discount" in (mine / "till.py").read_text()
    log = (mine / "CHANGELOG.md").read_text()
    assert "- Fix `total`: the discount is taken off" in log
    assert "- First release." in log
    assert {task.state for task in outcome.state.tasks.values()} == {"done"}
    assert outcome.state.artefacts["till.py"].by == "search"
    assert outcome.state.artefacts["CHANGELOG.md"].receipts
    assert sorted(person.paths) == ["CHANGELOG.md", "till.py"]
    report = (tmp_path / "run-1" / "report.md").read_text()
    assert "A script played the model" in report
    assert "| till.py | coder-1 | search |" in report
    assert json.loads((tmp_path / "run-1" / "report.json").read_text())["status"] == "done"
    assert verify_journal(tmp_path / "run-1" / "journal.db")[0] == outcome.state.run.seq
    told = list(render(explain(tmp_path / "run-1", "till.py")))
    assert any("[checked-by-tool, derived] 'Attempt 1 at task repair does what it asks" in line for line in told)
    assert any("yes         the claims: all 1 were checked" in line for line in told)
    assert any("yes         the file till.py" in line for line in told)
    assert any("Its agent may: read" in line and "sandbox True, write ['till.py']" in line for line in told), told
    kinds = [event.kind for event in read_events(tmp_path / "run-1" / "journal.db")]
    assert kinds[0] == "run.started"
    assert kinds[-1] == "run.ended"


async def test_a_table_becomes_a_report_with_plots(tmp_path: Path) -> None:
    """Numbers come from programs, words from the scripted model, and every number is derived anew."""
    mine = build_table(tmp_path / "mine")
    config = RunConfig("Analyse sales.csv and report with plots", CREDIT, dir=str(mine), gateway="scripted")
    outcome = await Kernel(tmp_path / "run-1", config, scripted(), Yes()).run()
    assert (outcome.status, outcome.why) == ("done", "")
    report = (mine / "analysis" / "report.md").read_text()
    assert report.count("[F") >= 2
    assert len(list((mine / "analysis" / "plots").glob("*.png"))) == 3
    assert outcome.state.artefacts["analysis/facts.json"].by == "program"
