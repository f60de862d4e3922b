"""Done-tests of pytest in the real sandbox: whatever ends, skips or overrules the runner, success needs proof."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tercet.subnets.kit import Sandbox
from tercet.swarm.plan import DoneTest
from tercet.swarm.proof import DoneTests
from tercet.swarm.shop import _CHECKS_FOLDER
from tercet.swarm.store import Files, Store

BROKEN = "def twice(n):\n    return n + n + 1\n"
RIGHT = "def twice(n):\n    return n + n\n"
TESTS = """import pytest
from program import twice


@pytest.mark.parametrize("n", [1, 2])
def test_twice(n):
    assert twice(n) == 2 * n


def test_nothing():
    assert twice(0) == 0
"""
OTHER = "def test_other():\n    import program\n    assert program.twice(4) == 8\n"
BEFORE = {"program.py": BROKEN, "test_program.py": TESTS, "tests/test_other.py": OTHER}
PYTEST = ("python3", "-m", "pytest", "-q")
FORGED = """
import pytest
@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    report.outcome = "passed"
"""
PATCHED = """
import _pytest.runner
whole = _pytest.runner.TestReport.from_item_and_call.__func__
def passed(cls, item, call):
    report = whole(cls, item, call)
    report.outcome = "passed"
    return report
_pytest.runner.TestReport.from_item_and_call = classmethod(passed)
"""
SKIPPED = "import pytest\npytest.skip('later', allow_module_level=True)\n"
XFAILED = """
import pytest
def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.xfail)
"""
DROPPED = "def pytest_collection_modifyitems(items):\n    items[:] = [i for i in items if 'twice' not in i.name and i.name != 'test_other']\n"

ESCAPES: Mapping[str, tuple[Mapping[str, str], str]] = {
    "os._exit at import": ({"program.py": f"import os\n{BROKEN}os._exit(0)\n"}, "no proof of it"),
    "os._exit in a test": ({"program.py": "import os\ndef twice(n):\n    os._exit(0)\n"}, "no proof of it"),
    "os._exit at the end": ({"program.py": f"import os, atexit\n{BROKEN}atexit.register(os._exit, 0)\n"}, ""),
    "sys.exit at import": ({"program.py": f"import sys\n{BROKEN}sys.exit(0)\n"}, ""),
    "pytest.exit": ({"program.py": f"import pytest\n{BROKEN}pytest.exit('done', 0)\n"}, ""),
    "a report of its own making": ({"conftest.py": FORGED}, "tests that must fail did not"),
    "a conftest that ends it": (
        {"conftest.py": "import os\ndef pytest_sessionstart(session):\n    os._exit(0)\n"}, "no proof of it"
    ),
    "a runner that is patched": ({"program.py": BROKEN + PATCHED}, "tests that must fail did not"),
    "a plugin in the settings": (
        {"forger.py": FORGED, "pytest.ini": "[pytest]\naddopts = -p forger\n"}, "tests that must fail did not"
    ),
    "modules that skip themselves": ({"program.py": BROKEN + SKIPPED}, ""),
    "tests that are expected to fail": ({"conftest.py": XFAILED}, ""),
    "tests that are left out": ({"conftest.py": DROPPED, "program.py": "def twice(n):\n    return 0\n"}, "left out"),
    "no test at all": ({"pytest.ini": "[pytest]\naddopts = --collect-only\n"}, "no proof of it"),
}  # fmt: skip


@pytest.fixture(scope="module")
def done_tests(tmp_path_factory: pytest.TempPathFactory) -> DoneTests:
    sandbox = Sandbox.find(python_packages=["pytest"])
    return DoneTests(Store(tmp_path_factory.mktemp("store")), sandbox, {"/checks": _CHECKS_FOLDER}, {})


def laid(done_tests: DoneTests, texts: Mapping[str, str]) -> Files:
    return {path: done_tests.store.put(text.encode()) for path, text in texts.items()}


@pytest.mark.parametrize("name", ESCAPES)
async def test_an_escape_is_no_success(done_tests: DoneTests, name: str) -> None:
    """Each ends, skips or overrules the runner, most with exit code 0; none is done, and the detail says why."""
    added, why = ESCAPES[name]
    before = laid(done_tests, BEFORE)
    found = await done_tests.run(DoneTest(command=PYTEST), {**before, **laid(done_tests, added)}, before)
    assert not found["ok"]
    assert why in found["detail"]


async def test_an_honest_change_is_done(done_tests: DoneTests) -> None:
    """All tests that ran before run now and pass; a test of its own more, and one less in a file that it owns, are fine."""
    before = laid(done_tests, BEFORE)
    own = {
        "program.py": RIGHT,
        "test_new.py": "def test_new():\n    pass\n",
        "test_program.py": TESTS.replace("nothing", "zero"),
    }
    found = await done_tests.run(DoneTest(command=PYTEST), {**before, **laid(done_tests, own)}, before)
    assert found["ok"], found["detail"]
    assert "tercet" not in found["detail"], "nothing of the proof is shown"


@pytest.mark.parametrize(
    "command",
    [
        (*PYTEST, "-x"),
        (*PYTEST, "test_program.py::test_nothing"),
        ("sh", "-c", "python3 -m pytest -q tests"),
    ],
    ids=["-x", "one test", "a line of shell"],
)
async def test_a_part_of_the_tests_can_be_asked_for(done_tests: DoneTests, command: tuple[str, ...]) -> None:
    """A command that selects no test of ours is judged by the tests that it does select."""
    before = laid(done_tests, BEFORE)
    found = await done_tests.run(
        DoneTest(command=command), {**before, **laid(done_tests, {"program.py": RIGHT})}, before
    )
    assert found["ok"], found["detail"]


async def test_failing_tests_are_shown_as_they_are(done_tests: DoneTests) -> None:
    """One run, and pytest's own words."""
    before = laid(done_tests, BEFORE)
    found = await done_tests.run(DoneTest(command=PYTEST), before, before)
    assert not found["ok"]
    assert "assert 3 == (2 * 1)" in found["detail"]


