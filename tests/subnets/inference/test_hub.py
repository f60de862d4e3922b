"""A model's name leads to the catalogue, a file, or a repository of Hugging Face."""

from __future__ import annotations

import json
import shutil
import struct
import sys
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tercet.errors import ModelError, ModelUnreachableError
from tercet.subnets.inference import find_model
from tercet.subnets.inference.hub import Hub, HuggingFaceHub

EMPTY_MODEL = b"GGUF" + struct.pack("<IQQ", 3, 0, 0) + bytes(64)


class FakeHub:
    """Repositories in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.downloads: list[str] = []

    def files(self, repository: str) -> Sequence[str]:
        return [str(path.relative_to(self.root / repository)) for path in (self.root / repository).rglob("*.*")]

    def download(self, repository: str, file: str, directory: Path) -> Path:
        self.downloads.append(file)
        directory.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(self.root / repository / file, directory / file))


@pytest.fixture
def hub(tmp_path: Path) -> FakeHub:
    for name in (
        "one/README.md",
        "one/only.gguf",
        "many/a-q8_0.gguf",
        "many/a-Q4_K_M.gguf",
        "vague/a.gguf",
        "vague/b.gguf",
        "none/a.bin",
        "bad/x.gguf",
    ):
        path = tmp_path / "hub" / "org" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"junk" if "bad" in name else EMPTY_MODEL)
    return FakeHub(tmp_path / "hub")


def test_a_path_is_used_where_it_lies(tmp_path: Path) -> None:
    """And must be GGUF."""
    (tmp_path / "mine.gguf").write_bytes(EMPTY_MODEL)
    assert find_model(str(tmp_path / "mine.gguf")) == tmp_path / "mine.gguf"
    (tmp_path / "text.gguf").write_text("hello")
    with pytest.raises(ModelError, match="GGUF"):
        find_model(str(tmp_path / "text.gguf"))
    with pytest.raises(ModelError, match="Cannot read"):
        find_model(str(tmp_path / "missing.gguf"))


def test_the_only_model_of_a_repository_is_taken(hub: FakeHub, tmp_path: Path) -> None:
    """Or the one in the usual quantisation."""
    assert find_model("org/one", tmp_path, hub=hub).read_bytes() == EMPTY_MODEL
    assert find_model("org/many", tmp_path, hub=hub).name == "a-Q4_K_M.gguf"


def test_a_named_file_is_fetched_once(hub: FakeHub, tmp_path: Path) -> None:
    """The second time it is in the cache."""
    first = find_model("org/vague:b.gguf", tmp_path, hub=hub)
    assert find_model("org/vague:b.gguf", tmp_path, hub=hub) == first
    assert hub.downloads == ["b.gguf"]


def test_a_vague_name_answers_with_the_choices(hub: FakeHub, tmp_path: Path) -> None:
    """In the form that can be typed."""
    with pytest.raises(ModelError, match=r"org/vague:a\.gguf"):
        find_model("org/vague", tmp_path, hub=hub)
    with pytest.raises(ModelError, match="no GGUF file"):
        find_model("org/none", tmp_path, hub=hub)
    with pytest.raises(ModelError, match="GGUF"):
        find_model("org/bad", tmp_path, hub=hub)
    with pytest.raises(ModelError, match="Known: smol"):
        find_model("no such name")


def test_without_the_extra_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The library is absent."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModelError, match=r"pip install 'tercet\[hub\]'"):
        find_model("org/one", tmp_path)


class _HubPages(BaseHTTPRequestHandler):
    """The three pages of Hugging Face that are needed, for one repository with one file."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""

    def do_HEAD(self) -> None:
        self._reply(body=False)

    def do_GET(self) -> None:
        self._reply(body=True)

    def _reply(self, *, body: bool) -> None:
        path = self.path.split("?")[0]
        listing = [{"type": "file", "path": "only.gguf", "size": len(EMPTY_MODEL), "oid": "a" * 40}]
        page = {
            "/api/models/org/one/tree/main": json.dumps(listing).encode(),
            "/org/one/resolve/main/only.gguf": EMPTY_MODEL,
            f"/org/one/resolve/{'c' * 40}/only.gguf": EMPTY_MODEL,
        }.get(path)
        self.send_response(200 if page is not None else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(page or b"")))
        self.send_header("ETag", '"' + "e" * 40 + '"')
        self.send_header("X-Repo-Commit", "c" * 40)
        self.end_headers()
        if body and page:
            self.wfile.write(page)


@pytest.fixture
def pages() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _HubPages) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("kind", ["fake", "real"])
def test_the_fake_hub_behaves_like_the_real_one(kind: str, hub: FakeHub, pages: str, tmp_path: Path) -> None:
    """Both list a repository's files and fetch one; the real library talks to a server of ours."""
    chosen: Hub = hub if kind == "fake" else HuggingFaceHub(endpoint=pages)
    assert "only.gguf" in chosen.files("org/one")
    path = chosen.download("org/one", "only.gguf", tmp_path / "got")
    assert path == tmp_path / "got" / "only.gguf"
    assert path.read_bytes() == EMPTY_MODEL


def test_a_repository_that_is_not_there_says_so(pages: str, tmp_path: Path) -> None:
    """In our words, with the mend."""
    with pytest.raises(ModelUnreachableError, match="GGUF file"):
        HuggingFaceHub(endpoint=pages).files("org/missing")
    with pytest.raises(ModelUnreachableError, match="GGUF file"):
        HuggingFaceHub(endpoint=pages).download("org/missing", "x.gguf", tmp_path)
