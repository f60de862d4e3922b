"""`tercet model` without a network."""

from __future__ import annotations

from pathlib import Path

from .conftest import Shell

OFFLINE = {"PIP_NO_INDEX": "1", "HF_HUB_OFFLINE": "1"}


def test_no_model_and_no_network_says_so(shell: Shell, tmp_path: Path) -> None:
    """Exit code 4, and the message names the model."""
    done = shell.run("model", "pull", "smol", environment={**OFFLINE, "TERCET_MODELS": str(tmp_path / "empty")})
    assert done.code == 4
    assert "smol" in done.err


def test_the_demo_without_model_and_network_starts_nothing(shell: Shell, tmp_path: Path) -> None:
    """It fails before a single process runs."""
    done = shell.run(
        "demo", "--model", "smol", "--dir", "run", environment={**OFFLINE, "TERCET_MODELS": str(tmp_path / "empty")}
    )
    assert done.code == 4
    assert not (shell.folder / "run" / "logs").exists() or not list((shell.folder / "run" / "logs").glob("*.log"))


def test_an_unknown_model_names_the_known_ones(shell: Shell) -> None:
    """And the other ways to name one."""
    done = shell.run("model", "pull", "gigantic")
    assert done.code != 0
    assert "smol" in done.err
    assert "GGUF" in done.err
