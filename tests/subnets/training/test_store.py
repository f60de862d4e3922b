"""Finding checkpoints in places that nobody has to trust."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import aiohttp
import numpy as np
import pytest

from tercet.errors import PortTakenError, UsageError
from tercet.subnets.training.compress import Codec, Update
from tercet.subnets.training.outer import Checkpoint, Outer, step
from tercet.subnets.training.outlet import StoreServer
from tercet.subnets.training.store import (
    FolderStore,
    Library,
    Step,
    StoreError,
    WebStore,
    format_checkpoint,
    open_store,
    parse_checkpoint,
    read_head,
)

SIZE = 40_000
CODEC, OUTER = Codec((SIZE,)), Outer()
BEGIN = Checkpoint.begin(np.zeros(SIZE, np.float32), "rules")


def update(seed: int) -> Update:
    return CODEC.pack(np.random.default_rng(seed).standard_normal(SIZE).astype(np.float32))


class History:
    """A store in which some rounds were played."""

    def __init__(self, folder: Path, rounds: int, peers: int = 1) -> None:
        self.store = FolderStore(folder)
        self.checkpoints = [BEGIN]
        for number in range(rounds):
            updates = [update(100 * number + peer) for peer in range(peers)]
            for each in updates:
                self.store.put(f"updates/{each.digest}", each.packed)
            parent, here = self.checkpoints[-1], step(self.checkpoints[-1], updates, OUTER)
            taken = Step(parent.digest, here.round, sorted(each.digest for each in updates))
            self.store.put(f"steps/{here.digest}.json", taken.to_bytes())
            self.store.put(f"checkpoints/{here.digest}", format_checkpoint(here))
            self.checkpoints.append(here)

    def library(self, *first: FolderStore | WebStore) -> Library:
        return Library([*first, self.store], CODEC, "rules", OUTER)


HELD = {BEGIN.digest: BEGIN}


def test_a_latecomer_catches_up_by_the_steps(tmp_path: Path) -> None:
    history = History(tmp_path, 3)
    for name in history.store.names("checkpoints"):
        history.store.drop(name)
    last = history.checkpoints[-1]
    assert history.library().find(last.digest, HELD, 3).digest == last.digest


def test_a_long_way_is_not_walked_but_skipped(tmp_path: Path) -> None:
    """A whole checkpoint is fewer bytes than the updates of a dozen rounds."""
    history = History(tmp_path, 12, peers=5)
    for name in history.store.names("updates"):
        history.store.drop(name)
    last = history.checkpoints[-1]
    assert np.array_equal(history.library().find(last.digest, HELD, 12).theta, last.theta)


def test_what_is_held_is_not_asked_for(tmp_path: Path) -> None:
    assert Library([], CODEC, "rules", OUTER).find(BEGIN.digest, HELD, 0) is BEGIN


def test_a_lying_store_is_passed_over(tmp_path: Path) -> None:
    """Its checkpoint has another hash, its update is another one: the next store is asked."""
    history, liar = History(tmp_path / "true", 1), FolderStore(tmp_path / "liar")
    last, wrong = history.checkpoints[-1], step(BEGIN, [update(99)], OUTER)
    liar.put(f"checkpoints/{last.digest}", format_checkpoint(wrong))
    for name in history.store.names("updates"):
        liar.put(name, update(98).packed)
    assert history.library(liar).find(last.digest, HELD, 1).digest == last.digest
    assert history.library(liar).find(last.digest, {}, 1).digest == last.digest


def test_steps_that_lead_elsewhere_are_not_believed(tmp_path: Path) -> None:
    history, liar = History(tmp_path / "true", 1), FolderStore(tmp_path / "liar")
    last, other = history.checkpoints[-1], update(99)
    liar.put(f"updates/{other.digest}", other.packed)
    liar.put(f"steps/{last.digest}.json", Step(BEGIN.digest, 1, [other.digest]).to_bytes())
    assert history.library(liar).find(last.digest, HELD, 1).digest == last.digest


def test_steps_in_a_circle_end(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    one, two = "1" * 64, "2" * 64
    store.put(f"steps/{one}.json", Step(two, 1, []).to_bytes())
    store.put(f"steps/{two}.json", Step(one, 1, []).to_bytes())
    with pytest.raises(StoreError, match="no store has it"):
        Library([store], CODEC, "rules", OUTER).find(one, HELD, 1 << 30)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"junk",
        b"\xff" * 64,
        format_checkpoint(BEGIN)[:-1],
        format_checkpoint(Checkpoint(0, np.zeros(3, np.float32), np.zeros(3, np.float32))),
        format_checkpoint(Checkpoint(0, np.full(SIZE, np.nan, np.float32), BEGIN.momentum)),
        format_checkpoint(Checkpoint(0, BEGIN.theta.astype(np.float64), BEGIN.momentum)),
    ],
    ids=["empty", "junk", "long header", "truncated", "other model", "nan", "float64"],
)
def test_what_is_no_checkpoint_is_refused(data: bytes) -> None:
    with pytest.raises(StoreError):
        parse_checkpoint(data, SIZE, "rules")


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"round": -1, "checkpoint": "x"}', b"[" * 100_000])
def test_a_head_that_is_none_says_nothing(data: bytes, tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("head.json", data)
    assert read_head(store) is None


async def test_a_store_is_read_over_http_and_nothing_else_is(tmp_path: Path) -> None:
    """Neither the state beside it, nor a way out of the folder, nor a draft."""
    history = History(tmp_path / "store", 2)
    (tmp_path / "store" / "state.safetensors").write_text("secret")
    (tmp_path / "secret").write_text("secret")
    server, last = StoreServer(tmp_path / "store"), history.checkpoints[-1]
    await server.start("127.0.0.1:0")
    try:
        import asyncio

        library = Library([WebStore(server.url)], CODEC, "rules", OUTER)
        found = await asyncio.to_thread(library.find, last.digest, HELD, 2)
        assert found.digest == last.digest
        async with aiohttp.ClientSession() as session:
            for name in ("state.safetensors", "../secret", "%2e%2e/secret", "updates/", "checkpoints/x", ""):
                async with session.get(f"{server.url}/{name}") as answer:
                    assert answer.status in {403, 404}, name
            async with session.put(f"{server.url}/head.json", data=b"{}") as answer:
                assert answer.status == 405
        with pytest.raises(PortTakenError):
            await StoreServer(tmp_path).start(server.url.removeprefix("http://"))
    finally:
        await server.stop()


class _Hostile(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if "checkpoints" in self.path:
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()
        elif "corpus" in self.path:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(bytes(1 << 20))
        else:
            self.wfile.write(b"no http at all")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hostile() -> Iterator[WebStore]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hostile)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield WebStore(f"http://127.0.0.1:{server.server_port}", seconds=2)
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("name", ["checkpoints/" + "0" * 64, "corpus/" + "0" * 64, "updates/" + "0" * 64])
def test_a_hostile_server_is_a_store_that_has_nothing(name: str, hostile: WebStore) -> None:
    """Redirects are not followed, no byte above the limit is taken."""
    assert hostile.get(name, 1000) is None


def test_nobody_there_is_a_store_that_has_nothing() -> None:
    assert WebStore("http://127.0.0.1:1").get("head.json", 10) is None


def test_only_folders_and_web_servers_are_stores() -> None:
    with pytest.raises(UsageError, match=r"not 'file:///etc'"):
        open_store("file:///etc")


@pytest.mark.parametrize("place", ["4190", "host:port", "host:70000"])
async def test_a_place_that_is_none_is_refused(place: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Write HOST:PORT"):
        await StoreServer(tmp_path).start(place)
