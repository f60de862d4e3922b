"""The competition in mending programs: failing tests go out, a diff comes back, hidden tests decide."""

from __future__ import annotations

from tercet.subnets.coding.bench import Bench, Report
from tercet.subnets.coding.diffs import DiffError, apply_diff, build_diff, is_protected
from tercet.subnets.coding.mechanism import SOLVERS, Coding
from tercet.subnets.coding.repository import Packed, pack_repository, write_fix
from tercet.subnets.coding.rogues import BEHAVIOURS
from tercet.subnets.coding.tasks import (
    MAX_FILES,
    MAX_TASK_BYTES,
    RepositoryTask,
    parse_task,
    read_answer,
    repository_work,
)
from tercet.subnets.coding.twins import Mixture, function_id, mix_twins, spoil_script
from tercet.subnets.coding.vet import find_tricks
from tercet.subnets.coding.witness import Witness, plant_canaries, runs_pytest, splits_python

__all__ = [
    "BEHAVIOURS",
    "MAX_FILES",
    "MAX_TASK_BYTES",
    "SOLVERS",
    "Bench",
    "Coding",
    "DiffError",
    "Mixture",
    "Packed",
    "Report",
    "RepositoryTask",
    "Witness",
    "apply_diff",
    "build_diff",
    "find_tricks",
    "function_id",
    "is_protected",
    "mix_twins",
    "pack_repository",
    "parse_task",
    "plant_canaries",
    "read_answer",
    "repository_work",
    "runs_pytest",
    "splits_python",
    "spoil_script",
    "write_fix",
]
