"""The report: drawn from a recorded run, self-contained, the same in a browser without a network."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tercet.cli.record import AgentCall, AgentsRecord, AgentTask, Flow, Record
from tercet.cli.report import render_report

RECORDED = Path(__file__).parent / "data" / "demo.json"


@pytest.fixture(scope="module")
def record() -> Record:
    """A run that the demo itself wrote down."""
    return Record.model_validate_json(RECORDED.read_text())


class Links(HTMLParser):
    """Collects everything that a page would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "link", "img", "iframe", "object"}:
            self.found.append(tag)
        self.found += [str(value) for name, value in attrs if name in {"src", "href", "onload", "onclick"}]


def test_a_record_survives_its_own_json(record: Record) -> None:
    """Money travels as text and comes back as the same integers."""
    again = Record.model_validate_json(record.model_dump_json())
    assert again == record
    assert isinstance(again.miners[0].earned.stake, int)


def test_the_page_fetches_and_runs_nothing(record: Record) -> None:
    """No script, no link, no image, no address to call."""
    links = Links()
    links.feed(render_report(record))
    assert links.found == []
    assert "url(" not in render_report(record)


def test_the_page_shows_everybody_and_why(record: Record) -> None:
    """Names, reasons, epochs, and that the books balance."""
    page = render_report(record)
    for miner in record.miners:
        assert miner.name in page
    liar = next(miner for miner in record.miners if miner.name == "liar")
    assert liar.why.split(":")[0] in page
    assert page.count("<svg") == 2 + len(record.validators) + 1 + 2
    assert "They all are, to the last unit." in page


def test_books_that_are_off_are_said_so(record: Record) -> None:
    """A single unit is enough."""
    flows = [*record.books.flows, Flow(name="one unit is missing", unit="credit", left=1, right=2)]
    books = record.books.model_copy(update={"flows": flows})
    page = render_report(record.model_copy(update={"books": books, "balanced": books.balanced}))
    assert "One of them is not." in page
    assert "0.000001 credit" in page


def test_what_agents_bought_is_joined_to_who_was_paid(record: Record) -> None:
    """Goal, task, what was written, receipt, miner, payout; and words of a model are text, not markup."""
    task = AgentTask(
        id="open", title="Say it", agent="writer-1", state="done", attempts=1, spent=7, text="<b>Open</b> to all"
    )
    call = AgentCall(
        receipt="chatcmpl-1", agent="writer-1", task="open", miner="honest", tokens=9, charged=7, miner_earned=1_234_567,
        miner_redeemed=1_234_567,
    )  # fmt: skip
    agents = AgentsRecord(
        run="demo-notices", goal="Put up a notice", status="done", seconds=3.0, budget=1_000_000, spent=7,
        returned=999_993, tasks=[task], calls=[call],
    )  # fmt: skip
    page = render_report(record.model_copy(update={"agents": agents}))
    for words in ("Put up a notice", "&lt;b&gt;Open", "chatcmpl-1", "1.234567"):
        assert words in page
    assert "What agents made of it" not in render_report(record)


def test_words_of_strangers_are_escaped(record: Record) -> None:
    """A reason that a miner could influence is text, not markup."""
    evil = record.miners[0].model_copy(update={"why": "<script>alert(1)</script>", "name": "<b>x"})
    page = render_report(record.model_copy(update={"miners": [evil, *record.miners[1:]]}))
    assert "<script" not in page
    assert "<b>x" not in page


@pytest.mark.parametrize("size", ["1200,1600", "390,2000"])
def test_a_browser_draws_it_without_a_network(record: Record, tmp_path: Path, size: str) -> None:
    """Headless Chromium, at a desk and on a phone: the page renders, and asks for nothing but itself."""
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("needs chromium (scripts/system_packages.sh chromium=chromium)")
    page, picture, log = tmp_path / "report.html", tmp_path / "report.png", tmp_path / "net.json"
    page.write_text(render_report(record))
    subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--host-resolver-rules=MAP * ~NOTFOUND",
         f"--window-size={size}",
         f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={log}", f"--screenshot={picture}", page.as_uri()],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    assert picture.stat().st_size > 20_000
    asked = set(re.findall(r'"(?:url|original_url)":"([^"]+)"', log.read_text()))
    # The browser asks its maker for updates and the time of day, whatever page it shows.
    own = re.compile(r"https?://[^/]*\.(google|googleapis|gvt1)\.com/|chrome")
    assert {url for url in asked if not own.match(url)} <= {page.as_uri()}