async def test_a_module_that_did_not_load_has_to_be_tested_now(done_tests: DoneTests) -> None:
    """The program could not be imported before; a change that makes one module skip is not done, a repair is."""
    before = laid(done_tests, {**BEFORE, "program.py": "def twice(n:\n"})
    skipping = f"import sys, pytest\n{BROKEN}if 'test_program' in sys.modules:\n    {SKIPPED.splitlines()[1]}\n"
    for program, ok in ((skipping, False), (RIGHT, True)):
        files = {**before, **laid(done_tests, {"program.py": program})}
        found = await done_tests.run(DoneTest(command=PYTEST), files, before)
        assert found["ok"] is ok, found["detail"]


async def test_the_repairs_own_check_is_proven_too(done_tests: DoneTests, tmp_path: Path) -> None:
    """`repair.py` runs pytest below itself; what ends that is no success either."""
    files = laid(done_tests, {**BEFORE, "program.py": RIGHT})
    done_tests.store.lay_out(laid(done_tests, BEFORE), tmp_path / "original")
    room = DoneTests(done_tests.store, done_tests.sandbox, {**done_tests.lent, "/original": tmp_path / "original"}, {})
    check = DoneTest(command=["python3", "/checks/repair.py"])
    found = await room.run(check, files)
    assert found["ok"], found["detail"]
    found = await room.run(check, {**files, **laid(done_tests, ESCAPES["os._exit at import"][0])})
    assert not found["ok"]


async def test_another_programs_word_is_its_exit_code(done_tests: DoneTests) -> None:
    """What runs no pytest is done when it ends with 0."""
    files = laid(done_tests, {"a.txt": "a"})
    assert (await done_tests.run(DoneTest(command=["test", "-s", "a.txt"]), files, {}))["ok"]
    assert not (await done_tests.run(DoneTest(command=["test", "-s", "b.txt"]), files, {}))["ok"]
