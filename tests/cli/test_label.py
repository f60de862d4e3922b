"""`tercet label` against real miners on the embedded chain: digits as pictures, three models and a copycat."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import inspect
import json
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tercet.cli.connection import open_client, read_faucet
from tercet.cli.label import SCHEMA, command, name_the_floor
from tercet.cli.settings import resolve_settings
from tercet.cli.unlock import keystore
from tercet.cli.wallet import pay_from_faucet
from tercet.errors import BudgetError, NoMinerError
from tercet.subnets.labelling import Labelling
from tercet.subnets.labelling.items import digits, own_digits
from tercet.subnets.labelling.pictures import encode_png

from .conftest import Shell, covers, fields_of

pytestmark = pytest.mark.slow
SUBNET = "tercet.subnets.labelling:Labelling"
MINERS = (("knn", 0, "honest"), ("logreg", 1, "honest"), ("bayes", 2, "honest"), ("bayes", 2, "copycat"))
GIVEN, ASKED = 40, 100


def draw(folder: Path, name: str, label: int | None, data: bytes) -> None:
    """A digit as a PNG file, in a folder of its label when it is known."""
    place = folder if label is None else folder / str(label)
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{name}.png").write_bytes(encode_png(data, 8))


@dataclass(frozen=True, slots=True)
class Market:
    """A running market in labels."""

    shell: Shell
    photos: Path
    truth: dict[str, str]
    miners: Sequence[subprocess.Popen[str]]

    def label(self, *arguments: str) -> tuple[int, str, str]:
        done = self.shell.spend("label", "photos", *arguments)
        return done.code, done.out, done.err


@contextlib.contextmanager
def running(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """A role, once it is ready, until the block ends."""
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert '"ready": true' in line, (line, process.communicate(timeout=10))
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


async def give_wallets(shell: Shell, names: Sequence[str]) -> None:
    """Funded wallets of these names; in one process, since each command starts anew."""
    settings = resolve_settings({"home": str(shell.folder / "home")})
    password = shell.password_file.read_text().strip()
    async with open_client(settings) as client:
        for name in names:
            key = keystore(settings).create(name, password, light=True)
            await pay_from_faucet(
                client, read_faucet(settings), key.address, credit=10**8, stake=5_000 * 10**18, gas=10**19
            )


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    shell = Shell(tmp_path_factory.mktemp("labels"))
    photos, all_digits = shell.folder / "photos", digits()
    truth = {}
    for n in range(GIVEN + ASKED):
        known = all_digits.known[n] if n < GIVEN else None
        draw(photos, f"d{n}", known, all_digits.items[n].data)
        truth[f"{known}/d{n}.png" if known is not None else f"d{n}.png"] = str(all_digits.known[n])
    for seed in range(3):
        for n, (item, label) in enumerate(own_digits(seed, 250)):
            draw(shell.folder / f"own{seed}", f"o{n}", label, item.data)
    with contextlib.ExitStack() as stack:
        stack.enter_context(running(shell.start("chain", "start", "--port", "0")))
        asyncio.run(give_wallets(shell, ["owner", *(f"miner{n}" for n in range(len(MINERS)))]))
        made = shell.spend("market", "create", SUBNET, "--yes")
        assert made.code == 0, made.err
        started = [
            shell.start(
                *("mine", SUBNET, "--yes", "--wallet", f"miner{n}", "--state", f"miner{n}"),
                *("--password-file", str(shell.password_file), "-o", f"by={by}", "-o", f"seed={seed}"),
                *("-o", f"own=own{seed}", "-o", f"behaviour={behaviour}"),
            )
            for n, (by, seed, behaviour) in enumerate(MINERS)
        ]
        miners = [stack.enter_context(running(process)) for process in started]
        yield Market(shell, photos, truth, miners)


def test_a_dry_run_shows_the_price_and_buys_nothing(market: Market) -> None:
    code, out, err = market.label("--dry-run")
    assert (code, out) == (0, "")
    assert "would buy 3 voices on 2 batches" in err
    assert not list(market.shell.folder.glob("photos.labelled*"))


def test_a_budget_that_cannot_pay_for_a_batch_buys_nothing(market: Market) -> None:
    code, _, err = market.label("--budget", "0.000001", "--yes")
    assert code == 3
    assert "The first batch costs" in err


def test_a_buyer_that_does_not_know_the_floor_is_told_to_name_it() -> None:
    """A page for people takes no less than its floor, and the buyer's first offer to a new miner is far below."""
    refused = NoMinerError("One miner was asked.", refusals=frozenset({"price_too_low"}))
    assert "has to be named: run it again with --floor CREDIT" in str(name_the_floor(refused, 0))
    assert "above the 3 credit that --floor names" in str(name_the_floor(refused, 3_000_000))
    for other in (NoMinerError("Nobody is there."), BudgetError("It is spent.")):
        assert name_the_floor(other, 0) is other


