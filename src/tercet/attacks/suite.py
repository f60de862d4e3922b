"""Running attacks over seeds, in as many processes as there are cores, and judging what came out."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

from tercet.attacks import strategies
from tercet.attacks.interval import Interval, measure_interval
from tercet.attacks.lab import TCT, Attack, Lab, Trial
from tercet.errors import UsageError

Verdict = Literal["loses", "bounded", "unclear", "wins"]
"""loses: the whole interval lies below 1. bounded: not so, but a proved bound is stated and holds. unclear: the
interval has 1 in it. wins: the whole interval lies at 1 or above."""


class UnknownAttackError(UsageError):
    """No attack goes by that name."""


class BrokenTwinError(UsageError):
    """The honest twin earns nothing under these rules, so there is nothing to compare with."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one variant of an attack came to, over all seeds."""

    attack: str
    variant: str
    """Scenario and variant, such as `stable, noisy, lag 1`; empty when the attack has one only."""
    ratio: Interval
    """The attacker's profit over the honest twin's."""
    attacker: float
    """Mean profit, TCT."""
    honest: float
    """Mean profit of the twin, TCT."""
    seeds: int
    bound: float | None
    """The proved bound of the ratio, mean over seeds, where one is stated for every run."""
    kept: bool
    """Whether every single run kept within its own bound."""
    proof: str
    stopped_by: str
    refusals: Mapping[str, int]
    """The attacker's refused transactions by reason, all seeds together."""

    @property
    def verdict(self) -> Verdict:
        """Whether the attack pays."""
        if self.ratio.high < 1:
            return "loses"
        if self.bound is not None and self.kept:
            return "bounded"
        return "wins" if self.ratio.low >= 1 else "unclear"


@dataclass(frozen=True, slots=True)
class Task:
    """One run: what a process is handed."""

    attack: str
    """Name, or path of a file."""
    scenario: str
    lab: Lab


def find_attacks() -> dict[str, Attack]:
    """All attacks of this package by name: every module in `strategies` holds one, as `ATTACK`."""
    names = sorted(module.name for module in pkgutil.iter_modules(strategies.__path__))
    found = [importlib.import_module(f"{strategies.__name__}.{name}").ATTACK for name in names]
    return {attack.name: attack for attack in found}


def find_attack(name: str) -> Attack:
    """An attack by its name, or out of a file of one's own that ends in `.py`.

    Raises:
        UnknownAttackError: there is none.
    """
    if name.endswith(".py"):
        return _load_file(Path(name))
    known = find_attacks()
    if name not in known:
        raise UnknownAttackError(f"No attack is called {name!r}. Known: {', '.join(known)}, all, or a file FILE.py.")
    return known[name]


def _load_file(path: Path) -> Attack:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.exists():
        raise UnknownAttackError(f"There is no attack in {str(path)!r}: no such file.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    attack = getattr(module, "ATTACK", None)
    if not isinstance(attack, Attack):
        raise UnknownAttackError(f"{str(path)!r} defines no ATTACK. See docs/how-to/attack-your-own-rules.md.")
    return attack


def run_task(task: Task) -> Mapping[str, Trial]:
    """Run one scenario under one seed; by variant as the table shows it."""
    trials = find_attack(task.attack).play(task.scenario, task.lab)
    return {", ".join(part for part in (task.scenario, variant) if part): trial for variant, trial in trials.items()}


def plan_tasks(names: Sequence[str], lab: Lab, seeds: int, epochs: int | None = None) -> list[Task]:
    """Every scenario of every attack under every seed, the lab's own and those after it.

    Without `epochs` each attack runs for as many as it asks for, or as many as the lab says.
    """
    return [
        Task(attack_name, scenario, replace(lab, seed=lab.seed + seed, epochs=epochs or attack.epochs or lab.epochs))
        for attack_name, attack in ((name, find_attack(name)) for name in names)
        for scenario in attack.scenarios
        for seed in range(seeds)
    ]


def run_tasks(
    tasks: Sequence[Task], *, workers: int | None = None, progress: Callable[[int, int], None] = lambda _a, _b: None
) -> list[Mapping[str, Trial]]:
    """Run all tasks; their trials in the order of the tasks, whatever order they end in."""
    count = workers or os.cpu_count() or 1
    if count == 1 or len(tasks) == 1:
        return list(_one_by_one(tasks, progress))
    results: list[Mapping[str, Trial]] = [{} for _ in tasks]
    with ProcessPoolExecutor(min(count, len(tasks)), mp_context=get_context("spawn")) as pool:
        places = {pool.submit(run_task, task): place for place, task in enumerate(tasks)}
        try:
            for done, future in enumerate(as_completed(places), 1):
                results[places[future]] = future.result()
                progress(done, len(tasks))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return results


def _one_by_one(tasks: Sequence[Task], progress: Callable[[int, int], None]) -> Iterator[Mapping[str, Trial]]:
    for done, task in enumerate(tasks, 1):
        yield run_task(task)
        progress(done, len(tasks))


def judge(tasks: Sequence[Task], results: Sequence[Mapping[str, Trial]]) -> list[Finding]:
    """One finding for each variant of each attack, in the order of the tasks.

    Raises:
        BrokenTwinError: an honest twin earned nothing.
    """
    gathered: dict[tuple[str, str], list[Trial]] = {}
    for task, trials in zip(tasks, results, strict=True):
        for variant, trial in trials.items():
            gathered.setdefault((task.attack, variant), []).append(trial)
    return [_judge(name, variant, trials) for (name, variant), trials in gathered.items()]


def _judge(name: str, variant: str, trials: Sequence[Trial]) -> Finding:
    attack = find_attack(name)
    if any(trial.honest <= 0 for trial in trials):
        worst = min(trial.honest for trial in trials)
        who = f"{attack.name!r} ({variant})" if variant else repr(attack.name)
        raise BrokenTwinError(
            f"Under these rules the honest twin of {who} ends with {worst / TCT:.2f} TCT, so no "
            "ratio can be formed. Raise economy.reward, or lower what honest work costs."
        )
    bounds = [trial.bound for trial in trials if trial.bound is not None]
    refusals: Counter[str] = Counter()
    for trial in trials:
        refusals.update(trial.refusals)
    return Finding(
        attack=attack.name,
        variant=variant,
        ratio=measure_interval([trial.attacker / trial.honest for trial in trials]),
        attacker=sum(trial.attacker for trial in trials) / len(trials) / TCT,
        honest=sum(trial.honest for trial in trials) / len(trials) / TCT,
        seeds=len(trials),
        bound=sum(bounds) / len(bounds) if len(bounds) == len(trials) else None,
        kept=all(trial.attacker <= trial.bound * trial.honest for trial in trials if trial.bound is not None),
        proof=attack.proof if bounds else "",
        stopped_by=attack.stopped_by,
        refusals=dict(refusals.most_common()),
    )
