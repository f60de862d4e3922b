"""`tercet epoch`: look at epochs, close them, replay published vectors."""

from __future__ import annotations

import click

from tercet.cli.frame import group
from tercet.cli.output import print_json, print_table, say
from tercet.market.replay import CaseReport, ReplayReport, replay_file

__all__ = ["command"]

SHOWN_MISMATCHES = 5


@group("epoch", examples=("tercet epoch show --market inference", "tercet epoch replay vectors/yuma.json"))
def command() -> None:
    """Look at epochs, close them, replay published vectors."""


@command.command(
    "replay",
    examples=("tercet epoch replay yuma.json", "tercet epoch replay yuma.json --json"),
    schema={
        "path": "the file",
        "source": "where its vectors come from",
        "asserted": "values that the source asserts",
        "matched": "how many of them came out",
        "mentioned": "values that the source mentions without asserting them",
        "mentioned_matched": "how many of those came out",
        "ok": "whether every asserted value came out",
        "cases[].name": "the case",
        "cases[].asserted": "as above, for this case",
        "cases[].matched": "as above, for this case",
        "cases[].mentioned": "as above, for this case",
        "cases[].mentioned_matched": "as above, for this case",
        "cases[].mismatches[].where": "step and place",
        "cases[].mismatches[].expected": "the asserted value",
        "cases[].mismatches[].got": "what came out",
    },
)
@click.argument("file", metavar="FILE")
def replay(file: str, as_json: bool) -> None:
    """Run the epochs of a vectors file (tercet-yuma-vectors/1) and compare every asserted value.

    Exits with 1 when a value differs, with 2 when the file is refused.
    """
    report = replay_file(file)
    if as_json:
        print_json(_replay_json(report))
    else:
        _print_replay(report)
    click.get_current_context().exit(0 if report.ok else 1)


def _replay_json(report: ReplayReport) -> dict[str, object]:
    return {
        "path": report.path,
        "source": report.source,
        "asserted": report.asserted,
        "matched": report.matched,
        "mentioned": report.mentioned,
        "mentioned_matched": report.mentioned_matched,
        "ok": report.ok,
        "cases": [_case_json(case) for case in report.cases],
    }


def _case_json(case: CaseReport) -> dict[str, object]:
    return {
        "name": case.name,
        "asserted": case.asserted,
        "matched": case.matched,
        "mentioned": case.mentioned,
        "mentioned_matched": case.mentioned_matched,
        "mismatches": [{"where": m.where, "expected": m.expected, "got": m.got} for m in case.mismatches],
    }


def _print_replay(report: ReplayReport) -> None:
    rows = [
        [
            c.name,
            c.asserted,
            c.matched,
            c.mentioned,
            c.mentioned_matched,
            "ok" if c.matched == c.asserted else "DIFFERS",
        ]
        for c in report.cases
    ]
    print_table(["case", "asserted", "match", "mentioned", "match", ""], rows, "The file has no cases.")
    for case in report.cases:
        for mismatch in case.mismatches[:SHOWN_MISMATCHES]:
            say(f"{case.name}, {mismatch.where}: expected {mismatch.expected}, got {mismatch.got}")
        if len(case.mismatches) > SHOWN_MISMATCHES:
            say(f"{case.name}: and {len(case.mismatches) - SHOWN_MISMATCHES} more")
    click.echo(f"{report.matched} of {report.asserted} asserted values match exactly.")
