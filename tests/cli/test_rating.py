"""Ratings by commands; and a whole flops market in processes, whose validator rates a machine at its end."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tercet.chain.keys import Key
from tercet.market import Rating, Reading
from tercet.nodes.ratings import save_rating, sign_rating
from tercet.subnets import mechanism_names

from .conftest import Shell, covers, fields_of
from .test_chain_commands import schema_of

KEY = Key(b"\x07" * 32)
MINE = ("-o", "size=tiny", "-o", "window=1", "-o", "kinds=float32,int8", "-o", "device=numpy")


def signed() -> Rating:
    readings = tuple(Reading("float32", 10**11 + k * 10**9, 10**8, 1_700_000_000 + k, bytes(32)) for k in range(3))
    return sign_rating(KEY, Rating(KEY.address, KEY.address, KEY.address, "", readings, cores=2))


def test_a_rating_is_shown_and_verified(shell: Shell, tmp_path: Path) -> None:
    """Figures on stdout, who signed on stderr; JSON as documented."""
    path = str(save_rating(tmp_path, signed()))
    shown, verified = shell.run("rating", "show", path), shell.run("rating", "verify", path)
    assert "float32" in shown.out
    assert "steady" in shown.out
    assert "101.000" in shown.out
    assert f"Signed by {KEY.address}" in verified.err
    found = shell.run("rating", "verify", path, "--json").json
    assert Rating.from_json(found) == signed()


def test_a_rating_that_somebody_improved_is_refused(shell: Shell, tmp_path: Path) -> None:
    """Exit code 1, in words; `show` shows it all the same."""
    path = save_rating(tmp_path, signed())
    data = json.loads(path.read_text())
    data["readings"][0][1] = "999999999999999"
    path.write_text(json.dumps(data))
    refused = shell.run("rating", "verify", str(path))
    assert refused.code == 1
    assert "signed it: somebody changed it" in refused.err
    assert shell.run("rating", "show", str(path)).code == 0
    assert shell.run("rating", "show", str(tmp_path / "nowhere")).code == 1


@pytest.fixture
def kept(shell: Shell) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts commands that stay, waits for their `ready` line, ends them after the test."""
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = shell.start(
            *arguments, environment={"TERCET_PASSWORD_FILE": str(shell.password_file), "OMP_NUM_THREADS": "1"}
        )
        running.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert '"ready": true' in line or "ready" in line, process.stderr.read() if process.stderr else line
        return process

    yield start
    for process in reversed(running):
        process.send_signal(signal.SIGTERM)
    for process in running:
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def verdicts_of(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif("flops" not in mechanism_names(), reason="the package was installed before it had this subnet")
def test_a_flops_market_pays_the_worker_and_not_the_cheat(
    shell: Shell, kept: Callable[..., subprocess.Popen[str]]
) -> None:
    """Chain, miners and validator as people start them; real products, real weights; then a rating, made and verified."""
    password = {"TERCET_PASSWORD_FILE": str(shell.password_file)}

    def run(*arguments: str) -> str:
        done = shell.run(*arguments, environment=password)
        assert done.code == 0, done.err
        return done.out

    kept("chain", "start", "--port", "0")
    for name in ("owner", "worker", "cheat", "judge", "shopper"):
        run("wallet", "new", name, "--light")
        run("wallet", "fund", name)
    run("market", "create", "flops", "--commit", "10", "--reveal", "4", "--wallet", "owner", "--yes")
    folder = shell.folder / "judge"
    kept("mine", "flops", *MINE, "--wallet", "worker", "--yes", "--poll", "1", "--state", str(shell.folder / "worker"))
    kept(
        *("mine", "flops", *MINE, "-o", "behaviour=zeros", "--wallet", "cheat", "--yes", "--poll", "1"),
        *("--state", str(shell.folder / "cheat")),
    )
    kept(
        *("validate", "flops", *MINE, "-o", "full=2-cores", "--wallet", "judge", "--payer", "shopper", "--yes"),
        *("--answer-seconds", "4", "--poll", "0.5", "--state", str(folder)),
    )
    deadline = time.monotonic() + 300

    def told() -> list[dict[str, Any]]:
        return verdicts_of(folder / "verdicts.jsonl")

    def lines(event: str, uid: int) -> list[dict[str, Any]]:
        return [line for line in told() if line["event"] == event and line["uid"] == uid]

    def measured() -> bool:
        """Whether the worker was in time once, and the cheat: on a busy machine they may be late at first."""
        rated = any(name.startswith("rate_") for line in lines("verdict", 1) for name in line["measures"])
        caught = any("the product is" in line["reason"] for line in lines("verdict", 2))
        return rated and caught and any(line["weight"] > 0 for line in lines("score", 1)) and bool(lines("score", 2))

    while not measured():
        assert time.monotonic() < deadline, f"no row in time: {told()}"
        time.sleep(0.5)
    assert {(line["value"], line["weight"]) for line in lines("score", 2)} == {(0, 0)}

    made = json.loads(
        run("rating", "make", "1", "--market", "flops", "--wallet", "judge", "--state", str(folder), "--json")
    )
    assert covers(schema_of(["rating", "make"]), fields_of(made))
    assert Rating.from_json(made).measurer == made["measurer"]
    assert run("rating", "verify", made["path"])
    refused = shell.run(
        *("rating", "make", "2", "--market", "flops", "--wallet", "judge", "--state", str(folder)), environment=password
    )
    assert refused.code == 1
    assert "has no measurement of miner 2" in refused.err
