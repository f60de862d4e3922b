"""`tercet attack`: run attacks against the real contracts, under these rules or one's own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tercet.attacks.interval import CONFIDENCE
from tercet.attacks.lab import RULES, Lab
from tercet.attacks.params import build_economy
from tercet.cli.frame import TercetCommand
from tercet.cli.output import is_terminal, print_json, print_table, say
from tercet.cli.rules import parse_rules_file, read_rules
from tercet.errors import TercetError, UsageError

if TYPE_CHECKING:
    from tercet.attacks.suite import Finding

__all__ = ["command"]

SHOWN_REFUSALS = 3
MOST_MINERS = 12
"""In any market that the suite plays."""


@click.command(
    "attack",
    cls=TercetCommand,
    examples=("tercet attack all", "tercet attack copier --params rules.toml --seeds 8"),
    schema={
        "seeds": "runs of each scenario",
        "first_seed": "the first of them; the others follow it",
        "interval": "what `low` and `high` mean",
        "ok": "whether every attack loses, or stays within a proved bound; the exit code is 1 when not",
        "findings[].attack": "its name",
        "findings[].variant": "scenario and variant; empty when there is one only",
        "findings[].ratio": "attacker's profit over the honest twin's, mean over seeds",
        "findings[].low": "lower end of the interval; null for a single seed",
        "findings[].high": "upper end of the interval; null for a single seed",
        "findings[].attacker": "mean profit of the attacker, TCT",
        "findings[].honest": "mean profit of the twin, TCT",
        "findings[].verdict": "`loses` (the whole interval is below 1), `bounded`, `unclear` or `wins`",
        "findings[].bound.ratio": "the proved bound, where one is stated",
        "findings[].bound.proof": "its proof",
        "findings[].stopped_by": "the rule that takes the profit out of it",
        "findings[].refusals.*": "the attacker's refused transactions by the contract's reason, all seeds",
        "unmeasured[].attack": "an attack whose honest twin earns nothing under these rules, so no ratio can be formed",
        "unmeasured[].reason": "in words, and what to change",
        "attacks[].name": "without NAME: an attack",
        "attacks[].about": "without NAME: what the attacker does",
        "attacks[].twin": "without NAME: who it is compared with",
    },
)
@click.argument("name", required=False, metavar="[NAME|FILE.py|all]")
@click.option("--params", metavar="FILE", help="Your own rules, as for `tercet market create`.")
@click.option("--seeds", default=4, show_default=True, type=click.IntRange(min=1), help="Runs of each scenario.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="The first of them.")
@click.option("--epochs", type=click.IntRange(min=1), help="Of each run (default: what each attack asks for).")
@click.option("--workers", type=click.IntRange(min=1), help="Processes at a time (default: one for each core).")
def command(
    name: str | None,
    *,
    params: str | None,
    seeds: int,
    seed: int,
    epochs: int | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Run an attack, or all, against the market's contracts on the embedded chain's EVM; without NAME, list them.

    Each attacker stands beside an honest twin of equal cost. Exits with 1 unless every attack earns less than its twin
    (with 95 % confidence over the seeds), or no more than a proved bound.
    """
    from tercet.attacks import suite  # noqa: PLC0415  # py-evm takes a second to import

    if name is None:
        _list(suite.find_attacks().values(), as_json=as_json)
        return
    names = list(suite.find_attacks()) if name == "all" else [name]
    lab = replace(_read_lab(Path(params)) if params else Lab(), seed=seed)
    tasks = suite.plan_tasks(names, lab, seeds, epochs)
    results = suite.run_tasks(tasks, workers=workers, progress=_progress)
    findings, unmeasured = judge_runs(suite, list(zip(tasks, results, strict=True)))
    ok = not unmeasured and all(finding.verdict in ("loses", "bounded") for finding in findings)
    if as_json:
        shown = {"seeds": seeds, "first_seed": seed, "interval": CONFIDENCE, "ok": ok}
        missing = [{"attack": attack, "reason": str(error)} for attack, error in unmeasured.items()]
        print_json({**shown, "findings": [_finding_json(finding) for finding in findings], "unmeasured": missing})
    else:
        _print(findings, seeds, seed)
        for error in unmeasured.values():
            click.echo(f"\nNot measured. {error}")
    click.get_current_context().exit(0 if ok else 1)


