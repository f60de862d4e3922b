"""The page over HTTP: what it lets in, what it lets out, and a batch from question to answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tercet.errors import SubnetError
from tercet.subnets.kit.beacon import derive
from tercet.subnets.labelling import Labelling
from tercet.subnets.labelling.items import Collection, Item
from tercet.subnets.labelling.page import Crew, PageConfig
from tercet.subnets.labelling.pay import estimate_seconds
from tercet.subnets.labelling.tasks import Batch, build_task, parse_task

ITEMS = (Item("text", "<b>Grüße</b>".encode()), Item("gray", bytes(64), 8))
BATCH = parse_task(build_task(Collection("c", "Which?", ("a", "b"), ("1", "2"), ITEMS, (-1, -1)), [0, 1], derive(b"s")))


class Visitor:
    """Somebody at the page, without a browser."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session, self.url, self.token = session, url.partition("#")[0].rstrip("/"), ""

    async def call(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        method = "GET" if body is None else "POST"
        async with self.session.request(
            method, self.url + path, json=body, headers={"X-Tercet-Worker": self.token, **headers}
        ) as response:
            return response.status, await response.json()

    async def join(self, name: str = "one", **more: str) -> None:
        status, found = await self.call("/api/join", {"name": name, **more})
        assert status == 200, found
        self.token = found["token"]


@pytest.fixture
async def crew() -> AsyncIterator[Crew]:
    there = Crew(PageConfig(rate=12_000_000))
    await there.start()
    yield there
    await there.stop()


@pytest.fixture
async def visitor(crew: Crew) -> AsyncIterator[Visitor]:
    async with aiohttp.ClientSession() as session:
        yield Visitor(session, crew.url)


async def work_through(crew: Crew, batch: Batch, patience: float = 10.0) -> list[int]:
    return [done async for done in crew.progress(batch, patience)]


async def last_piece(miner: Labelling, task: Any) -> Any:
    return await _last(miner.answer(task))


async def _last(pieces: AsyncIterator[Any]) -> Any:
    return [piece async for piece in pieces][-1]


async def test_a_batch_goes_round_and_comes_back(crew: Crew, visitor: Visitor) -> None:
    """A visitor that waits for work hears of it at once; the miner hears when all of it is done."""
    await visitor.join()
    waiting = asyncio.create_task(visitor.call("/api/next?wait"))
    await asyncio.sleep(0)
    asking = asyncio.create_task(work_through(crew, BATCH))
    _, state = await waiting
    assert state["item"]["text"] == "<b>Grüße</b>"
    assert (state["left"], state["item"]["labels"], state["item"]["training"]) == (2, ["a", "b"], False)
    _, state = await visitor.call("/api/answer", {"key": state["item"]["key"], "label": 1, "sure": False})
    async with visitor.session.get(visitor.url + state["item"]["picture"]) as response:
        assert response.content_type == "image/png"
        assert (await response.read()).startswith(b"\x89PNG")
    _, state = await visitor.call("/api/answer", {"key": state["item"]["key"], "label": 0})
    assert (state["item"], state["left"], state["labelled"]) == (None, 0, 2)
    assert await asking == []
    assert crew.collect(BATCH) == ([1, 0], [0.6, 0.95])


async def test_nothing_but_the_item_is_told(crew: Crew, visitor: Visitor) -> None:
    """No confidence, no number of the item, and no word of right or wrong on work that counts."""
    await visitor.join()
    crew.shift.add(BATCH, 10)
    _, state = await visitor.call("/api/next")
    assert set(state["item"]) == {"key", "question", "labels", "training", "text"}
    _, state = await visitor.call("/api/answer", {"key": state["item"]["key"], "label": 1})
    assert "feedback" not in state


async def test_people_who_do_not_finish_are_paid_for_what_they_did() -> None:
    miner = Labelling(by="people", patience=0.3)
    await miner.open("miner")
    try:
        assert miner._crew is not None
        task = build_task(Collection("c", "Which?", ("a", "b"), ("1", "2"), ITEMS, (-1, -1)), [0, 1], derive(b"s"))
        with pytest.raises(SubnetError, match="Nobody was on the page"):
            [piece async for piece in miner.answer(task)]
        miner._patience = 5.0
        asking = asyncio.create_task(last_piece(miner, task))
        await asyncio.sleep(0.05)
        async with aiohttp.ClientSession() as session:
            visitor = Visitor(session, miner._crew.url)
            await visitor.join()
            _, state = await visitor.call("/api/next?wait")
            _, state = await visitor.call("/api/answer", {"key": state["item"]["key"], "label": 1})
            await visitor.call("/api/answer", {"key": state["item"]["key"], "label": None})
        piece = await asking
        assert piece["usage"] == {"prompt": 3, "completion": 1}
        assert [row["label"] for row in piece["answers"]] == ["b"]
    finally:
        await miner.close()


async def test_people_see_what_the_buyer_pays_and_not_what_the_miner_asks() -> None:
    """A new miner is paid the floor: the page says so before, and counts by it."""
    miner = Labelling(by="people", rate="12", floor="6", own="nothing", patience=5.0)
    task = build_task(Collection("c", "Which?", ("a", "b"), ("1", "2"), ITEMS, (-1, -1)), [0, 1], derive(b"s"))
    crew = Crew(PageConfig(rate=miner.rate, least=miner.floor))
    miner._crew = crew
    await crew.start()
    async with aiohttp.ClientSession() as session:
        visitor = Visitor(session, crew.url)
        async with session.get(crew.url) as response:
            assert "12.00 credit an hour</b>, and at 6.00 until validators" in await response.text()
        asking = asyncio.create_task(_last(miner.answer_for(task, miner.least_price())))
        await asyncio.sleep(0)
        await visitor.join()
        for _ in ITEMS:
            _, state = await visitor.call("/api/next?wait")
            await visitor.call("/api/answer", {"key": state["item"]["key"], "label": 1})
        piece = await asking
    (person,) = crew.shift._people.values()
    seconds = sum(map(estimate_seconds, ITEMS))
    assert person.earned == pytest.approx(6_000_000 * seconds / 3600, rel=1e-6)
    assert piece["usage"]["completion"] == 2
    await miner.close()


async def test_every_answer_has_strict_headers(visitor: Visitor) -> None:
    for path in ("/", "/label.js", "/label.css", "/label.svg", "/nowhere", "/picture/none", "/api/next"):
        async with visitor.session.get(visitor.url + path) as response:
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "data:" not in policy
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Cache-Control"] == "no-store"
            text = await response.text()
            assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
            assert "https://" not in text


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/next", None, 401),
        ("/api/answer", {"key": "x", "label": 0}, 401),
        ("/api/join", {}, 409),
        ("/api/join", {"name": 7}, 409),
        ("/api/join", [], 400),
        ("/api/join", "x" * 5000, 413),
        ("/picture/../label.py", None, 404),
        ("/server.py", None, 404),
    ],
)
async def test_strangers_words_are_bounded(visitor: Visitor, path: str, body: Any, status: int) -> None:
    found, said = await visitor.call(path, body)
    assert found == status
    assert said["error"]


