"""The Python inside: the one here or Debian's, with the packages asked for and no others."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tercet.errors import SandboxError
from tercet.subnets.kit import Sandbox
from tercet.subnets.kit.sandbox.interpreter import _entries, find_interpreter


def test_a_package_brings_what_it_needs() -> None:
    """With pytest comes pluggy; nothing that only an extra needs comes along."""
    names = {path.name for path in _entries(["PyTest"])}
    assert {"pytest", "_pytest", "pluggy", "iniconfig"} <= names
    assert not {"hypothesis", "numpy", "requests", "xmlschema"} & names


def test_a_package_that_is_not_there() -> None:
    """With the command that mends it."""
    with pytest.raises(SandboxError, match="pip install no-such-package"):
        find_interpreter(["no_such.package"])


def test_an_interpreter_elsewhere_is_put_where_all_are(tmp_path: Path) -> None:
    """A judge's home folder does not show inside, nor does what else is installed there."""
    for folder in ("bin", "lib/python3.99/site-packages"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "bin/python3.99").write_text("")
    (tmp_path / "bin/python3").symlink_to("python3.99")
    found = find_interpreter(["pytest"], prefix=tmp_path)
    mounts = list(found.mounts)
    assert mounts[:3] == ["--ro-bind", str(tmp_path), "/opt/python"]
    assert mounts[mounts.index("--tmpfs") + 1] == "/opt/python/lib/python3.99/site-packages"
    assert "/opt/python/lib/python3.99/site-packages/pytest" in mounts
    assert ("LD_LIBRARY_PATH", "/opt/python/lib") in found.environment


async def test_only_what_was_asked_for_can_be_imported(sandbox: Sandbox, tmp_path: Path) -> None:
    """The same everywhere, so that no verdict hangs on what a judge happens to have installed."""
    code = "import pytest, ssl, sqlite3, json\ntry:\n    import numpy\nexcept ImportError:\n    print('none')"
    outcome = await sandbox.run(["python3", "-c", code], tmp_path)
    assert outcome.stdout == b"none\n", outcome
    outcome = await sandbox.run(["python3", "-c", "import sys; print(sys.path, sys.prefix)"], tmp_path)
    assert str(Path(sys.prefix)).encode() not in outcome.stdout
