"""Folders in and out: what a stranger's stream may do, and what reading a result may meet."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tercet.errors import SandboxError, SubmissionError
from tercet.subnets.kit import read_result
from tercet.subnets.kit.sandbox import parcel
from tercet.subnets.kit.sandbox.parcel import MAX_ENTRIES, pack, unpack


def stream(*entries: tuple[str, bytes | None, dict[str, object]]) -> bytes:
    """A tar as `tar --format=gnu` writes it: name, bytes (None is a folder), and changes to the header."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data, changes in entries:
            header = tarfile.TarInfo(name)
            header.type = tarfile.DIRTYPE if data is None else tarfile.REGTYPE
            header.size = len(data or b"")
            for field, value in changes.items():
                setattr(header, field, value)
            archive.addfile(header, io.BytesIO(data or b""))
    return sink.getvalue()


GOOD = stream(("./", None, {}), ("./a", b"x" * 700, {}), ("./b", None, {}), ("./b/" + "c" * 150, b"y", {"mode": 0o755}))


def test_a_folder_comes_back_as_it_went(tmp_path: Path) -> None:
    """Names beyond ASCII, long names, empty folders and files, the right to execute; old files are gone."""
    before, after = tmp_path / "before", tmp_path / "after"
    for folder in (before / "empty", before / "d\u00e4ep" / ("x" * 180), after / "old"):
        folder.mkdir(parents=True)
    (before / "d\u00e4ep" / ("x" * 180) / ("y" * 200)).write_bytes(b"1")
    (before / os.fsdecode(b"\xff\xfe")).write_bytes(b"")
    (before / "run.sh").write_bytes(b"2" * 1000)
    (before / "run.sh").chmod(0o700)
    assert unpack(pack(before, 2000), after) == 0
    assert sorted(path.relative_to(before) for path in before.rglob("*")) == sorted(
        path.relative_to(after) for path in after.rglob("*")
    )
    assert (after / "run.sh").read_bytes() == b"2" * 1000
    assert (after / "run.sh").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    "name", ["../out", "/etc/out", "a/../../out", "./..", "b/./../../x"], ids=lambda name: name.replace("/", ":")
)
def test_no_path_leads_out(tmp_path: Path, name: str) -> None:
    """The whole stream is dropped, and the folder stays as it was."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "kept").write_text("")
    with pytest.raises(SubmissionError, match="outside"):
        unpack(stream(("./a", b"1", {}), (name, b"evil", {})), folder)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["folder", "kept"]


KINDS = {
    "symbolic link": {"type": tarfile.SYMTYPE, "linkname": "/etc"},
    "hard link": {"type": tarfile.LNKTYPE, "linkname": "/etc/shadow"},
    "device": {"type": tarfile.CHRTYPE, "devmajor": 1},
    "block device": {"type": tarfile.BLKTYPE},
    "pipe": {"type": tarfile.FIFOTYPE},
    "unknown": {"type": b"Z"},
}


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_only_plain_files_and_folders_are_made(tmp_path: Path, changes: dict[str, object]) -> None:
    """The rest is counted; a file below what would have been a link gets a real folder."""
    assert unpack(stream(("./x", b"", changes), ("./x/passwd", b"mine", {})), tmp_path) == 1
    assert not (tmp_path / "x").is_symlink()
    assert (tmp_path / "x" / "passwd").read_bytes() == b"mine"


BROKEN = {
    "nothing": b"",
    "cut in a header": GOOD[:700],
    "cut in a file": GOOD[:1600],
    "without an end": GOOD[: 512 * 7],
    "a wrong sum": GOOD[:600] + b"?" + GOOD[601:],
    "the same name twice": stream(("./a", b"1", {}), ("./a", b"2", {})),
    "a file as a folder": stream(("./a", b"1", {}), ("./a/b", b"2", {})),
    "a name with a zero": stream(("./" + "n" * 120 + "\0x", b"1", {})),
    "a name that no file system takes": stream(("./" + "n" * 300, b"1", {})),
    "a path that no system call takes": stream(("./" + "n/" * 3000, b"1", {})),
    "a base-256 size": GOOD[:636] + b"\x80" + bytes(10) + b"\x01" + GOOD[648:],
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_a_broken_stream_changes_nothing(tmp_path: Path, data: bytes) -> None:
    """One class of error, and the folder as it was."""
    (tmp_path / "kept").write_text("")
    with pytest.raises(SubmissionError):
        unpack(data, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_entries_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty files cost a stream little and a disk much."""
    monkeypatch.setattr(parcel, "MAX_ENTRIES", 10)
    assert MAX_ENTRIES > 1000
    with pytest.raises(SubmissionError, match="more than 10"):
        unpack(stream(*((f"./{number}", b"", {}) for number in range(11))), tmp_path)