def test_people_have_less_time_than_a_buyer_waits() -> None:
    """What they have labelled by the end of it is on its way before the buyer leaves."""
    patience = inspect.signature(Labelling).parameters["patience"].default
    (wait,) = [option.default for option in command.params if option.name == "wait"]
    assert wait >= patience + 60


def test_nobody_is_offered_less_than_the_floor(market: Market) -> None:
    """A ceiling below the floor is refused; with the floor, the whole is dearer."""
    code, _, err = market.label("--rate", "5", "--floor", "6", "--dry-run")
    assert code == 2
    assert "the market's floor is 6 credit" in err
    costs = []
    for floor in ("0", "6"):
        _, _, err = market.label("--dry-run", "--floor", floor, "--budget", "10")
        costs.append(float(err.partition("for about ")[2].split()[0]))
    # 100 unknown pictures and 2 x 10 of gold, 2 s each, by 3 miners.
    assert costs[1] == pytest.approx(6 * 120 * 2 * 3 / 3600, rel=0.01)
    assert costs[0] < costs[1] / 10


def test_pictures_are_labelled_within_the_budget_and_the_copy_is_left_out(market: Market) -> None:
    """Money runs out after a while; what was bought is kept, and the next run buys only the rest."""
    flags = ("--batch", "30", "--redundancy", "4", "--yes", "--out", "out.csv", "--json")
    code, out, err = market.label("--budget", "0.0002", *flags)
    assert code == 3, err
    first = json.loads(out)
    assert 0 < first["labelled"] - GIVEN < ASKED
    assert 0 < int(first["charged"]) <= 200
    assert "Run the same command again" in err
    code, out, err = market.label("--budget", "1", *flags)
    assert code == 0, err
    found = json.loads(out)
    assert covers(SCHEMA, fields_of(found))
    assert (found["items"], found["given"], found["missing"]) == (GIVEN + ASKED, GIVEN, 0)
    assert int(found["charged"]) > int(first["charged"])
    left_out = [miner for miner in found["miners"] if miner["left_out"]]
    assert len(found["miners"]) == len(MINERS)
    assert all("repeats the errors" in miner["left_out"] for miner in left_out)
    rows = list(csv.DictReader((market.shell.folder / "out.csv").read_text().splitlines()))
    bought = [row for row in rows if row["source"] == "bought"]
    assert len(bought) == ASKED
    right = sum(row["label"] == market.truth[row["id"]] for row in bought)
    assert right >= 0.88 * ASKED
    assert all(0.1 < float(row["confidence"]) <= 1 for row in bought)
    code, again, _ = market.label("--budget", "1", *flags)
    assert (code, json.loads(again)) == (0, found), "nothing is bought twice"


def test_when_miners_run_out_what_came_is_kept(market: Market) -> None:
    code, out, err = market.label("--redundancy", "9", "--yes", "--out", "many.json", "--json")
    assert code == 4
    assert "what was bought is kept" in err
    assert json.loads(out)["missing"] == 0
    rows = json.loads((market.shell.folder / "many.json").read_text())
    assert {row["voices"] for row in rows if row["source"] == "bought"} <= {3, 4}


def test_a_bad_file_costs_nothing(market: Market) -> None:
    (market.shell.folder / "bad.csv").write_bytes("text,label\ncaf\xe9,a\n".encode("latin-1"))
    done = market.shell.spend("label", "bad.csv", "--yes")
    assert done.code == 2
    assert "iconv -f LATIN1 -t UTF-8" in done.err
