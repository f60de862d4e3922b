"""`tercet fix`: a repository is mended by a miner that was not known before, and paid by a held job."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tercet.chain import Deployment, Ledger, Rpc
from tercet.cli.fix import SCHEMA
from tercet.cli.fix.looking import find_missing
from tercet.subnets.coding import Report

from .conftest import Outcome, Shell, covers, fields_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
GOOD = "def double(x):\n    return x * 2\n\n\ndef is_even(n):\n    return n % 2 == 0\n"
BROKEN = GOOD.replace("n % 2 == 0", "n % 2 != 0")
TESTS = """from maths import double, is_even


def test_double():
    assert double(4) == 8


def test_even():
    assert is_even(4)


def test_odd():
    assert not is_even(7)
"""


NEEDS = r"need not_installed: not among the files that are sent.* Name tests that do without it with --test"


def repository(folder: Path, files: dict[str, str]) -> Path:
    """A git repository that tracks `files`."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    subprocess.run(["git", "-C", str(folder), "add", "-A"], check=True)
    return folder


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    files = {"maths.py": BROKEN, "tests/test_maths.py": TESTS, ".env": "TOKEN=1\n", "data/x.txt": "x\n"}
    return repository(tmp_path / "broken", files)


@pytest.fixture(scope="module")
def coding(town: Shell) -> Shell:
    """A market for code, and a buyer with money."""
    made = town.spend("market", "create", "coding", "--commit", "600", "--reveal", "300", "--yes")
    assert made.code == 0, made.err
    for name in ("miner", "buyer"):
        town.wallet(name)
        assert town.run("wallet", "fund", name, "--credit", "100", "--stake", "1000").code == 0
    return town


def start_miner(town: Shell, *options: str) -> subprocess.Popen[str]:
    words = [
        "mine",
        "coding",
        "--wallet",
        "miner",
        "--password-file",
        str(town.password_file),
        "--yes",
        "--poll",
        "0.5",
    ]
    miner = town.start(*words, *options)
    assert miner.stdout is not None
    assert miner.stdout.readline().startswith('{"ready": true'), miner.communicate(timeout=10)
    return miner


