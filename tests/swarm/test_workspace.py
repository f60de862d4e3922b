"""Files go in, are merged by claim, and come back without overwriting what the person changed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tercet.errors import WorkspaceError
from tercet.swarm import store
from tercet.swarm import workspace as ws
from tercet.swarm.delivery import write_back
from tercet.swarm.patterns import claimed, matches
from tercet.swarm.store import Store
from tercet.swarm.workspace import Change, Workspace, changes


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A person's folder."""
    folder = tmp_path / "mine"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "a.py").write_text("a = 1\n")
    (folder / "b.txt").write_text("b\n")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    return folder


@pytest.fixture
def workspace(tmp_path: Path, directory: Path) -> Workspace:
    """A run's copy of it."""
    (tmp_path / "run").mkdir()
    made = Workspace(tmp_path / "run")
    made.take_in(directory)
    return made


def edit(workspace: Workspace, **texts: str | None) -> list[Change]:
    """Changes to files, `__` for a slash, `_py` for an ending."""
    files = dict(workspace.files)
    for name, text in texts.items():
        path = name.replace("__", "/").replace("_py", ".py").replace("_txt", ".txt")
        if text is None:
            del files[path]
        else:
            files[path] = workspace.store.put(text.encode())
    return changes(workspace.files, files)


def test_links_secrets_and_what_is_too_large_stay_out(tmp_path: Path, directory: Path) -> None:
    """What was left out is said, with the reason."""
    (directory / "passwd").symlink_to("/etc/passwd")
    (directory / ".env").write_text("KEY=1")
    (directory / "big.bin").write_bytes(b"\0" * (store.MAX_FILE_BYTES + 1))
    (directory / ".git").mkdir()
    (directory / ".git" / "config").write_text("")
    (directory / "src" / "loop").symlink_to(directory)
    (tmp_path / "run").mkdir()
    intake = Workspace(tmp_path / "run").take_in(directory)
    assert sorted(intake.files) == ["b.txt", "run.sh", "src/a.py"]
    assert {path for path, _ in intake.left_out} == {"passwd", ".env", "big.bin", "src/loop"}
    assert intake.files["run.sh"].program
    assert not intake.files["b.txt"].program


