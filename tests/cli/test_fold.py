"""`tercet fold`: a file goes to real miners on the embedded chain, what holds comes back, what does not is refused."""

from __future__ import annotations

import math
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tercet.cli.fold import SCHEMA, read_path
from tercet.cli.fold_picture import draw_path
from tercet.subnets.folding import build_peptide, read_pdb, write_pdb

from .conftest import Shell, covers, fields_of

pytest.importorskip("openmm")


def write_peptide(folder: Path, sequence: str = "AKSG") -> Path:
    path = folder / "peptide.pdb"
    molecule = build_peptide(sequence, [(-60.0, 60.0)] * len(sequence))
    path.write_text(write_pdb(molecule, molecule.start))
    return path


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A chain with a folding market, an honest miner and one that sends mirror images."""
    shell = Shell(tmp_path_factory.mktemp("street"))
    running: list[subprocess.Popen[str]] = []

    def start(*words: str) -> None:
        process = shell.start(*words)
        running.append(process)
        assert process.stdout is not None
        assert '"ready": true' in process.stdout.readline()

    try:
        start("chain", "start", "--port", "0")
        for name in ("owner", "honest", "mirror", "buyer"):
            shell.wallet(name)
            assert shell.run("wallet", "fund", name, "--stake", "5000", "--credit", "100").code == 0
        made = shell.spend("market", "create", "folding", "--commit", "600", "--reveal", "300", "--yes")
        assert made.code == 0, made.err
        for name in ("honest", "mirror"):
            words = ("--wallet", name, "--password-file", str(shell.password_file), "--yes", "--state", name)
            start("mine", "folding", "--port", "0", "-o", f"behaviour={name}", *words)
        yield shell
    finally:
        for process in reversed(running):
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)


@pytest.mark.slow
def test_a_file_is_folded_by_the_market(street: Shell) -> None:
    """The mirror image is refused, the honest fold is lower than the file, and both files can be read."""
    path = write_peptide(street.folder)
    words = (str(path), "--steps", "500", "--count", "2", "--budget", "0.5", "--yes", "--json")
    done = street.spend("fold", *words, wallet="buyer")
    assert done.code == 0, done.err
    found = done.json
    assert covers(SCHEMA, fields_of(found))
    assert found["energy_after"] < found["energy_before"]
    assert [refused["why"].endswith("a mirror image") for refused in found["refused"]] == [True]
    assert (found["sequence"], found["answers"]) == ("AKSG", 1)
    assert 0 < found["charged"] <= found["spent"] <= 500_000
    assert read_pdb(Path(found["out"])).sequence == "AKSG"
    picture = ET.fromstring(Path(found["picture"]).read_text())
    assert picture.find("{http://www.w3.org/2000/svg}polyline") is not None


@pytest.mark.slow
def test_nothing_is_sent_without_a_yes(street: Shell) -> None:
    """A dry run says what it would cost; without --yes nobody is there to agree."""
    path = write_peptide(street.folder)
    dry = street.spend("fold", str(path), "--dry-run", "--out", "dry.pdb", wallet="buyer")
    assert (dry.code, "Nothing was sent" in dry.err) == (0, True)
    assert not (street.folder / "dry.pdb").exists()
    asked = street.spend("fold", str(path), wallet="buyer")
    assert asked.code == 3
    poor = street.spend("fold", str(path), "--budget", "0.000001", "--yes", wallet="buyer")
    assert (poor.code, "Raise the budget" in poor.err) == (3, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("missing.pdb",), "cannot be read"),
        (("junk.pdb",), "no PDB file"),
        (("peptide.pdb", "--out", "peptide.pdb"), "would overwrite"),
        (("peptide.pdb", "--out", "nowhere/x.pdb"), "no folder"),
        (("peptide.pdb", "--steps", "0"), "steps"),
        (("wet.pdb",), "HOH"),
    ],
)
def test_a_bad_order_ends_before_anything_is_asked(shell: Shell, words: tuple[str, ...], message: str) -> None:
    """Exit code 2, with the mend."""
    text = write_peptide(shell.folder).read_text()
    (shell.folder / "junk.pdb").write_text("this is no molecule\n")
    water = "HETATM  999  O   HOH A 900       9.000   9.000   9.000  1.00  0.00           O\n"
    (shell.folder / "wet.pdb").write_text(water + text)
    done = shell.run("fold", *words)
    assert (done.code, message in done.err) == (2, True), done.err


def test_a_reported_path_may_be_junk() -> None:
    """It is drawn, never believed."""
    pieces: list[dict[str, Any]] = [
        {"step": 1, "energy": -3.5},
        {"step": -1, "energy": 0},
        {"step": "2"},
        {"energy": math.nan, "step": 3},
    ]
    assert read_path([*pieces, {"step": 4, "energy": 1e300}, {"coordinates": 0}]) == [(1, -3.5)]


@pytest.mark.parametrize(
    ("path", "before"),
    [([], 5.0), ([(0, -1.0)], 1e30), ([(i, -float(i)) for i in range(5000)], -10.0), ([(0, 1.0), (1, 1.0)], math.inf)],
)
def test_every_picture_is_well_formed(path: list[tuple[int, float]], before: float) -> None:
    """Whatever was reported, with a name that tries to be markup."""
    drawn = draw_path("<a>&.pdb", path, before, -100.0)
    root = ET.fromstring(drawn)
    assert len(root.findall("{http://www.w3.org/2000/svg}circle")) == 2
    assert len(drawn) < 20_000