def judge_runs(suite: Any, runs: Sequence[tuple[Any, Any]]) -> tuple[list[Finding], dict[str, TercetError]]:
    """Attack by attack: what it came to, or why that cannot be said.

    Raises:
        BrokenTwinError: of no attack it can.
    """
    findings: list[Finding] = []
    unmeasured: dict[str, TercetError] = {}
    for attack in dict.fromkeys(task.attack for task, _ in runs):
        own = [run for run in runs if run[0].attack == attack]
        try:
            findings += suite.judge([task for task, _ in own], [trials for _, trials in own])
        except suite.BrokenTwinError as error:
            unmeasured[attack] = error
    if not findings:
        raise next(iter(unmeasured.values()))
    return findings, unmeasured


def _read_lab(path: Path) -> Lab:
    """The rules of a file as for `tercet market create`, and its table `economy`, if it has one."""
    content = dict(parse_rules_file(path))
    economy = build_economy(content.pop("economy", {}), str(path))
    rules = read_rules(path, content, RULES)
    if 0 < rules.max_miners < MOST_MINERS:
        raise UsageError(
            f"{path}: the markets that are attacked have up to {MOST_MINERS} miners, and max_miners is {rules.max_miners}. "
            "Raise it there; the attacks that need a full market make theirs small by themselves."
        )
    return Lab(rules, economy)


def _progress(done: int, of: int) -> None:
    if is_terminal():
        click.echo(f"\r{done} of {of} runs", nl=done == of, err=True)


def _list(attacks: Any, *, as_json: bool) -> None:
    if as_json:
        print_json({"attacks": [{"name": a.name, "about": a.about, "twin": a.twin} for a in attacks]})
    else:
        print_table(["name", "about"], [[a.name, a.about] for a in attacks], "There is no attack.")
        say("\nRun one: tercet attack NAME; all of them: tercet attack all")


def _finding_json(finding: Finding) -> dict[str, Any]:
    return {
        "attack": finding.attack,
        "variant": finding.variant,
        "ratio": finding.ratio.mean,
        "low": finding.ratio.low if math.isfinite(finding.ratio.low) else None,
        "high": finding.ratio.high if math.isfinite(finding.ratio.high) else None,
        "attacker": finding.attacker,
        "honest": finding.honest,
        "verdict": finding.verdict,
        **({"bound": {"ratio": finding.bound, "proof": finding.proof}} if finding.bound is not None else {}),
        "stopped_by": finding.stopped_by,
        "refusals": dict(finding.refusals),
    }


def _print(findings: Sequence[Finding], seeds: int, seed: int) -> None:
    print_table(
        ["attack", "variant", "attacker", "honest", "ratio", "95 %", "verdict"],
        [
            [
                finding.attack,
                finding.variant,
                f"{finding.attacker:.2f}",
                f"{finding.honest:.2f}",
                _ratio(finding.ratio.mean),
                _interval(finding),
                finding.verdict,
            ]
            for finding in findings
        ],
        "Nothing ran.",
    )
    click.echo(f"\nProfits in TCT, mean of {seeds} seeds from {seed}; interval: {CONFIDENCE}. What stopped them:\n")
    for attack in dict.fromkeys(finding.attack for finding in findings):
        own = [finding for finding in findings if finding.attack == attack]
        click.echo(f"  {attack}: {own[0].stopped_by}")
        for reason, count in _top(own):
            click.echo(f"    {count} x refused: {reason}")
        bounded = [f"{finding.variant} {finding.bound:.3f}" for finding in own if finding.bound is not None]
        if bounded:
            click.echo(f"    proved bounds: {'; '.join(bounded)}. {own[0].proof}")


def _ratio(value: float) -> str:
    """Two or three digits; never rounded up to 1 from below."""
    return f"{math.floor(value * 1_000) / 1_000:.3f}" if value < 1 else f"{value:.3f}"


def _interval(finding: Finding) -> str:
    low, high = finding.ratio.low, finding.ratio.high
    return f"{_ratio(low)} to {_ratio(high)}" if math.isfinite(low) else "one seed"


def _top(findings: Sequence[Finding]) -> list[tuple[str, int]]:
    total: dict[str, int] = {}
    for finding in findings:
        for reason, count in finding.refusals.items():
            total[reason] = total.get(reason, 0) + count
    return sorted(total.items(), key=lambda item: -item[1])[:SHOWN_REFUSALS]