def test_what_was_lent_stays_out(tmp_path: Path) -> None:
    """A mount point below the work folder is no result."""
    unpack(
        stream(("./lent", None, {}), ("./lent/x", b"", {}), ("./a/b", b"", {}), ("./a/c", b"", {})),
        tmp_path,
        lent=["lent", "a/b"],
    )
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["a", "a/c"]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_change_of_a_stream_is_survived(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Bytes changed, cut, doubled: an error of ours or a folder of plain files, and nothing beside it."""
    outer = tmp_path_factory.mktemp("outer")
    folder = outer / "folder"
    folder.mkdir()
    changed = bytearray(GOOD)
    for _ in range(data.draw(st.integers(0, 4))):
        changed[data.draw(st.integers(0, 3000))] = data.draw(st.integers(0, 255))
    for start in range(0, 2560, 512):
        if data.draw(st.booleans()):
            header = bytes(changed[start : start + 512])
            total = sum(header[:148]) + 8 * 32 + sum(header[156:])
            changed[start + 148 : start + 156] = b"%06o\0 " % total
    try:
        unpack(bytes(changed[: data.draw(st.integers(0, len(changed)))]), folder)
    except SubmissionError:
        assert list(folder.iterdir()) == []
    assert [path.name for path in outer.iterdir()] == ["folder"]
    assert all(path.is_dir() or path.is_file() for path in folder.rglob("*"))
    assert not any(path.is_symlink() for path in folder.rglob("*"))


@given(st.binary(max_size=1500))
@settings(deadline=None)
def test_noise_is_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Never anything but our error."""
    with pytest.raises(SubmissionError):
        unpack(data, tmp_path_factory.mktemp("noise"))


def test_packing_is_bounded_and_leaves_out_what_is_no_file(tmp_path: Path) -> None:
    """A folder larger than the disk inside is a mistake of the caller; a pipe would be waited for."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/etc")
    (tmp_path / "large").write_bytes(bytes(3000))
    with tarfile.open(fileobj=io.BytesIO(pack(tmp_path, 3000))) as archive:
        assert sorted(archive.getnames()) == ["large", "link"]
        assert {member.uid for member in archive.getmembers()} == {0}
    with pytest.raises(SandboxError, match="more than 2999 bytes"):
        pack(tmp_path, 2999)
    with pytest.raises(SandboxError, match="cannot be taken"):
        pack(tmp_path / "nowhere", 1)


def test_a_result_is_read_without_following_anything(tmp_path: Path) -> None:
    """Links at every step, devices, pipes, folders, paths that lead out, and files too large."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "ok").write_bytes(b"12345")
    (tmp_path / "in" / "link").symlink_to("ok")
    (tmp_path / "folder").symlink_to("in")
    os.mkfifo(tmp_path / "pipe")
    assert read_result(tmp_path, "in/ok", 5) == b"12345"
    assert read_result(tmp_path, "./in/ok", 5) == b"12345"
    for name in (
        "in/link",
        "folder/ok",
        "pipe",
        "in",
        "none",
        "",
        "/etc/passwd",
        "../x",
        "in/../in/ok",
        "a\0b",
        "x" * 5000,
    ):
        with pytest.raises(SubmissionError):
            read_result(tmp_path, name, 100)
    with pytest.raises(SubmissionError, match="has 5 bytes, at most 4"):
        read_result(tmp_path, "in/ok", 4)
