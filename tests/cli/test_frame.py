"""What holds for every command: help, exit codes, errors, settings."""

from __future__ import annotations

import runpy
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tercet.cli.frame import NOUNS, Group, TercetCommand, root

from .conftest import Shell

commands = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "build_cli_reference.py"))["pages"]


@pytest.mark.parametrize(("words", "command"), [pytest.param(*pair, id=pair[0]) for pair in commands()])
def test_help_opens_with_two_examples_that_run_this_very_command(words: str, command: click.Command) -> None:
    """Each help page starts with how it is used, and every example is one of its own or of its verbs."""
    assert isinstance(command, TercetCommand | Group)
    assert len(command.examples) == 2
    assert any(f"tercet {words}" in example for example in command.examples)
    assert command.help, words
    text = command.get_help(click.Context(command, info_name=words))
    assert text.index("Examples:") < text.index("Options:")


def test_help_imports_no_noun() -> None:
    """The table is quick because it is written without loading a single command."""
    script = (
        "import sys; from tercet.cli.frame import run; run(['--help']); "
        "print([m for m in sys.modules if m.startswith(('aiohttp', 'pydantic', 'tercet.chain', 'tercet.nodes'))])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


def test_bare_tercet_says_what_to_do_next(shell: Shell) -> None:
    """Somebody new is shown the demo and `up`."""
    done = shell.run()
    assert done.code == 0
    assert "tercet demo" in done.out
    assert "tercet up" in done.out


def test_unknown_words_are_wrong_usage(shell: Shell) -> None:
    """A mistyped noun, verb or option is exit code 2, on stderr."""
    for words in (["marktet"], ["wallet", "lst"], ["wallet", "list", "--jsn"]):
        done = shell.run(*words)
        assert (done.code, done.out) == (2, "")
        assert "Error" in done.err


def test_every_noun_stands_in_the_table(shell: Shell) -> None:
    """The table and the modules agree."""
    listed = shell.run("--help").out
    assert all(f"  {noun} " in listed for noun in NOUNS)
    assert list(NOUNS) == root.list_commands(click.Context(root))


def test_global_options_count_before_and_after_the_noun(shell: Shell) -> None:
    """`tercet --home X wallet list` and `tercet wallet list --home X` are the same."""
    chosen = str(shell.folder / "elsewhere")
    for words in (["--home", chosen, "config", "show", "--json"], ["config", "show", "--json", "--home", chosen]):
        settings = {s["name"]: s for s in shell.run(*words).json["settings"]}
        assert (settings["home"]["value"], settings["home"]["source"]) == (chosen, "flag")


def test_config_show_says_which_place_won(shell: Shell) -> None:
    """Flag before environment before project file before user file before default."""

    def source(*words: str, **environment: str) -> tuple[str, str]:
        settings = shell.run("config", "show", "--json", *words, environment=environment).json["settings"]
        found = next(s for s in settings if s["name"] == "chain")
        return found["value"], found["source"]

    assert source() == ("", "default")
    (shell.folder / "home").mkdir()
    (shell.folder / "home" / "config.toml").write_text('chain = "http://user"\n')
    assert source() == ("http://user", "user file")
    (shell.folder / "tercet.toml").write_text('chain = "http://project"\n')
    assert source() == ("http://project", "project file")
    assert source(TERCET_CHAIN="http://environment") == ("http://environment", "environment")
    assert source("--chain", "http://flag", TERCET_CHAIN="http://environment") == ("http://flag", "flag")


@pytest.mark.parametrize("text", ["chain = ", "speed = 'fast'", "chain = 5"])
def test_a_bad_settings_file_is_wrong_usage(shell: Shell, text: str) -> None:
    """The message names the file."""
    (shell.folder / "tercet.toml").write_text(text)
    done = shell.run("config", "show")
    assert done.code == 2
    assert "tercet.toml" in done.err


def test_a_reader_that_leaves_is_no_error(shell: Shell) -> None:
    """`tercet ... | head -1` ends quietly."""
    done = subprocess.run(
        f"{sys.executable} -m tercet.cli config show | head -c 1",
        shell=True, capture_output=True, text=True, env=shell.environment, check=False, timeout=60,
    )  # fmt: skip
    assert done.stderr == ""


def test_without_a_terminal_nobody_is_asked_for_a_password(shell: Shell) -> None:
    """The message names the way out."""
    done = shell.run("wallet", "new", "a")
    assert done.code == 2
    assert "--password-file" in done.err


def test_ctrl_c_leaves_with_130(shell: Shell) -> None:
    """Ctrl-C in a command that stays ends it at once, with 130, and nothing stays locked."""
    for _ in range(2):
        process = shell.start("chain", "start", "--port", "0")
        assert process.stdout is not None
        assert '"ready": true' in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        process.communicate()


def test_a_taken_port_is_said(shell: Shell) -> None:
    """The second chain on a port says which, and how to go on."""
    first = shell.start("chain", "start", "--port", "0")
    try:
        assert first.stdout is not None
        port = first.stdout.readline().rpartition(":")[0]
        number = port.partition("127.0.0.1:")[2].partition('"')[0]
        second = shell.run("chain", "start", "--port", number, "--home", str(shell.folder / "other"))
        assert second.code == 1
        assert f"Port {number}" in second.err
    finally:
        first.send_signal(signal.SIGTERM)
        assert first.wait(20) == 0
        first.communicate()
