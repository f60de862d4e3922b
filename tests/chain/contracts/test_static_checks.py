"""The check of the contracts' sources finds what it is there to find."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from tercet.chain.artifacts import ContractName, load_artifact

ROOT = Path(__file__).parents[3]
HEAD = '''# pragma version ==0.4.3
"""
@title Bad
@license Apache-2.0
@notice Shows what must not be.
@custom:kill None.
"""
from ethereum.ercs import IERC20

event Done:
    amount: uint256

total: uint256
token: address
'''
NOTICE = '    """\n    @notice Does it.\n    """\n'
CALL = "    assert extcall IERC20(self.token).transfer(msg.sender, 1, default_return_value=True), 'bad: no'\n"
WRITE = "    self.total += 1\n"
LOG = "    log Done(amount=self.total)\n"
GOOD = f"@external\n@nonreentrant\ndef act():\n{NOTICE}{WRITE}{LOG}{CALL}"
CASES = {
    "good": (GOOD, []),
    "order": (f"@external\n@nonreentrant\ndef act():\n{NOTICE}{CALL}{WRITE}{LOG}", ["order Bad.act"]),
    "order by way of an internal function": (
        f"@external\n@nonreentrant\ndef act():\n{NOTICE}    self._pay()\n{WRITE}{LOG}\n@internal\ndef _pay():\n{CALL}",
        ["order Bad.act"],
    ),
    "order by way of a loop": (
        GOOD.replace(WRITE, f"    for k: uint256 in range(2):\n    {WRITE}    {CALL}"),
        ["order Bad.act"],
    ),
    "lock": (GOOD.replace("@nonreentrant\n", ""), ["lock Bad.act"]),
    "loop": (
        GOOD.replace(WRITE, "    for k: uint256 in range(60_000):\n        self._add()\n")
        + f"\n@internal\ndef _add():\n    for k: uint256 in range(10):\n    {WRITE}",
        ["loop Bad.act"],
    ),
    "reason of another contract": (GOOD.replace("'bad: no'", "'good: no'"), ["reason Bad.act"]),
    "no reason": (GOOD.replace(", 'bad: no'", ""), ["reason Bad.act"]),
    "silent": (GOOD.replace(LOG, ""), ["silent Bad.act", "unused Bad.Done"]),
    "ignored": (GOOD.replace(CALL, "    extcall IERC20(self.token).transfer(msg.sender, 1)\n"), ["ignored Bad.act"]),
    "power": (
        GOOD.replace(CALL, "    raw_call(self.token, b'')\n    assert tx.origin == msg.sender, 'bad: no'\n"),
        ["power Bad.act raw_call", "power Bad.act tx.origin"],
    ),
    "unchecked": (GOOD.replace(WRITE, "    self.total = unsafe_add(self.total, 1)\n"), ["unchecked Bad.act"]),
    "precision": (GOOD.replace(WRITE, "    self.total = self.total // 7 * 5\n"), ["precision Bad.act"]),
    "unused": (
        f"OLD: constant(uint256) = 1\n{GOOD}\n@internal\ndef _old():\n    pass\n",
        ["unused Bad.OLD", "unused Bad._old"],
    ),
    "words": (GOOD.replace("@notice", "@dev"), ["words Bad.act"]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_fault_is_found(case: str, tmp_path: Path) -> None:
    """A contract with one fault has that finding and no other; without a fault it has none."""
    body, findings = CASES[case]
    (tmp_path / "Bad.vy").write_text(HEAD + body)
    command = [sys.executable, str(ROOT / "scripts/check_contracts.py"), "--list", "--sources", str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout.strip().splitlines() == findings


def test_findings_without_an_answer_fail(tmp_path: Path) -> None:
    """The check's exit code says so, and names the finding."""
    (tmp_path / "Bad.vy").write_text(HEAD + CASES["lock"][0])
    command = [sys.executable, str(ROOT / "scripts/check_contracts.py"), "--sources", str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert "lock Bad.act" in answer.stderr


def test_our_contracts_have_no_open_finding() -> None:
    """Each is mended or answered in docs/reference/static-analysis.md, and no answer is left over."""
    subprocess.run([sys.executable, str(ROOT / "scripts/check_contracts.py")], check=True)


def test_slither_has_read_the_contracts_as_they_are() -> None:
    """The page names the sources of its newest run. To mend: run scripts/slither_contracts.py as it says itself."""
    artifacts = [load_artifact(name) for name in sorted(get_args(ContractName))]
    sources = "".join(f"{artifact.name} {artifact.source_sha256}\n" for artifact in artifacts)
    digest = hashlib.sha256(sources.encode()).hexdigest()[:16]
    page = (ROOT / "docs" / "reference" / "static-analysis.md").read_text()
    assert f"read last: sources `{digest}`" in page