def stop(process: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> str:
    process.send_signal(number)
    return process.communicate(timeout=60)[1]


@pytest.fixture(scope="module")
def market(coding: Shell) -> Iterator[Shell]:
    """With an honest miner."""
    miner = start_miner(coding)
    yield coding
    stop(miner)


def fix(town: Shell, folder: Path, *more: str, test: str = "pytest -q", seconds: float = 240) -> Outcome:
    words = ["fix", str(folder), "--test", test, "--budget", "5", "--wallet", "buyer"]
    return town.run(*words, "--password-file", str(town.password_file), *more, seconds=seconds)


async def _credit(town: Shell, address: str) -> int:
    home = town.folder / "home"
    url = json.loads((home / "chain" / "endpoint.json").read_text())["url"]
    (path,) = (home / "deployments").glob("*.json")
    async with Rpc(url) as rpc:
        return await Ledger(rpc, Deployment.load(path)).credit.balance(address)


def credit_of(town: Shell, name: str) -> int:
    wallets = town.run("wallet", "list", "--json").json["wallets"]
    return asyncio.run(_credit(town, next(w["address"] for w in wallets if w["name"] == name)))


def test_failing_tests_are_made_to_pass_and_the_miner_is_paid(market: Shell, broken: Path) -> None:
    """The price leaves the buyer, comes to the miner less the fee, and the file is written."""
    before = credit_of(market, "miner")
    look = fix(market, broken, "--dry-run")
    assert (look.code, "put 5 credit aside" in look.err) == (0, True)
    unasked = fix(market, broken)
    assert unasked.code == 3
    assert "nobody is there to agree" in unasked.err
    done = fix(market, broken, "--yes", "--apply", "--json")
    assert done.code == 0, done.err
    assert covers(SCHEMA, fields_of(done.json))
    assert "say nothing for 2 days after a delivery; without one it comes back after 1 hour" in done.err
    assert done.json["applied"] == ["maths.py"]
    assert (done.json["state"], done.json["passed"], done.json["tests"]) == ("ended", True, 3)
    assert (broken / "maths.py").read_text() == GOOD
    assert "Stays at home: .env" in done.err
    assert credit_of(market, "miner") == before + 4_950_000
    again = fix(market, broken, "--yes")
    assert again.code == 2
    assert "pass already" in again.err
    job = market.run("job", "show", done.json["job"], "--json").json
    assert job["end"]["cause"] == "released"


@pytest.mark.parametrize(
    ("files", "test", "words"),
    [
        ({"maths.py": GOOD}, "pytest -q", "runs no tests"),
        ({"maths.py": GOOD, "test_maths.py": TESTS}, "pytest -q", "pass already"),
        ({"maths.py": BROKEN, "test_maths.py": TESTS}, "no-such-command", "runs no tests"),
        ({"maths.py": BROKEN, "test_maths.py": TESTS}, "", "empty"),
        ({"maths.py": BROKEN, "test_maths.py": f"import not_installed.part\n{TESTS}"}, "pytest -q", NEEDS),
        ({"maths.py": "import not_installed\n", "test_x.py": "import maths"}, "python -m unittest", NEEDS),
        ({"big.txt": "x" * 1_000_000, "small.txt": "x"}, "pytest -q", r"big.txt \(1,000,000 bytes\), small.txt"),
    ],
)
def test_what_cannot_be_fixed_is_said_before_anything_is_spent(
    coding: Shell, tmp_path: Path, files: dict[str, str], test: str, words: str
) -> None:
    before = credit_of(coding, "buyer")
    said = fix(coding, repository(tmp_path / "x", files), "--yes", test=test)
    assert said.code in {1, 2}
    assert re.search(words, said.err), said.err
    assert credit_of(coding, "buyer") == before


def test_a_module_that_the_repository_has_is_not_taken_for_a_missing_one() -> None:
    """A wrong import of the program's own is a fault like another; what is said in passing is none."""
    said = "ModuleNotFoundError: No module named 'shop.price'"
    report = Report({}, {}, {"test_shop.py": f"ImportError | {said}"}, exit=2, output=said.replace("shop", "other"))
    assert find_missing(report, ["src/shop/prices.py", "test_shop.py"]) == []
    assert find_missing(report, ["shop.py"]) == []
    assert find_missing(report, ["workshop.py"]) == ["shop"]
    failed = Report({"t": "failed"}, {"t": f"AssertionError: assert {said!r} == 'x'"}, {}, exit=1)
    assert find_missing(failed, []) == []
    conftest = f"ImportError while loading conftest '/w/conftest.py'.\nconftest.py:1: in <module>\nE   {said}\n"
    assert find_missing(Report({}, {}, {}, 4, "the test run ended before it was over", conftest), []) == ["shop"]


def test_a_folder_that_is_no_repository_is_not_sent(coding: Shell, tmp_path: Path) -> None:
    said = fix(coding, tmp_path, "--yes")
    assert said.code == 2
    assert "git init" in said.err


def test_a_buyer_that_was_interrupted_goes_on_where_it_was(market: Shell, broken: Path) -> None:
    """Killed after the price was put aside: the same command finishes the same job, and pays once."""
    before = credit_of(market, "miner")
    words = ["fix", str(broken), "--test", "pytest -q", "--budget", "5", "--wallet", "buyer", "--yes", "--apply"]
    first = market.start(*words, "--password-file", str(market.password_file))
    assert first.stderr is not None
    for line in first.stderr:
        if line.startswith("Job 0x"):
            break
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=20)
    job = line.split()[1].rstrip(":")
    (broken / "data" / "x.txt").write_text("changed meanwhile\n")
    changed = fix(market, broken, "--yes", "--apply", "--json")
    assert changed.code == 2
    assert "--resume" in changed.err
    done = fix(market, broken, "--yes", "--apply", "--json", "--resume")
    assert done.code == 0, done.err
    assert done.json["job"] == job
    assert (broken / "maths.py").read_text() == GOOD
    assert credit_of(market, "miner") == before + 4_950_000


def test_a_miner_that_finds_nothing_gives_the_price_back(market: Shell, tmp_path: Path) -> None:
    before = credit_of(market, "buyer")
    files = {
        "maths.py": "def root(x):\n    return 1\n",
        "test_maths.py": "from maths import root\n\n\ndef test():\n    assert root(64) == 8.5\n",
    }
    said = fix(market, repository(tmp_path / "hopeless", files), "--yes")
    assert said.code == 4
    assert "gave the price back" in said.err
    assert before - credit_of(market, "buyer") <= 100_000, "a channel's deposit at most"


def test_a_delivery_that_does_not_do_is_not_paid(coding: Shell, broken: Path) -> None:
    """Runs alone: a cheat takes the honest miner's slot."""
    miner = start_miner(coding, "-o", "behaviour=whitespace", "--state", str(coding.folder / "cheat"))
    try:
        done = fix(coding, broken, "--yes", "--apply", "--json")
    finally:
        stop(miner)
    assert done.code == 1, done.err
    assert (done.json["passed"], done.json["state"], done.json["applied"]) == (False, "delivered", [])
    assert "tercet job dispute 0x" in done.err
    assert (broken / "maths.py").read_text() == BROKEN
