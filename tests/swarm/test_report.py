"""A run's report as people read it: with `cat`, and in what draws Markdown."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tercet.swarm.delivery import Delivery
from tercet.swarm.report import describe_run, render_report
from tercet.swarm.views import ArtefactView, CallView, RunState, RunView, TaskView

EVIL = "\x1b]0;pwn\x07\u202e ![x](https://evil/?q) <img src=x> `|` \\` *b* _i_\n# head"


def state_of(words: str, command: str, path: str) -> RunState:
    task = {"id": "a", "done": {"command": ["sh", "-c", command]}}
    run = RunView(
        goal=words, status="failed", why=words, model=words, planned_by=words, approved_by=words, plan={"tasks": [task]}
    )
    view = TaskView(id="a", title=words, state="failed", agent=words, why=words, tested=True, passed=True, proof=words)
    done = TaskView(id="b", title="b", state="done")
    made = ArtefactView(path=path, task="b", agent="coder_1", by="model my_small*", sha256="ab" * 32)
    call = CallView(id=words, node="run", model=words, status=words, upstream={"name": words})
    return RunState(run=run, tasks={"a": view, "b": done}, artefacts={path: made}, calls={"c": call})


def render(words: str, command: str = "true", path: str = "a.txt", delivery: Delivery | None = None) -> str:
    return render_report(describe_run("run-1", state_of(words, command, path), delivery))


def tokens(report: str) -> list[Token]:
    """The report as what draws Markdown, tables and HTML too, takes it."""
    found = MarkdownIt("commonmark").enable("table").parse(report)
    return [each for token in found for each in (token, *(token.children or ()))]


@pytest.mark.parametrize("path", [EVIL, "a|b", "a\\|<img src=x>", "`<img src=x>", "<img src=x>\\"])
def test_a_report_has_no_words_that_act(path: str) -> None:
    """No image is fetched, no tag or head is made, no terminal is drawn on, wherever the words stand."""
    delivery = Delivery([path], [(path, path)], [path], [(path, EVIL)])
    report = render(EVIL, path, path, delivery)
    assert all(line.isprintable() for line in report.splitlines())
    found = tokens(report)
    kinds = Counter(token.type for token in found)
    assert not {"image", "link_open", "html_inline", "html_block", "em_open", "strong_open"} & set(kinds)
    assert (kinds["heading_open"], kinds["td_open"]) == (5, 2 * 6 + 6 + 8), "and no head or cell is made"
    words = "".join(token.content for token in found if token.type in {"text", "text_special", "code_inline"})
    assert " ".join("".join(c if c.isprintable() else " " for c in path).split()) in words, "what was said is there"


def test_a_usual_report_reads_as_it_is_written() -> None:
    """Names and sentences have no escapes; paths and commands are code."""
    delivery = Delivery(["src/__init__.py"], [("a.md", "a.new.md")], ["old.py"], [("b.md", "you changed it")])
    words = "Analyse sales_by_month.csv (2 > 1), and say why: it's 10 % - done!"
    report = render(words, "test -s a_b.md | wc", "analysis/__init__.py", delivery)
    lines = report.splitlines()
    assert lines[0] == f"# {words}"
    assert lines[2] == f"The goal was not met. {words}"
    assert f"calls of {words}," in lines[4]
    assert f"| a: {words} | {words} | failed | 0 | 0 credit | `sh -c test -s a_b.md \\| wc` passed ({words}) |" in lines
    assert f"- `a` {words}" in lines
    assert f"| `analysis/__init__.py` | coder_1 | model my_small\\* | 0 credit | 0 | {'ab' * 8} |" in lines
    assert [line for line in lines if line.startswith("- `")][1:] == [
        "- `src/__init__.py` was written",
        "- `old.py` was deleted",
        "- `a.md` was changed by you meanwhile; the new one is `a.new.md`",
        "- `b.md` was not touched: you changed it",
    ]


def test_what_is_not_there_is_told_so() -> None:
    empty: Any = RunState()
    report = render_report(describe_run("run-1", empty))
    assert "The plan was made by nobody and approved by nobody." in report
    assert "0 calls of no model" in report
