"""Tercet with fewer packages than the tests have: nothing is needed that was not asked for, and what is missing is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Shell
from .lean import extras_of, lean

_HELP = """
import contextlib, io, sys
from tercet.cli.frame import NOUNS, run
for noun in NOUNS:
    with contextlib.redirect_stdout(io.StringIO()):
        code = run([noun, "--help"])
    if code:
        print(noun, code)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "silent"), [("bare", ["demo 2"]), ("run", []), ("use", [])])
def test_every_noun_has_help(tmp_path: Path, shell: Shell, kind: str, silent: list[str]) -> None:
    """Only the demo wants an extra before it says anything: it would have to stop half-way."""
    packages = lean(tmp_path / "site", [] if kind == "bare" else extras_of(kind))
    done = shell.python("-c", _HELP, environment=packages)
    assert done.out.splitlines() == silent, done.err
    assert not silent or "pip install 'tercet[demo]'" in done.err


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["mcp", "serve", "--key-file", "key"], "swarm"),
        (["agent", "serve", "--scripted", "script.json"], "swarm"),
        (["demo"], "demo"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, shell: Shell, words: list[str], extra: str) -> None:
    """With the extra to install, as wrong usage."""
    (tmp_path / "key").write_text("key\n")
    (tmp_path / "script.json").write_text('{"rules": [{"text": "yes"}]}')
    done = shell.run(*words, environment=lean(tmp_path / "site", []))
    assert (done.code, done.out) == (2, "")
    assert f"not installed. Install it: pip install 'tercet[{extra}]'" in done.err
