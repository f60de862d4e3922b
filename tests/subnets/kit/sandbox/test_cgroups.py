"""Where groups are made: both versions of the kernel's tree, laid out as plain folders, and the real one."""

from __future__ import annotations

import os
from pathlib import Path

from tercet.subnets.kit.sandbox.cgroups import Group, Place, find_places


def tree(root: Path, *folders: str, **files: str) -> Path:
    """A mount with these folders; a group made below has its files by itself, as in the kernel's."""
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (root / folder / name.replace("__", ".")).write_text(text)
    return root


def own(root: Path, *lines: str) -> Path:
    """What /proc/self/cgroup would say."""
    path = root.parent / f"{root.name}-own"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_version_2_is_used_where_controllers_were_handed_down(tmp_path: Path) -> None:
    """Our own group first; the first one of all when ours hands nothing down."""
    mount = tree(tmp_path / "two", "ours", cgroup__subtree_control="cpu memory pids")
    (place,) = find_places(mount, own(mount, "0::/ours"))
    assert place.folder == mount / "ours"
    assert ("memory", "memory.max") in place.bounds
    assert ("processes", "pids.max") in place.bounds
    (mount / "ours" / "cgroup.subtree_control").write_text("")
    tree(mount, ".", cgroup__subtree_control="pids")
    (place,) = find_places(mount, own(mount, "0::/ours"))
    assert place == Place(mount, (("processes", "pids.max"),))


def test_version_1_has_a_place_for_each_controller(tmp_path: Path) -> None:
    """Also where the path of our own group is not visible in a container."""
    mount = tree(tmp_path / "one", "memory/ours", "pids", "cpu,cpuacct")
    places = find_places(
        mount, own(mount, "8:pids:/", "4:memory:/ours", "2:cpu,cpuacct:/", "1:name=systemd:/x", "0::/")
    )
    assert [place.folder for place in places] == [mount / "pids", mount / "memory" / "ours"]
    hidden = find_places(mount, own(mount, "4:memory:/not/visible/here"))
    assert [place.folder for place in hidden] == [mount / "memory"]


def test_nothing_is_found_where_nothing_can_be_made(tmp_path: Path) -> None:
    """A machine without groups, and one that does not say."""
    assert find_places(tmp_path / "none", own(tmp_path, "0::/", "4:memory:/")) == []
    assert find_places(tmp_path, tmp_path / "missing") == []


def test_a_group_that_ran_out_of_memory_says_so(tmp_path: Path) -> None:
    """By the kernel's count of processes it ended."""
    place = Place(tmp_path, (("memory", "memory.max"), ("swap", "memory.swap.max")), "memory.events")
    group = Group([place], memory=1234, processes=5)
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert (folder / "memory.max").read_text() == "1234"
    assert not (folder / "memory.swap.max").exists()
    assert group.joins == [str(folder / "cgroup.procs")]
    for events, expected in (("oom 0\noom_kill 0\n", False), ("oom 3\noom_kill 2\n", True)):
        (folder / "memory.events").write_text(events)
        assert group.ran_out_of_memory() is expected


def test_what_killed_judges_left_is_swept_away(tmp_path: Path) -> None:
    """Not what lives, not what was made this minute, and nobody else's folders."""
    mount = tree(tmp_path / "two", ".", cgroup__subtree_control="pids")
    names = {"tercet-999999999-1": True, f"tercet-{os.getpid()}-1": False, "system.slice": False}
    for name in (*names, "tercet-999999999-2"):
        (mount / name).mkdir()
        if name != "tercet-999999999-2":
            os.utime(mount / name, (1, 1))
    find_places(mount, own(mount, "0::/"))
    assert {name: not (mount / name).exists() for name in names} == names
    assert (mount / "tercet-999999999-2").exists()


def test_the_real_tree_is_left_as_it_was() -> None:
    """Trying leaves no group behind."""
    places = find_places()
    groups = [Group([place], memory=1 << 28, processes=8) for place in places]
    folders = [Path(join).parent for group in groups for join in group.joins]
    assert all(folder.is_dir() for folder in folders)
    for group in groups:
        group.remove()
        group.remove()
    assert not any(folder.exists() for folder in folders)
    assert not any(list(place.folder.glob(f"tercet-{os.getpid()}-*")) for place in places)
