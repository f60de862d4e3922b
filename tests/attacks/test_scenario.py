"""The world that validators measure."""

from __future__ import annotations

from statistics import fmean, pstdev

import pytest

from tercet.attacks.scenario import SCENARIOS, SPREAD, Noise, Scenario


@pytest.mark.parametrize("text", SCENARIOS)
def test_a_seed_repeats_itself_and_looking_changes_nothing(text: str) -> None:
    """Fate does not depend on how many validators look."""
    seen, blind = Scenario.parse(text, 7), Scenario.parse(text, 7)
    machines = [(seen.build_machine(), blind.build_machine()) for _ in range(3)]
    for _ in range(5):
        for one, other in machines:
            seen.look(one)
            assert one.quality == other.quality
        assert [seen.leaves() for _ in machines] == [blind.leaves() for _ in machines]
        seen.pass_epoch()
        blind.pass_epoch()
    assert Scenario.parse(text, 8).build_machine().quality != machines[0][0].quality


@pytest.mark.parametrize("noise", SPREAD)
def test_noise_is_as_large_as_it_says(noise: Noise) -> None:
    """A relative standard deviation; what falls below zero is zero."""
    scenario = Scenario("stable", noise, 1)
    machine = scenario.build_machine(2.0)
    scores = [scenario.look(machine) for _ in range(4_000)]
    assert min(scores) >= 0
    assert fmean(scores) == pytest.approx(2.0, rel=0.03)
    assert pstdev(scores) == pytest.approx(2.0 * SPREAD[noise], rel=0.08)


def test_tenants_share_throughput_only_when_they_are_asked_together() -> None:
    """Three names on one machine."""
    together, apart = Scenario("stable", "quiet", 1), Scenario("stable", "quiet", 1, together=False)
    for scenario, part in ((together, 3), (apart, 1)):
        machine = scenario.build_machine(1.0)
        machine.tenants = 3
        assert fmean(scenario.look(machine) for _ in range(200)) == pytest.approx(1 / part, rel=0.02)


def test_only_a_drifting_world_drifts_and_only_a_churning_one_loses_miners() -> None:
    """Within bounds, and about as often as it says."""
    stable, drifting, churning = (Scenario(process, "quiet", 3) for process in ("stable", "drifting", "churning"))
    rock, leaf = stable.build_machine(1.0), drifting.build_machine(1.0)
    for _ in range(300):
        stable.pass_epoch()
        drifting.pass_epoch()
        assert 0.2 <= leaf.quality <= 3
    assert rock.quality == 1.0 != leaf.quality
    assert not any(stable.leaves() for _ in range(100))
    assert fmean(churning.leaves() for _ in range(3_000)) == pytest.approx(0.10, abs=0.02)
