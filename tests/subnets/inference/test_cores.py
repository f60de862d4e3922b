from __future__ import annotations

import os
from pathlib import Path

import pytest

from tercet.subnets.inference import count_cores, model_threads


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000", 6),
        ("250000 100000", 2),
        ("50000 100000", 1),
        ("9900000 100000", 6),
        ("junk", 6),
        ("1 0", 6),
        ("", 6),
    ],
)
def test_the_cores_are_what_affinity_and_quota_both_leave(
    quota: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)) if pid == 0 else set())
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert count_cores(tmp_path / "cpu.max") == cores


def test_without_a_quota_or_an_affinity_it_is_what_the_machine_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert count_cores(tmp_path / "none") == 12
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert count_cores(tmp_path / "none") == 1


def test_half_of_the_cores_are_left_alone() -> None:
    """On two cores one thread: the second is for the sandbox."""
    assert [model_threads(cores) for cores in (1, 2, 3, 4, 7, 16, 64)] == [1, 1, 1, 2, 3, 8, 8]
