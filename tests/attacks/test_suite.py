"""How attacks are found, run and judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tercet.attacks.strategies
from tercet.attacks.lab import TCT, Lab, Trial
from tercet.attacks.suite import (
    BrokenTwinError,
    Finding,
    Task,
    UnknownAttackError,
    find_attack,
    find_attacks,
    judge,
    plan_tasks,
    run_tasks,
)

FOLDER = Path(tercet.attacks.strategies.__path__[0])
OWN = """
from tercet.attacks.lab import Attack, Trial

def play(scenario, lab):
    return {"": Trial(attacker=lab.seed, honest=10)}

ATTACK = Attack("mine", "It hopes.", "Nothing.", "Itself.", play)
"""


def test_every_file_is_an_attack_and_has_its_own_name() -> None:
    """A new file is a new attack."""
    files = {path.stem for path in FOLDER.glob("*.py")} - {"__init__"}
    assert len(find_attacks()) == len(files) >= 16


def test_an_attack_says_what_people_need_to_know() -> None:
    """Words in every column; a proof where a bound may be stated."""
    for name, attack in find_attacks().items():
        assert name == attack.name == name.lower()
        for words in (attack.about, attack.stopped_by, attack.twin):
            assert len(words) > 20, name
        assert attack.scenarios


def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    """Also when it is a file."""
    with pytest.raises(UnknownAttackError, match="copier"):
        find_attack("copyer")
    with pytest.raises(UnknownAttackError, match="no such file"):
        find_attack(str(tmp_path / "none.py"))
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(UnknownAttackError, match="no ATTACK"):
        find_attack(str(tmp_path / "empty.py"))


def test_a_file_of_ones_own_is_an_attack(tmp_path: Path) -> None:
    """Its trials are judged as any other's: seeds 8 to 11 over 10."""
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    tasks = plan_tasks([str(path)], Lab(seed=8), 4)
    (finding,) = judge(tasks, run_tasks(tasks, workers=1))
    assert (finding.attack, finding.verdict) == ("mine", "unclear")
    assert finding.ratio.mean == pytest.approx(0.95)


def verdict(trials: list[Trial]) -> Finding:
    """Of trials of an attack that exists."""
    tasks = [Task("dust", "", Lab(seed=seed)) for seed in range(len(trials))]
    (finding,) = judge(tasks, [{"x": trial} for trial in trials])
    return finding


@pytest.mark.parametrize(
    ("pairs", "bound", "expected"),
    [
        ([(50, 100), (51, 100)], None, "loses"),
        ([(50, 100)], None, "unclear"),
        ([(90, 100), (120, 100)], None, "unclear"),
        ([(150, 100), (151, 100)], None, "wins"),
        ([(150, 100), (151, 100)], 1.6, "bounded"),
        ([(150, 100), (170, 100)], 1.6, "unclear"),
        ([(500, 100), (505, 100)], 1.6, "wins"),
        ([(100, 100), (100, 100)], None, "wins"),
        ([(-50, 100), (-40, 100)], None, "loses"),
    ],
)
def test_verdicts(pairs: list[tuple[int, int]], bound: float | None, expected: str) -> None:
    """Below 1 with the whole interval; or within its own bound in every single run; or not."""
    assert verdict([Trial(a, h, bound=bound) for a, h in pairs]).verdict == expected


def test_a_bound_counts_only_when_every_run_states_one() -> None:
    """One without leaves nothing proved."""
    assert verdict([Trial(150, 100, bound=1.6), Trial(150, 100)]).bound is None


def test_refusals_add_up_over_seeds() -> None:
    """Most frequent first."""
    found = verdict([Trial(1, 9, {"a": 1, "b": 1}), Trial(1, 9, {"b": 4})])
    assert list(found.refusals.items()) == [("b", 5), ("a", 1)]


def test_a_twin_that_earns_nothing_is_no_measure() -> None:
    """The message says what to raise."""
    with pytest.raises(BrokenTwinError, match=r"economy\.reward"):
        verdict([Trial(1, 0)])


def test_processes_change_nothing() -> None:
    """Results come in the order of the tasks, whoever is faster."""
    lab = replace(Lab(), economy=replace(Lab().economy, reward=50 * TCT))
    tasks = plan_tasks(["half-closed", "voucher"], lab, 2, epochs=2)
    assert [task.lab.seed for task in tasks] == [0, 1, 0, 1]

    def plain(results: Any) -> Any:
        return [{name: (t.attacker, t.honest, dict(t.refusals)) for name, t in found.items()} for found in results]

    assert plain(run_tasks(tasks, workers=2)) == plain(run_tasks(tasks, workers=1))
