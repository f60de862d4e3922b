"""`tercet epoch replay`: what matches, what does not, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .conftest import Shell, covers, fields_of
from .test_chain_commands import schema_of

VECTORS = Path(__file__).parents[1] / "market" / "vectors" / "yuma.json"


def altered(shell: Shell, change: Any) -> str:
    """A copy of the vectors with `change` applied to the document."""
    document = json.loads(VECTORS.read_text())
    change(document)
    path = shell.folder / "vectors.json"
    path.write_text(json.dumps(document))
    return str(path)


def test_every_published_value_comes_out(shell: Shell) -> None:
    """A line a case, and exit code 0."""
    done = shell.run("epoch", "replay", str(VECTORS))
    assert done.code == 0
    assert "3237 of 3237 asserted values match" in done.out
    assert "single_self_weight" in done.out


def test_replay_json_has_the_documented_fields(shell: Shell) -> None:
    """The same as an object."""
    done = shell.run("epoch", "replay", str(VECTORS), "--json")
    assert (done.json["ok"], done.json["matched"]) == (True, 3237)
    assert covers(schema_of(["epoch", "replay"]), fields_of(done.json))


def test_one_wrong_value_fails_and_is_shown(shell: Shell) -> None:
    """Exit code 1, with the place, the asserted value and what came out."""

    def change(document: dict[str, Any]) -> None:
        expected = document["cases"][0]["steps"][0]["expected"]
        name = next(name for name, value in expected.items() if isinstance(value, list))
        expected[name][0] = int(expected[name][0]) + 1

    done = shell.run("epoch", "replay", altered(shell, change))
    assert done.code == 1
    assert "3236 of 3237" in done.out
    assert "expected" in done.err


def test_liquid_alpha_is_refused(shell: Shell) -> None:
    """Out of scope: exit code 2."""

    def change(document: dict[str, Any]) -> None:
        document["cases"][0]["steps"][0]["inputs"]["liquid_alpha"] = True

    done = shell.run("epoch", "replay", altered(shell, change))
    assert done.code == 2
    assert "liquid alpha" in done.err


def test_another_file_is_refused(shell: Shell) -> None:
    """No vectors, no JSON, no file: exit code 2."""
    (shell.folder / "junk.json").write_text("{")
    (shell.folder / "other.json").write_text("{}")
    for name in ("junk.json", "other.json", "missing.json"):
        assert shell.run("epoch", "replay", name).code == 2, name
