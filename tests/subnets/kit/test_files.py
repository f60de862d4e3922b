"""A file that is read while it is written, or whose writer dies."""

from __future__ import annotations

from pathlib import Path

import pytest

from tercet.subnets.kit.files import write_atomically


def test_a_file_is_replaced_whole_and_nothing_lies_about(tmp_path: Path) -> None:
    """Folders are made; anybody may read it."""
    path = tmp_path / "deep" / "file"
    for content in (b"old", b"new"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644


def test_what_cannot_take_its_place_leaves_the_old_one(tmp_path: Path) -> None:
    """Here a folder of that name is in the way."""
    path = tmp_path / "taken"
    (path / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="taken"):
        write_atomically(path, b"new")
    assert list(tmp_path.iterdir()) == [path]
