from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tercet.errors import UsageError
from tercet.subnets.coding.repository import pack_repository, write_fix
from tercet.subnets.coding.tasks import RepositoryTask, parse_task


def repository(folder: Path, files: dict[str, bytes], *, ignore: str = "") -> Path:
    for name, raw in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(raw)
    if ignore:
        (folder / ".gitignore").write_text(ignore)
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    subprocess.run(["git", "-C", str(folder), "add", "-A"], check=True)
    return folder


def test_what_git_tracks_travels_and_secrets_stay(tmp_path: Path) -> None:
    files = {
        "a.py": b"x = 1\r\n",
        "logo.png": b"\x89PNG\xff",
        "ignored.txt": b"x",
        ".env": b"TOKEN=1",
        "deploy/id_rsa": b"key",
        "conf/client_secret.json": b"{}",
        "secrets.py": b"# a module about secrets\n",
    }
    folder = repository(tmp_path, files, ignore="ignored.txt\n")
    (folder / "link").symlink_to("/etc/passwd")
    subprocess.run(["git", "-C", str(folder), "add", "link"], check=True)
    (folder / "untracked.py").write_text("")
    (folder / "a.py").write_bytes(b"x = 2\r\n")
    packed = pack_repository(folder)
    assert packed.files == {
        ".gitignore": "ignored.txt\n",
        "a.py": "x = 2\r\n",
        "secrets.py": "# a module about secrets\n",
    }
    assert packed.binary == {"logo.png": b"\x89PNG\xff"}
    assert sorted(packed.withheld) == [".env", "conf/client_secret.json", "deploy/id_rsa", "link"]
    task = parse_task({**packed.task("pytest -q", "no"), "job": "0x" + "00" * 32})
    assert isinstance(task, RepositoryTask)
    assert task.binary == packed.binary


def test_what_is_too_large_is_refused_with_the_largest_files_and_may_be_left_out(tmp_path: Path) -> None:
    folder = repository(tmp_path, {"docs/big.txt": b"x" * 900_000, "a.py": b"x", "b.bin": b"\xff" * 90_000})
    with pytest.raises(UsageError, match=r"docs/big.txt \(900,000 bytes\), b.bin \(120,000 bytes\)"):
        pack_repository(folder)
    assert set(pack_repository(folder, ["docs/*"]).files) == {"a.py"}


def test_a_folder_without_git_or_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="git init"):
        pack_repository(tmp_path)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    with pytest.raises(UsageError, match="git add"):
        pack_repository(tmp_path)


def test_a_fix_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    before = {"a.py": "x = 1\n", "b.py": "y = 1\n", "gone.py": "z\n"}
    after = {"a.py": "x = 2\n", "b.py": "y = 1\n", "new/c.py": "c\n"}
    for name, text in before.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "a.py").write_text("edited\n")
    with pytest.raises(UsageError, match="has changed"):
        write_fix(tmp_path, before, after)
    assert not (tmp_path / "new").exists()
    (tmp_path / "a.py").write_text("x = 1\n")
    assert write_fix(tmp_path, before, after) == ["a.py", "gone.py", "new/c.py"]
    assert (tmp_path / "a.py").read_text() == "x = 2\n"
    assert (tmp_path / "new/c.py").read_text() == "c\n"
    assert not (tmp_path / "gone.py").exists()


def test_a_fix_follows_no_link_out_of_the_folder(tmp_path: Path) -> None:
    outside = tmp_path / "outside.py"
    outside.write_text("x = 1\n")
    folder = tmp_path / "repo"
    folder.mkdir()
    (folder / "a.py").symlink_to(outside)
    with pytest.raises(UsageError):
        write_fix(folder, {"a.py": "x = 1\n"}, {"a.py": "x = 2\n"})
    assert outside.read_text() == "x = 1\n"
