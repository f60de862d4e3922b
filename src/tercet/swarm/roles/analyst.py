"""The analyst: what a CSV says. Numbers and plots come from programs in the sandbox; a model chooses and words them.

A finding is a sentence about one computed fact. It is kept when a program finds that fact's number in it, no other
number, and the names of the columns; so a model can be clumsy, but it cannot make a number up.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Literal

from tercet.errors import AttemptError
from tercet.swarm.roles.checks.facts import title
from tercet.swarm.roles.checks.report import FINDINGS, finding_faults
from tercet.swarm.workbench import CHECKS, Made, Workbench

__all__ = ["Analyst"]

_SAMPLES = 6
_PLOTS = 3
_WANTED = 4
"""Findings that are tried; two have to succeed."""
_SHOWN = 30
_PYTHON = ("python3", "-B")


class Analyst:
    """Options of its tasks: `part` (facts, report), `data`, `facts`, `samples`."""

    kind: Literal["model"] = "model"

    async def work(self, bench: Workbench) -> Made:
        """Compute the facts, or write the report on them."""
        options = bench.task.options
        data = str(options.get("data", ""))
        if options.get("part") == "facts":
            return await _compute(bench, data, bench.task.outputs[0])
        facts, pages = str(options.get("facts", "")), [name for name in bench.task.outputs if name.endswith(".md")]
        if not pages:
            raise AttemptError("The task's outputs name no page (FILE.md) for the report.", final=True)
        same = await bench.run([*_PYTHON, f"{CHECKS}/facts.py", data, "--check", facts])
        if not same.ok:
            raise AttemptError(
                f"{facts!r} does not hold the facts of {data!r}. Let the task need the one that computes them.",
                final=True,
            )
        return await self._report(bench, data, json.loads(bench.read(facts)), pages[0])

    async def _report(self, bench: Workbench, data: str, summary: Mapping[str, Any], path: str) -> Made:
        folder = str(PurePosixPath(path).parent / "plots")
        known = await bench.recall()
        named = [(plot["id"], plot["title"]) for plot in summary["plots"]]
        plots = await _choose(bench, "plots", named, _PLOTS, known)
        ran = await bench.run([*_PYTHON, f"{CHECKS}/chart.py", data, folder, *plots], seconds=120, memory=2 << 30)
        if not ran.ok:
            raise AttemptError(f"The plots could not be drawn: {ran.output[-300:]}")
        facts = summary["facts"]
        # What joins columns says more than what is in one, and small models choose from the top of a list.
        ranked = sorted((fact for fact in facts if fact["columns"]), key=lambda fact: -len(fact["columns"]))
        offered = [(fact["id"], f"{fact['text']}: {fact['value']}") for fact in ranked]
        chosen = await _choose(bench, "facts", offered, _WANTED, known)
        findings = [
            found for fact in facts if fact["id"] in chosen if (found := await self._finding(bench, fact)) is not None
        ]
        if len(findings) < FINDINGS:
            raise AttemptError(f"Only {len(findings)} of {len(chosen)} findings said what the data says.")
        bench.write(path, _page(bench, data, summary, plots, findings))
        await _vouch(bench, data, path, findings)
        return Made(f"model {bench.model}".strip(), f"{len(findings)} findings, {len(plots)} plots")

    async def _finding(self, bench: Workbench, fact: Mapping[str, Any]) -> str | None:
        """A sentence that the program finds true, or None."""
        messages = [
            {"role": "system", "content": "You report what data says, in one plain English sentence."},
            {
                "role": "user",
                "content": f"Fact: {fact['text']} is {fact['value']}.\n"
                f"Write one sentence that states this fact and the number {fact['value']}. Use no other number.",
            },
        ]
        schema = {
            "type": "object",
            "properties": {"sentence": {"type": "string", "minLength": 12, "maxLength": 160}},
            "required": ["sentence"],
            "additionalProperties": False,
        }
        for sample in range(int(bench.task.options.get("samples", _SAMPLES))):
            found = await bench.think_json(
                messages,
                schema,
                max_tokens=80,
                temperature=0.6 if sample else 0.0,
                seed=1000 * bench.attempt + sample,
            )
            sentence = " ".join(str((found or {}).get("sentence", "")).split())
            plain = sentence.isprintable() and not set(sentence) & set("[]`|<>#")
            if plain and 4 <= len(sentence.split()) <= 30 and not finding_faults(sentence, fact):
                return f"- {sentence.rstrip('.')}. [{fact['id']}]"
        return None


async def _compute(bench: Workbench, data: str, path: str) -> Made:
    ran = await bench.run([*_PYTHON, f"{CHECKS}/facts.py", data, "--write", path])
    if not ran.ok:
        raise AttemptError(f"{data!r} cannot be read as a table: {ran.output[-300:]}", final=True)
    return Made("program", f"facts of {data}")


async def _vouch(bench: Workbench, data: str, path: str, findings: Sequence[str]) -> None:
    """Have every finding derived anew from the data, and make each a claim that others may rest on."""
    command = [*_PYTHON, f"{CHECKS}/report.py", data, path]
    ran = await bench.run(command)
    if not ran.ok:
        raise AttemptError(f"The report does not say what the data says: {ran.output[-300:]}")
    source = f"{data}@sha256:{bench.before[data].sha256}"
    evidence = hashlib.sha256(json.dumps([command, source, bench.read(path), ran.output]).encode()).hexdigest()
    for finding in findings:
        words = finding.removeprefix("- ").rpartition(" [")[0]
        await bench.claim_checked(f"{data}: {words}", tool=" ".join(command), evidence=evidence, sources=[source])


async def _choose(bench: Workbench, what: str, offered: Sequence[tuple[str, str]], most: int, known: str) -> list[str]:
    """Ids that the model picks for the goal. Its answer can hold nothing else."""
    offered = offered[:_SHOWN]
    ids = [name for name, _ in offered]
    count = min(most, len(ids))
    schema = {
        "type": "object",
        "properties": {"ids": {"type": "array", "items": {"enum": ids}, "minItems": count, "maxItems": count}},
        "required": ["ids"],
        "additionalProperties": False,
    }
    listed = "\n".join(f"{name}: {words}" for name, words in offered)
    told = [f"Goal: {bench.goal}", *([known] if known else []), f"{what.capitalize()}:\n{listed}"]
    asked = "\n\n".join([*told, f"Choose the {count} {what} that serve the goal best, all different."])
    messages = [{"role": "user", "content": asked}]
    for sample in range(3):
        found = await bench.think_json(
            messages, schema, max_tokens=60, temperature=0.7 if sample else 0.0, seed=1000 * bench.attempt + sample
        )
        picked = (found or {}).get("ids", [])
        fitting = list(dict.fromkeys(name for name in picked if name in ids)) if isinstance(picked, list) else []
        if len(fitting) >= min(2, count):
            return fitting[:most]
    raise AttemptError(f"The model did not choose among the {what}.")


def _page(
    bench: Workbench, data: str, summary: Mapping[str, Any], plots: Sequence[str], findings: Sequence[str]
) -> str:
    """The report as Markdown."""
    named = {plot["id"]: title(plot) for plot in summary["plots"]}
    columns = [f"| {name} | {kind} |" for name, kind in summary["columns"].items()]
    table = [f"| {fact['id']} | {fact['text']} | {fact['value']} |" for fact in summary["facts"]]
    pictures = [line for name in plots for line in (f"![{named[name]}](plots/{name}.png)", "")]
    lines = [
        f"# {PurePosixPath(data).name}",
        "",
        f"Asked: {bench.goal}",
        "",
        f"{summary['rows']} rows.",
        "",
        "## Findings",
        "",
        *findings,
        "",
        "Each number was computed from the data by a program; the fact it comes from stands behind it.",
        "",
        "## Plots",
        "",
        *pictures,
        "## Columns",
        "",
        "| column | holds |",
        "| --- | --- |",
        *columns,
        "",
        "## Facts",
        "",
        "| fact | what | value |",
        "| --- | --- | --- |",
        *table,
    ]
    return "\n".join(lines) + "\n"