async def test_a_visitors_nonsense_is_refused(crew: Crew, visitor: Visitor) -> None:
    await visitor.join()
    crew.shift.add(BATCH, 10)
    _, state = await visitor.call("/api/next")
    key = state["item"]["key"]
    for body, status in (
        ({"key": key, "label": 2}, 409),
        ({"key": key, "label": -1}, 409),
        ({"key": key, "label": True}, 400),
        ({"key": key, "label": 1e9}, 400),
        ({"key": "é", "label": 0}, 409),
        ({"label": 0}, 400),
    ):
        assert (await visitor.call("/api/answer", body))[0] == status
    async with visitor.session.post(visitor.url + "/api/answer", data="{}") as response:
        assert response.status == 401
    headers = {"X-Tercet-Worker": visitor.token}
    async with visitor.session.post(visitor.url + "/api/answer", data=b"{", headers=headers) as response:
        assert response.status == 415
    assert (await visitor.call("/api/answer", {"key": key, "label": 0}))[0] == 200


async def test_a_page_of_another_name_is_not_served(visitor: Visitor) -> None:
    """A site that points its own name at this machine gets nothing."""
    status, _ = await visitor.call("/api/join", {"name": "x"}, Host="evil.example")
    assert status == 421


async def test_who_comes_from_elsewhere_needs_the_invitation() -> None:
    crew = Crew(PageConfig("0.0.0.0", rate=1))
    await crew.start()
    try:
        async with aiohttp.ClientSession() as session:
            visitor = Visitor(session, crew.url.replace("0.0.0.0", "127.0.0.1"))
            assert (await visitor.call("/api/join", {"name": "x"}))[0] == 403
            assert (await visitor.call("/api/join", {"name": "x", "invitation": "guess"}))[0] == 403
            await visitor.join("x", invitation=crew.url.partition("#")[2])
    finally:
        await crew.stop()


async def test_a_taken_port_is_said(crew: Crew) -> None:
    port = int(crew.url.rstrip("/").rpartition(":")[2])
    with pytest.raises(SubnetError, match="-o page=PORT"):
        await Crew(PageConfig(port=port)).start()
