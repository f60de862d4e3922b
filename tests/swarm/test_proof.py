"""Done-tests in the real sandbox: whatever ends, skips or overrules the runner, or knows how it is watched, success needs proof."""

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
HUNTER = """
import gc, re
for found in gc.get_objects():
    if type(found).__name__ == "_Outcomes":
        class Passed(dict):
            def __setitem__(self, name, how):
                ours = re.search(r"::test_[0-9a-f]{12}$", name)
                super().__setitem__(name, "failed" if ours else "passed")
        found._tests = Passed(found._tests)
        found.pytest_runtest_logreport.__func__.__globals__["_message"] = lambda report: ""
from _pytest.main import Session
for found in gc.get_objects():
    if isinstance(found, Session):
        type(found).exitstatus = property(lambda self: 0, lambda self, value: None)
"""
"""Knows how the proof is made: overrules what the plugin notes, all but what looks like a test of ours."""
ENDING_HUNTER = """
import gc, json, os, re
for found in gc.get_objects():
    if type(found).__name__ == "_Outcomes":
        nonce, items = found._nonce, {}
        def report(session):
            ours = re.compile(r"::test_[0-9a-f]{12}$")
            tests = {i.nodeid: "failed" if ours.search(i.nodeid) else "passed" for i in session.items}
            os.write(1, ("\\n%s %s\\n" % (nonce, json.dumps({"tests": tests, "messages": {}, "errors": {}}))).encode())
            os._exit(0)
        type(found).pytest_collection_finish = lambda self, session: report(session)
        manager = next(each for each in gc.get_objects() if type(each).__name__ == "PytestPluginManager")
        manager.unregister(found)
        manager.register(found, "tercet-outcomes-collector")
"""
"""Finds the nonce, writes the report itself, and ends."""
EQUAL = """
class Equal:
    def __eq__(self, other):
        return True
    def __ne__(self, other):
        return False
    def __hash__(self):
        return 0
def twice(n):
    return Equal()
"""
FIRST_COMES = """
known = {}
class Equal(int):
    def __eq__(self, other):
        return known.setdefault(int(self), repr(other)) == repr(other)
    __hash__ = int.__hash__
def twice(n):
    return Equal(n)
"""

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
    "a forger that knows the plugin": ({"program.py": BROKEN + HUNTER}, "turned round"),
    "a hunter for the nonce": ({"program.py": BROKEN + ENDING_HUNTER}, "turned round"),
    "a value that equals everything": ({"program.py": EQUAL}, "turned round"),
    "a value that equals the first it meets": ({"program.py": FIRST_COMES}, "turned round"),
    "no test at all": ({"pytest.ini": "[pytest]\naddopts = --collect-only\n"}, "no proof of it"),
}  # fmt: skip


CHECK = "from program import twice\nassert twice(2) == 4\nassert twice(3) == 6, twice(3)\n"
UNITS = """import unittest
from program import twice

class TestTwice(unittest.TestCase):
    def test_two(self):
        self.assertEqual(twice(2), 4)

    def test_all(self):
        for n in range(9):
            with self.subTest(n=n):
                self.assertEqual(twice(n), 2 * n)
        self.assertTrue(twice(1))

if __name__ == "__main__":
    unittest.main()
"""
PASSES_UNITS = """
import unittest
unittest.TextTestResult.addFailure = lambda self, test, error: self.addSuccess(test)
unittest.TextTestResult.addSubTest = lambda self, test, subtest, error: None
"""
UNIT = ("python3", "-m", "unittest")
PROGRAM = ("python3", "-B", "check.py")
PROGRAM_ESCAPES: Mapping[str, tuple[tuple[str, ...], str, str]] = {
    "os._exit at import": (PROGRAM, f"import os\n{BROKEN}os._exit(0)\n", "no proof of it"),
    "sys.exit at import": (PROGRAM, f"import sys\n{BROKEN}sys.exit(0)\n", "program.py ended it"),
    "os._exit at the end": (PROGRAM, f"import os, atexit\n{BROKEN}atexit.register(os._exit, 0)\n", "made a success of"),
    "a value that equals everything": (PROGRAM, EQUAL, "turned round"),
    "code in the command": (("python3", "-c", CHECK), EQUAL, "turned round"),
    "unittest: os._exit in a test": (UNIT, "import os\ndef twice(n):\n    os._exit(0)\n", "no proof of it"),
    "unittest: a result that is patched": (UNIT, BROKEN + PASSES_UNITS, "not believed"),
    "unittest: a value that equals everything": (("python3", "test_units.py"), EQUAL, "turned round"),
}


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


@pytest.mark.parametrize("name", PROGRAM_ESCAPES)
async def test_an_escape_from_a_program_is_no_success(done_tests: DoneTests, name: str) -> None:
    """Done-tests that are Python and not pytest: a script with assertions, unittest as a module and in a script."""
    command, program, why = PROGRAM_ESCAPES[name]
    before = laid(done_tests, {"program.py": BROKEN, "check.py": CHECK, "test_units.py": UNITS})
    found = await done_tests.run(
        DoneTest(command=command), {**before, **laid(done_tests, {"program.py": program})}, before
    )
    assert not found["ok"]
    assert why in found["detail"]


@pytest.mark.parametrize("command", [PROGRAM, UNIT, ("python3", "-X", "dev", "test_units.py", "-v"),
                                     ("python3", "-c", CHECK.replace("\n", "; ")[:-2])])  # fmt: skip
async def test_an_honest_program_is_done(done_tests: DoneTests, command: tuple[str, ...]) -> None:
    """It ends by itself, and what it prints is shown as if Python had run it."""
    before = laid(done_tests, {"program.py": BROKEN, "check.py": f"print('begun')\n{CHECK}", "test_units.py": UNITS})
    found = await done_tests.run(
        DoneTest(command=command), {**before, **laid(done_tests, {"program.py": RIGHT})}, before
    )
    assert found["ok"], found["detail"]
    found = await done_tests.run(DoneTest(command=command), before)
    assert not found["ok"]
    assert "AssertionError" in found["detail"]
    assert "tercet" not in found["detail"], "nothing of the proof is shown"


@pytest.mark.parametrize("name", ["test_secret.py", "secret.py"])
async def test_hidden_tests_are_turned_round_too(done_tests: DoneTests, tmp_path: Path, name: str) -> None:
    """Those of pytest, and a script's; the files of the person who hid them stay as they were."""
    text = "from program import twice\ndef test_secret():\n    assert twice(21) == 42\n" if "test" in name else CHECK
    (tmp_path / name).write_text(text)
    room = DoneTests(done_tests.store, done_tests.sandbox, {}, {"/hidden": tmp_path})
    command = [*(PYTEST if "test" in name else ["python3", "-B"]), f"/hidden/{name}"]
    done = DoneTest(command=command, hidden=True)
    before = laid(done_tests, {"program.py": BROKEN})
    for program, ok in ((RIGHT, True), (EQUAL, False)):
        found = await room.run(done, laid(done_tests, {"program.py": program}), before)
        assert found["ok"] is ok, found["detail"]
    assert (tmp_path / name).read_text() == text


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
    assert found["proof"] == "seen to its end; 4 of 5 tests that pass fail turned round"


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
    found = await done_tests.run(DoneTest(command=["test", "-s", "a.txt"]), files, {})
    assert (found["ok"], found["proof"]) == (True, "known by its exit code")
    assert not (await done_tests.run(DoneTest(command=["test", "-s", "b.txt"]), files, {}))["ok"]