def test_a_folder_with_too_many_files_is_refused(
    tmp_path: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says what to do."""
    monkeypatch.setattr(ws, "MAX_FILES", 2)
    (tmp_path / "run").mkdir()
    with pytest.raises(WorkspaceError, match="--dir"):
        Workspace(tmp_path / "run").take_in(directory)


def test_what_a_task_claims_is_merged_and_the_rest_refused(workspace: Workspace) -> None:
    """A write outside the claim is said by name."""
    changed = edit(workspace, src__a_py="a = 2\n", b_txt="c\n")
    assert workspace.refusals(changed, ["src/**"]) == ["'b.txt' is outside its claim (src/**)"]
    assert workspace.refusals(changed, ["src/**", "*.txt"]) == []
    workspace.merge(changed)
    assert (workspace.folder / "work" / "src" / "a.py").read_text() == "a = 2\n"


def test_a_file_that_changed_meanwhile_is_not_overwritten_by_a_merge(workspace: Workspace) -> None:
    """The later task has to start again from the newer file."""
    late = edit(workspace, b_txt="late\n")
    workspace.merge(edit(workspace, b_txt="early\n"))
    assert workspace.refusals(late, ["b.txt"]) == ["'b.txt' was changed by another task meanwhile"]


def test_delivery_writes_adds_and_deletes(workspace: Workspace, directory: Path) -> None:
    """What was made is in the person's folder; what was not touched is as it was."""
    workspace.merge(edit(workspace, src__a_py="a = 2\n", new__c_py="c\n", b_txt=None))
    delivery = write_back(workspace.made(), workspace.store, directory)
    assert (sorted(delivery.written), delivery.deleted) == (["new/c.py", "src/a.py"], ["b.txt"])
    assert (directory / "src" / "a.py").read_text() == "a = 2\n"
    assert not (directory / "b.txt").exists()
    assert sorted(path.name for path in directory.rglob("*") if path.is_file()) == ["a.py", "c.py", "run.sh"]


def test_delivery_writes_beside_what_the_person_changed(workspace: Workspace, directory: Path) -> None:
    """Nothing of the person's is lost, and a second delivery loses nothing either."""
    workspace.merge(edit(workspace, src__a_py="a = 2\n", b_txt=None, fresh_txt="theirs\n"))
    (directory / "src" / "a.py").write_text("mine\n")
    (directory / "b.txt").write_text("mine too\n")
    (directory / "fresh.txt").write_text("mine as well\n")
    delivery = write_back(workspace.made(), workspace.store, directory)
    assert sorted(delivery.beside) == [("fresh.txt", "fresh.txt.tercet"), ("src/a.py", "src/a.py.tercet")]
    assert [path for path, _ in delivery.kept] == ["b.txt"]
    assert (directory / "src" / "a.py").read_text() == "mine\n"
    assert (directory / "src" / "a.py.tercet").read_text() == "a = 2\n"
    assert dict(write_back(workspace.made(), workspace.store, directory).beside)["src/a.py"] == "src/a.py.tercet2"


def test_delivery_never_goes_through_a_link(workspace: Workspace, directory: Path, tmp_path: Path) -> None:
    """A folder that became a link meanwhile leads nowhere."""
    outside = tmp_path / "outside"
    outside.mkdir()
    workspace.merge(edit(workspace, src__a_py="a = 2\n"))
    (directory / "src" / "a.py").unlink()
    (directory / "src").rmdir()
    (directory / "src").symlink_to(outside)
    assert [path for path, _ in write_back(workspace.made(), workspace.store, directory).kept] == ["src/a.py"]
    assert list(outside.iterdir()) == []


def test_a_resumed_run_has_the_files_it_had(workspace: Workspace) -> None:
    """The original and what was merged make the same set again, whatever became of `work`."""
    changed = edit(workspace, src__a_py="a = 2\n", b_txt=None)
    workspace.merge(changed)
    artefacts = [
        {
            "path": change.path,
            "sha256": change.after.sha256 if change.after else "",
            "bytes": change.after.bytes if change.after else 0,
        }
        for change in changed
    ]
    (workspace.folder / "work" / "src" / "a.py").write_text("half writ")
    again = Workspace(workspace.folder)
    again.recall(artefacts)
    assert (again.files, again.original) == (workspace.files, workspace.original)
    assert (again.folder / "work" / "src" / "a.py").read_text() == "a = 2\n"
    assert not (again.folder / "work" / "b.txt").exists()


def test_a_content_that_was_changed_is_noticed(workspace: Workspace) -> None:
    """Nobody delivers another file under its name."""
    mark = workspace.files["b.txt"]
    (workspace.folder / "blobs" / mark.sha256[:2] / mark.sha256).write_text("evil")
    with pytest.raises(WorkspaceError, match="changed"):
        workspace.store.get(mark)


def test_what_a_task_leaves_is_bounded_and_links_are_not_followed(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that fills the disk loses its work, not ours."""
    folder = tmp_path / "left"
    folder.mkdir()
    (folder / "shadow").symlink_to("/etc/shadow")
    (folder / "x").write_text("x")
    assert list(workspace.store.take(folder)) == ["x"]
    monkeypatch.setattr(store, "MAX_FILES", 0)
    with pytest.raises(WorkspaceError, match="Nothing of it was merged"):
        workspace.store.take(folder)


@pytest.mark.parametrize(
    ("path", "pattern", "fits"),
    [
        ("a.py", "*.py", True),
        ("src/a.py", "*.py", False),
        ("src/a.py", "**/*.py", True),
        ("a.py", "**/*.py", True),
        ("src/deep/a.py", "src/", True),
        ("src/deep/a.py", "src/**", True),
        ("srcs/a.py", "src/**", False),
        ("a+b.py", "a+b.py", True),
        ("plots/1.png", "plots/?.png", True),
        ("plots/12.png", "./plots/?.png", False),
    ],
)
def test_claims_are_shell_patterns(path: str, pattern: str, fits: bool) -> None:
    """A star stays in its folder, two do not."""
    assert matches(path, pattern) is fits
    assert claimed(path, ["nothing", pattern]) is fits


def test_equal_contents_are_kept_by_many_at_once(tmp_path: Path) -> None:
    """Agents that leave the same file at the same moment do not take it from each other."""
    store = Store(tmp_path / "blobs")
    for number in range(20):
        data = f"the same {number}".encode() * 1000
        with ThreadPoolExecutor(8) as pool:
            marks = list(pool.map(store.put, [data] * 8))
        assert {store.get(mark) for mark in marks} == {data}


@pytest.mark.parametrize("name", ["é" * 127, "x" * 255, "字" * 85])
def test_a_name_as_long_as_a_name_can_be_is_kept_and_comes_back(tmp_path: Path, name: str) -> None:
    """Of 255 bytes, in whatever letters: taken in, laid out, changed, recalled, and delivered beside the person's change."""
    person, run = tmp_path / "person", tmp_path / "run"
    person.mkdir()
    run.mkdir()
    (person / name).write_text("one")
    workspace = Workspace(run)
    workspace.take_in(person)
    change = Change(name, workspace.files[name], workspace.store.put(b"two"))
    workspace.merge([change])
    Workspace(run).recall([{"path": name, "sha256": change.after.sha256 if change.after else "", "bytes": 3}])
    assert (run / "work" / name).read_text() == "two"
    (person / name).write_text("mine")
    ((path, beside),) = write_back([change], workspace.store, person).beside
    assert path == name
    assert (person / beside).read_text() == "two"
    assert write_back([change], workspace.store, person).beside[0][1] != beside


def test_names_that_no_event_could_hold_are_refused(tmp_path: Path) -> None:
    """Few files, short contents, and more names than a journal takes: left by a task, or in a person's folder."""
    deep = tmp_path / "left" / "/".join(["字" * 80] * 14)
    deep.mkdir(parents=True)
    (tmp_path / "run").mkdir()
    for number in range(store.MAX_PATH_BYTES // (14 * 241) + 1):
        (deep / str(number)).touch()
    workspace = Workspace(tmp_path / "run")
    with pytest.raises(WorkspaceError, match="Let it use shorter ones"):
        workspace.store.take(tmp_path / "left")
    with pytest.raises(WorkspaceError, match="--dir"):
        workspace.take_in(tmp_path / "left")


def test_a_file_that_is_called_like_a_draft_is_left_alone(tmp_path: Path) -> None:
    """Of a person's, whether file or folder, when the file beside it is delivered."""
    person, run = tmp_path / "person", tmp_path / "run"
    (person / ".y.part").mkdir(parents=True)
    (person / ".x.part").write_text("mine")
    run.mkdir()
    workspace = Workspace(run)
    changed = [Change(path, None, workspace.store.put(path.encode())) for path in ("x", "y", "z")]
    assert write_back(changed, workspace.store, person).written == ["x", "y", "z"]
    assert (person / ".x.part").read_text() == "mine"
    assert sorted(path.name for path in person.iterdir()) == [".x.part", ".y.part", "x", "y", "z"]


def test_a_draft_that_a_kill_left_is_removed(tmp_path: Path) -> None:
    """Of this run, told by its mark; another's stays."""
    person, run = tmp_path / "person", tmp_path / "run"
    person.mkdir()
    run.mkdir()
    workspace = Workspace(run)
    changed = [Change("x", None, workspace.store.put(b"x"))]
    for mark in ("ours", "theirs"):
        store.draft_of(person / "x", mark).write_text("half")
    (person / "x").write_text("theirs too")
    assert write_back(changed, workspace.store, person, "ours").beside == [("x", "x.tercet")]
    assert sorted(path.name for path in person.iterdir()) == [".x.theirs.part", "x", "x.tercet"]


@pytest.mark.parametrize("other", [".x.part", ".x.part/y"])
def test_what_is_laid_out_is_exactly_the_set(tmp_path: Path, other: str) -> None:
    """A done-test runs over all the files that are merged, whatever they are called."""
    store = Store(tmp_path / "blobs")
    files = {path: store.put(path.encode()) for path in (f"out/{other}", "out/x")}
    store.lay_out(files, tmp_path / "out")
    assert store.take(tmp_path / "out") == files


def test_a_draft_that_could_not_be_finished_is_gone(tmp_path: Path) -> None:
    """Where it cannot take its place, nothing is left beside it."""
    (tmp_path / "x" / "y").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        store.write_whole(tmp_path / "x", b"x", 0o644)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_file_in_a_folders_place_is_shown(tmp_path: Path) -> None:
    """In `work`, though the folder is there when the file comes."""
    workspace = Workspace(tmp_path)
    mark = workspace.store.put(b"x")
    workspace.merge([Change("a/b", None, mark)])
    workspace.merge([Change("a", None, mark), Change("a/b", mark, None)])
    assert (tmp_path / "work" / "a").read_text() == "x"


def test_what_cannot_be_shown_is_merged_all_the_same(tmp_path: Path) -> None:
    """It is written down already, and a resume shows it."""
    workspace = Workspace(tmp_path)
    mark = workspace.store.put(b"x")
    (tmp_path / "work").write_text("in the way")
    workspace.merge([Change("a", None, mark)])
    assert workspace.files == {"a": mark}
