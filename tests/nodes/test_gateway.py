"""The gateway as an unmodified OpenAI client sees it, over a small scripted market."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from aiohttp import web

from tercet.errors import MinerError, MinerMisbehaved, MinerRefused, MinerUnreachable, SubnetError
from tercet.market import Answer, Price, Receipt, Task, Taste, Usage
from tercet.nodes.budgets import Budgets
from tercet.nodes.directory import MinerEntry
from tercet.nodes.gateway_calls import Desk, Terms
from tercet.nodes.gateway_http import Face, Kind, build_app
from tercet.nodes.gateway_keys import create_key, gateway_db, list_keys, revoke_key, set_budget
from tercet.nodes.gateway_metrics import Metrics
from tercet.subnets import Piece
from tercet.subnets.inference.prompts import draw_chat
from tercet.turns import FairQueue

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
CHEAP = Price(per_request=10, prompt_per_1k=1000, completion_per_1k=2000)
"""A chat of one prompt token and n words costs 10 + 1 + 2 n."""


@dataclass
class Stall:
    """A miner in the fake market, and what it does when asked."""

    uid: int
    price: Price | None = CHEAP
    share: float = 1.0
    proven: bool = True
    fault: Callable[[], Exception] | None = None
    fails_after: int = 0
    """Pieces before the fault."""
    gate: asyncio.Event | None = None
    """Waited for after two pieces."""
    breath: str = " "
    """Follows each word."""
    junk: Piece | None = None
    """Said first."""
    mute: bool = False
    """Takes the request and says nothing at all."""
    asked: list[tuple[Task, Usage, Price | None]] = field(default_factory=list)

    @property
    def operator(self) -> str:
        return f"0x{self.uid:040x}"

    @property
    def entry(self) -> MinerEntry:
        at = f"http://{self.uid}"
        return MinerEntry(self.uid, 1, self.operator, self.operator, at, self.share, self.proven, self.price)


class FakeExchange:
    """Answers a chat with counting words, an embedding with its length."""

    def __init__(self, stall: Stall, task: Task, price: Price) -> None:
        self._stall, self._task, self._price = stall, task, price
        self.answer: Answer | None = None
        self.charged, self.first_seconds, self.total_seconds = 0, 0.01, 0.02
        self.request_hash = b"\x07" * 32

    async def __aiter__(self) -> AsyncIterator[Piece]:
        for count, piece in enumerate(pieces := list(self._pieces())):
            if self._stall.fault is not None and count >= self._stall.fails_after:
                raise self._stall.fault()
            if self._stall.gate is not None and count == 2:
                await self._stall.gate.wait()
            yield piece
        if self._stall.fault is not None and self._stall.fails_after >= len(pieces):
            raise self._stall.fault()
        usage = Usage(**pieces[-1]["usage"])
        self.charged = self._price.charge(usage)
        self.answer = Answer(
            self.request_hash, b"\x08" * 32, usage, self.charged, self.charged, self._stall.operator, b"\x09" * 65
        )

    def _pieces(self) -> list[dict[str, Any]]:
        if self._task["kind"] == "embed":
            vectors = [[float(len(text)), 0.5, -1.25] for text in self._task["input"]]
            return [{"vectors": vectors, "usage": {"prompt": len(vectors), "completion": 0}}]
        words = [word + self._stall.breath for word in WORDS[: self._task["max_tokens"]]]
        finish = "length" if self._task["max_tokens"] <= len(WORDS) else "stop"
        junk = [] if self._stall.junk is None else [dict(self._stall.junk)]
        said = [{"text": word, "tokens": [[n, -0.5]]} for n, word in enumerate(words)]
        return [*junk, *said, {"finish": finish, "usage": {"prompt": 1, "completion": len(words)}, "model": "fake"}]


@dataclass
class FakeMarket:
    """Both of the gateway's seams: the listing and the buying."""

    stalls: list[Stall]

    def miners(self) -> list[MinerEntry]:
        return [stall.entry for stall in self.stalls]

    @asynccontextmanager
    async def ask(
        self, miner: MinerEntry, task: Task, usage_limit: Usage, *, deadline_seconds: float, price: Price | None = None
    ) -> AsyncIterator[FakeExchange]:
        assert price is not None
        assert deadline_seconds > 0
        (stall,) = (stall for stall in self.stalls if stall.uid == miner.uid)
        stall.asked.append((task, usage_limit, price))
        if stall.mute:
            await asyncio.Event().wait()
        yield FakeExchange(stall, task, price)


def limit(task: Task) -> Usage:
    if task["kind"] == "embed":
        return Usage(len(task["input"]), 0)
    if task["messages"][0]["content"] == "too long":
        raise SubnetError("The prompt is too long for this model.")
    return Usage(1, task["max_tokens"])


@dataclass
class House:
    """A gateway on a free port."""

    url: str
    state: Path
    desk: Desk
    budgets: Budgets
    secret: str
    key_id: str

    def client(self, secret: str | None = None) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=self.url + "/v1", api_key=secret or self.secret, max_retries=0, timeout=20)

    @property
    def last(self) -> Receipt:
        return self.budgets.receipts(limit=1)[0]


Opened = Callable[..., Awaitable[House]]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opened]:
    """Opens gateways; all are closed after the test, and their books have to balance."""
    runners: list[web.AppRunner] = []
    books: list[Budgets] = []

    async def opening(*stalls: Stall, budget: int = 10_000, slots: int = 8, **terms: Any) -> House:
        secret, key = create_key(tmp_path, "agent", budget)
        budgets = Budgets(gateway_db(tmp_path))
        books.append(budgets)
        market = FakeMarket(list(stalls))
        desk = Desk(
            market,
            market,
            budgets,
            Metrics(),
            FairQueue(slots, longest=4),
            terms=Terms(**{"taste": Taste(explore=0), "stall_seconds": 5, **terms}),
            dice=random.Random(5),
        )
        models: dict[str, Kind] = {"fake": "chat", "vectors": "embed"}
        face = Face(desk, limit, models, default_tokens=100, body_seconds=2.0)
        runner = web.AppRunner(build_app(face), handler_cancellation=True, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        runners.append(runner)
        port = runner.addresses[0][1]
        return House(f"http://127.0.0.1:{port}", tmp_path, desk, budgets, secret, key.id)

    yield opening
    for runner in runners:
        await runner.cleanup()
    for budgets in books:
        assert budgets.check() == []
        assert [key.reserved for key in list_keys(tmp_path) if key.reserved] == []
        budgets.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for it, at most fifteen seconds."""
    async with asyncio.timeout(15):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


async def chat(client: openai.AsyncOpenAI, **more: Any) -> Any:
    asked = {"model": "fake", "messages": [{"role": "user", "content": "count"}], "max_tokens": 5, **more}
    return await client.chat.completions.create(**asked)


async def collect(stream: Any) -> list[Any]:
    return [chunk async for chunk in stream]


# what works


async def test_a_chat_is_answered_charged_and_receipted(opened: Opened) -> None:
    """The openai client gets text, usage and headers; the key is charged what the miner charged."""
    house = await opened(Stall(1))
    async with house.client() as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="fake", messages=[{"role": "user", "content": "count"}], max_tokens=5
        )
        answer = raw.parse()
    assert answer.usage is not None
    assert answer.choices[0].message.content == "one two three four five "
    assert answer.choices[0].finish_reason == "length"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (1, 5)
    assert (raw.headers["x-tercet-receipt"], raw.headers["x-tercet-cost"]) == (answer.id, "21")
    assert raw.headers["x-tercet-miner"] == f"1 0x{1:040x}"
    receipt = house.last
    assert (receipt.id, receipt.status, receipt.charged, receipt.uid) == (answer.id, "complete", 21, 1)
    assert receipt.answer is not None
    assert house.budgets.key(house.key_id).spent == 21


async def test_a_chat_streams(opened: Opened) -> None:
    """The role, the words one by one, the reason of the end, then usage; the receipt stands before the last byte."""
    house = await opened(Stall(1))
    async with house.client() as client:
        chunks = await collect(await chat(client, stream=True, stream_options={"include_usage": True}))
    words = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert words == ["one ", "two ", "three ", "four ", "five "]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].usage.completion_tokens == 5
    assert chunks[-1].tercet == {
        "receipt": house.last.id,
        "status": "complete",
        "miner": 1,
        "operator": f"0x{1:040x}",
        "cost": 21,
        "price": {"per_request": 10, "prompt_per_1k": 1000, "completion_per_1k": 2000},
    }
    assert {chunk.id for chunk in chunks} == {house.last.id}


async def test_pieces_are_passed_on_as_they_come(opened: Opened) -> None:
    """The first words arrive while the miner is still at work."""
    gate = asyncio.Event()
    house = await opened(Stall(1, gate=gate))
    async with house.client() as client:
        stream = await chat(client, stream=True)
        texts = [(await anext(stream)).choices[0].delta.content for _ in range(3)]
        assert texts == ["", "one ", "two "]
        assert house.budgets.receipts() == []
        gate.set()
        assert (await collect(stream))[-1].choices[0].finish_reason == "length"
    assert house.last.status == "complete"


async def test_logprobs_are_passed_on(opened: Opened) -> None:
    """Each token has its log-probability; the texts joined are the answer."""
    house = await opened(Stall(1))
    async with house.client() as client:
        answer = await chat(client, logprobs=True)
    content = answer.choices[0].logprobs.content
    assert "".join(token.token for token in content) == answer.choices[0].message.content
    assert [token.logprob for token in content] == [-0.5] * 5


async def test_a_request_becomes_the_subnets_task(opened: Opened) -> None:
    """Parts are joined, developer means system, one stop is a list."""
    stall = Stall(1)
    house = await opened(stall)
    async with house.client() as client:
        await client.chat.completions.create(
            model="fake",
            messages=[
                {"role": "developer", "content": "be brief"},
                {"role": "user", "content": [{"type": "text", "text": "co"}, {"type": "text", "text": "unt"}]},
            ],
            max_completion_tokens=3,
            temperature=0,
            top_p=1,
            seed=7,
            stop="x",
            user="somebody",
            n=1,
            presence_penalty=0,
        )
    assert stall.asked[0][0] == {
        "kind": "chat",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "count"}],
        "max_tokens": 3,
        "temperature": 0,
        "seed": 7,
        "stop": ["x"],
    }


async def test_a_chat_looks_like_a_validators_challenge(opened: Opened) -> None:
    """The same fields in the same order, and a seed drawn anew for each: a miner cannot be honest with validators only."""
    stall = Stall(1)
    house = await opened(stall)
    async with house.client() as client:
        await chat(client)
        await chat(client)
    first, second = (task for task, _, _ in stall.asked)
    challenge = draw_chat(b"\x00" * 32)
    assert list(first) == list(challenge)
    assert [type(value) for value in first.values()] == [type(value) for value in challenge.values()]
    assert first["seed"] != second["seed"]


@pytest.mark.parametrize("encoding", [None, "float", "base64"])
async def test_embeddings_come_in_both_encodings(opened: Opened, encoding: str | None) -> None:
    """The client asks for base64 unless told otherwise, and decodes it; many inputs keep their order."""
    house = await opened(Stall(1))
    more: dict[str, Any] = {} if encoding is None else {"encoding_format": encoding}
    async with house.client() as client:
        answer = await client.embeddings.create(model="vectors", input=["a", "bbb"], **more)
    assert [item.index for item in answer.data] == [0, 1]
    if encoding != "base64":
        assert [list(item.embedding) for item in answer.data] == [[1.0, 0.5, -1.25], [3.0, 0.5, -1.25]]
    assert answer.usage.prompt_tokens == 2
    assert (house.last.kind, house.last.charged) == ("embed", 12)


async def test_models_are_listed(opened: Opened) -> None:
    """By name, each on its own too; an unknown one is not found."""
    house = await opened(Stall(1))
    async with house.client() as client:
        assert [model.id async for model in await client.models.list()] == ["fake", "vectors"]
        assert (await client.models.retrieve("fake")).id == "fake"
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("gpt-9")


async def test_unproven_miners_are_offered_a_fraction(opened: Opened) -> None:
    """2 % of its ask, and the receipt says that it was on probation."""
    stall = Stall(1, price=Price(1000, 100_000, 100_000), share=0.0, proven=False)
    house = await opened(stall)
    async with house.client() as client:
        await chat(client)
    assert stall.asked[0][2] == Price(20, 2000, 2000)
    assert (house.last.probation, house.last.charged) == (True, 20 + 12)


# money


async def test_no_budget_no_call(opened: Opened) -> None:
    """402, never 429, with what is needed and what is left; nobody is asked and nothing is written."""
    stall = Stall(1)
    house = await opened(stall, budget=15)
    async with house.client() as client:
        with pytest.raises(openai.APIStatusError, match=r"needs 0\.000211 credit, 0\.000015 credit is left") as refused:
            await chat(client, max_tokens=100)
    assert refused.value.status_code == 402
    assert refused.value.code == "insufficient_quota"
    assert (stall.asked, house.budgets.receipts()) == ([], [])
    set_budget(house.state, house.key_id, 500)
    async with house.client() as client:
        await chat(client, max_tokens=100)


async def test_a_budget_that_runs_out_in_a_stream_ends_it_with_an_error(opened: Opened) -> None:
    """As many words as the money pays for, the finish, then an error event; the receipt says why."""
    house = await opened(Stall(1), budget=10 + 1 + 2 * 6, least_tokens=4)
    got = []
    async with house.client() as client:
        stream = await chat(client, stream=True, max_tokens=100)
        with pytest.raises(openai.APIError, match="is out: the budget paid for 6 tokens"):  # noqa: PT012
            async for chunk in stream:
                got.append(chunk.choices[0])  # noqa: PERF401 - what came before the error counts
    assert "".join(choice.delta.content or "" for choice in got) == "one two three four five six "
    assert got[-1].finish_reason == "length"
    assert (house.last.status, house.last.charged) == ("budget", 23)
    assert house.budgets.key(house.key_id).left == 0


async def test_a_short_answer_fits_in_a_small_rest(opened: Opened) -> None:
    """A budget for 20 tokens is enough for 8 words, though the client allowed 100."""
    house = await opened(Stall(1), budget=10 + 1 + 2 * 20)
    async with house.client() as client:
        assert (await chat(client, max_tokens=100)).choices[0].finish_reason == "stop"
    assert (house.last.status, house.last.charged) == ("complete", 10 + 1 + 2 * 8)


async def test_the_cheaper_miner_serves_who_cannot_pay_the_better(opened: Opened) -> None:
    """Money decides before rank does."""
    house = await opened(
        Stall(1, price=Price(per_request=1000)), Stall(2, price=Price(per_request=5), share=0.2), budget=100
    )
    async with house.client() as client:
        await client.embeddings.create(model="vectors", input="x")
    assert house.last.uid == 2


async def test_a_whole_answer_from_a_cheaper_miner_goes_before_half_a_one(opened: Opened) -> None:
    """The budget pays the better miner for 20 tokens and the cheaper one for all 100."""
    house = await opened(Stall(1), Stall(2, price=Price(completion_per_1k=100), share=0.2), budget=10 + 1 + 2 * 20)
    async with house.client() as client:
        await chat(client, max_tokens=100)
    assert (house.last.uid, house.last.status) == (2, "complete")


async def test_a_revoked_key_stops_at_once(opened: Opened) -> None:
    """Keys are managed while the gateway runs."""
    house = await opened(Stall(1))
    late, _ = create_key(house.state, "late", 1000)
    async with house.client(late) as client:
        await chat(client)
        revoke_key(house.state, house.last.key)
        with pytest.raises(openai.AuthenticationError, match="revoked"):
            await chat(client)
    assert [key.spent for key in list_keys(house.state)] == [0, 21]


async def test_many_calls_at_once_never_overdraw(opened: Opened) -> None:
    """Thirty calls race for a budget that pays ten."""
    house = await opened(Stall(1), budget=210)
    async with house.client() as client:
        ended = await asyncio.gather(*(chat(client) for _ in range(30)), return_exceptions=True)
    good = [answer for answer in ended if not isinstance(answer, BaseException)]
    assert 1 <= len(good) <= 10
    assert house.budgets.key(house.key_id).spent == 21 * len(good)
    assert {type(bad).__name__ for bad in ended if isinstance(bad, BaseException)} <= {
        "APIStatusError",
        "InternalServerError",
    }


async def test_a_client_that_hangs_up_pays_for_what_came(opened: Opened) -> None:
    """Two of a hundred words were delivered: those are charged, the rest of the reservation is free again."""
    house = await opened(Stall(1, gate=asyncio.Event()))
    async with house.client() as client:
        stream = await chat(client, stream=True, max_tokens=100)
        for _ in range(3):
            await anext(stream)
        await stream.close()
    await until(lambda: bool(house.budgets.receipts()))
    assert (house.last.status, house.last.charged, house.last.usage) == ("client_gone", 10 + 1 + 2 * 2, Usage(1, 2))
    assert house.last.request == b"\x07" * 32


# miners that fail


def unreachable() -> Exception:
    return MinerUnreachable("The miner is not there.")


def busy() -> Exception:
    return MinerRefused("The miner is busy.", code="busy", retry_after=3.0)


def forged() -> Exception:
    return MinerMisbehaved("The answer's signature does not match.")


@pytest.mark.parametrize("fault", [unreachable, busy, forged])
@pytest.mark.parametrize("stream", [False, True])
async def test_another_miner_is_tried_when_the_first_fails(
    opened: Opened, fault: Callable[[], Exception], stream: bool
) -> None:
    """Before a byte was relayed a failure costs the client nothing but time; the one that failed rests."""
    broken, honest = Stall(1, fault=fault), Stall(2, share=0.5)
    house = await opened(broken, honest)
    async with house.client() as client:
        answer = await chat(client, stream=stream)
        if stream:
            await collect(answer)
        await chat(client)
    assert (house.last.uid, house.last.status) == (2, "complete")
    assert [receipt.attempts for receipt in house.budgets.receipts()] == [1, 2]
    assert (len(broken.asked), len(honest.asked)) == (1, 2)


@pytest.mark.parametrize("fails_after", [3, 99])
async def test_a_whole_answer_is_bought_again_when_the_first_breaks_off(opened: Opened, fails_after: int) -> None:
    """Half an answer, or a whole one with a false trailer, is thrown away where nothing was relayed yet."""
    house = await opened(Stall(1, fault=forged, fails_after=fails_after), Stall(2, share=0.5))
    async with house.client() as client:
        assert (await chat(client)).choices[0].message.content == "one two three four five "
    assert (house.last.uid, house.last.attempts, house.last.charged) == (2, 2, 21)


@pytest.mark.parametrize("fails_after", [3, 99])
async def test_a_stream_that_breaks_ends_with_an_error(opened: Opened, fails_after: int) -> None:
    """No silent restart: an error event, a receipt that says failed, no charge, and the miner rests."""
    broken = Stall(1, fault=forged, fails_after=fails_after)
    house = await opened(broken, Stall(2, share=0.5))
    async with house.client() as client:
        with pytest.raises(openai.APIError, match="signature does not match"):
            await collect(await chat(client, stream=True))
        assert (house.last.status, house.last.charged, house.last.uid) == ("failed", 0, 1)
        await chat(client)
    assert house.last.uid == 2


@pytest.mark.parametrize("silence", [{"gate": asyncio.Event()}, {"mute": True}])
async def test_a_silent_miner_is_given_up(opened: Opened, silence: dict[str, Any]) -> None:
    """Nothing for longer than the limit counts as a failure, in the middle as well as before the first word."""
    house = await opened(Stall(1, **silence), Stall(2, share=0.5), stall_seconds=0.05)
    async with house.client() as client:
        assert (await chat(client)).choices[0].finish_reason == "length"
    assert (house.last.uid, house.last.attempts) == (2, 2)


@pytest.mark.parametrize(
    ("terms", "told"),
    [
        ({"stall_seconds": 0.05}, r"gave no answer: miner 1 was silent for 0\.05 s \(--silence of the gateway\)"),
        ({"deadline_seconds": 0.2}, r"was not done when the call's 0\.2 s were over \(--deadline of the gateway\)"),
    ],
)
async def test_who_waits_for_a_slow_miner_is_told_which_limit_it_met(
    opened: Opened, terms: dict[str, float], told: str
) -> None:
    """A model that reads a long prompt for longer than that is no fault: the limit has a name to raise it by."""
    house = await opened(Stall(1, mute=True), **terms)
    async with house.client() as client:
        with pytest.raises(openai.InternalServerError, match=told):
            await chat(client)


@pytest.mark.parametrize(
    "junk",
    [
        {"text": 5},
        {"text": "x", "tokens": "abc"},
        {"text": "x", "tokens": [[1]]},
        {"text": "x", "finish": "tired"},
        {"text": "x", "tokens": [["a", None]]},
    ],
)
async def test_junk_from_a_miner_never_reaches_the_client(opened: Opened, junk: Piece) -> None:
    """A signed answer of the wrong shape is a failure like any other."""
    house = await opened(Stall(1, junk=junk), Stall(2, share=0.5))
    async with house.client() as client:
        assert (await chat(client)).choices[0].message.content == "one two three four five "
    assert (house.last.uid, house.last.attempts) == (2, 2)


async def test_when_nobody_answers_the_client_is_told_when_to_return(opened: Opened) -> None:
    """503 with retry-after, in the shortest time that a miner named; the receipt names the reasons."""
    house = await opened(Stall(1, fault=busy), Stall(2, fault=unreachable, share=0.5))
    async with house.client() as client:
        with pytest.raises(openai.InternalServerError, match="2 miners were asked and none answered") as refused:
            await chat(client)
    assert refused.value.status_code == 503
    assert refused.value.response.headers["retry-after"] == "3"
    assert (house.last.status, house.last.attempts, house.last.charged) == ("failed", 2, 0)


async def test_at_most_so_many_miners_are_tried(opened: Opened) -> None:
    """Three by default."""
    stalls = [Stall(uid, fault=unreachable) for uid in range(1, 7)]
    house = await opened(*stalls)
    async with house.client() as client:
        with pytest.raises(openai.InternalServerError):
            await chat(client)
    assert sum(len(stall.asked) for stall in stalls) == 3


async def test_an_empty_market_is_said_so(opened: Opened) -> None:
    """Nobody registered, or nobody with a price: 503, also for /health."""
    house = await opened(Stall(1, price=None))
    async with house.client() as client:
        with pytest.raises(openai.InternalServerError, match="No miner offers this now"):
            await chat(client)
    async with aiohttp.ClientSession() as http, http.get(house.url + "/health") as answer:
        assert (answer.status, (await answer.json())["status"]) == (503, "no_miners")


async def test_what_no_miner_can_read_is_the_clients_fault(opened: Opened) -> None:
    """If all refuse the task itself, the answer is 422, not 503."""

    def cannot() -> Exception:
        return MinerRefused("The subnet cannot read this task.", code="bad_task")

    house = await opened(Stall(1, fault=cannot), Stall(2, fault=cannot))
    async with house.client() as client:
        with pytest.raises(openai.UnprocessableEntityError, match="No miner can read this"):
            await chat(client)


def test_the_miner_errors_are_all_known() -> None:
    """A new leaf of MinerError needs a thought about whose fault it is: see Desk._blame."""
    assert set(MinerError.__subclasses__()) == {MinerUnreachable, MinerRefused, MinerMisbehaved}


# bad input


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 9}, "temperature"),
        ({"n": 2}, "n"),
        ({"top_p": 0.9}, "top_p"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logprobs": True, "top_logprobs": 3}, "top_logprobs"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "y"}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages"),
    ],
)
async def test_what_cannot_be_honoured_is_refused_by_name(opened: Opened, more: dict[str, Any], field: str) -> None:
    """422 with the field in `param`; nothing is sent or charged."""
    stall = Stall(1)
    house = await opened(stall)
    async with house.client() as client:
        with pytest.raises(openai.UnprocessableEntityError) as refused:
            await chat(client, **more)
    assert (refused.value.param, refused.value.type) == (field, "invalid_request_error")
    assert stall.asked == []


async def test_a_task_the_subnet_refuses_is_the_clients_fault(opened: Opened) -> None:
    """The mechanism's own words, as 422."""
    house = await opened(Stall(1))
    async with house.client() as client:
        with pytest.raises(openai.UnprocessableEntityError, match="too long for this model"):
            await chat(client, messages=[{"role": "user", "content": "too long"}])


async def test_a_model_that_is_not_there_is_not_found(opened: Opened) -> None:
    """404 that names those there are; an embedding model does not chat."""
    house = await opened(Stall(1))
    async with house.client() as client:
        for name in ("gpt-9", "vectors"):
            with pytest.raises(openai.NotFoundError, match="Offered: fake"):
                await chat(client, model=name)


async def post(
    house: House, body: bytes | io.BytesIO | AsyncIterator[bytes], **headers: str
) -> tuple[int, dict[str, Any]]:
    sent = {"Authorization": f"Bearer {house.secret}", "Content-Type": "application/json", **headers}
    async with (
        aiohttp.ClientSession() as http,
        http.post(house.url + "/v1/chat/completions", data=body, headers=sent) as answer,
    ):
        return answer.status, json.loads(await answer.read())


async def test_bodies_that_are_no_json_or_too_large_are_refused(opened: Opened) -> None:
    """400, 422 and 413, in OpenAI's shape; a body without a length is counted while it comes."""
    house = await opened(Stall(1))

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * (1 << 17)

    for body, status in (
        (b"{", 400),
        (b"[]", 400),
        (b"{}", 422),
        (io.BytesIO(bytes(10_000_000)), 413),
        (endless(), 413),
    ):
        try:
            got, content = await post(house, body)
        except aiohttp.ClientOSError:
            assert status == 413  # the server closed while we were still sending
            continue
        assert got == status
        assert set(content["error"]) == {"message", "type", "param", "code"}


async def test_a_body_that_drips_in_is_not_waited_for(opened: Opened) -> None:
    """408 when the whole body is not there in time; nobody was asked."""
    house = await opened(Stall(1))
    reader, writer = await asyncio.open_connection("127.0.0.1", int(house.url.rsplit(":", 1)[1]))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {house.secret}\r\n"
    writer.write(head.encode() + b"Content-Length: 100\r\n\r\n{")
    async with asyncio.timeout(20):
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_reads_nothing_is_left(opened: Opened) -> None:
    """A stream that nobody takes is ended after a while, and settled."""
    house = await opened(Stall(1, breath=" " * 4_000_000), stall_seconds=0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(house.url.rsplit(":", 1)[1]), limit=1024)
    ask = {"model": "fake", "messages": [{"role": "user", "content": "x"}], "stream": True, "max_tokens": 8}
    body = json.dumps(ask).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {house.secret}\r\n"
    writer.write(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    await until(lambda: bool(house.budgets.receipts()))
    assert house.last.status == "client_gone"
    assert 0 < house.last.usage.completion <= 8
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_keys_are_asked_for_before_anything_is_read(opened: Opened) -> None:
    """401 for a missing, malformed or unknown key, on every path that shows or spends."""
    house = await opened(Stall(1))
    async with aiohttp.ClientSession() as http:
        for path in ("models", "models/fake", "budget", "receipts", "receipts/x", "chat/completions", "embeddings"):
            for headers in ({}, {"Authorization": "Basic x"}, {"Authorization": "Bearer tck_guess"}):
                method = "POST" if path in {"chat/completions", "embeddings"} else "GET"
                async with http.request(method, f"{house.url}/v1/{path}", headers=headers) as answer:
                    assert answer.status == 401
                    assert (await answer.json())["error"]["code"] == "invalid_api_key"


async def test_unknown_paths_answer_in_the_same_shape(opened: Opened) -> None:
    """404 and 405 with an OpenAI error body."""
    house = await opened(Stall(1))
    async with aiohttp.ClientSession() as http:
        async with http.get(house.url + "/v1/nothing") as answer:
            assert (answer.status, (await answer.json())["error"]["type"]) == (404, "invalid_request_error")
        async with http.get(house.url + "/v1/chat/completions") as answer:
            assert answer.status == 405


# reading


async def test_a_key_reads_its_own_receipts_and_no_others(opened: Opened) -> None:
    """In pages, the newest first; another key's receipt is not found."""
    house = await opened(Stall(1))
    other, _ = create_key(house.state, "other", 1000)
    async with house.client() as client:
        ids = [(await chat(client)).id for _ in range(3)]
    async with house.client(other) as client:
        await chat(client)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {house.secret}"}) as http:
        async with http.get(house.url + "/v1/receipts?limit=2") as answer:
            page = await answer.json()
        assert ([item["id"] for item in page["data"]], page["has_more"]) == ([ids[2], ids[1]], True)
        async with http.get(f"{house.url}/v1/receipts?limit=2&after={page['last_id']}") as answer:
            page = await answer.json()
        assert ([item["id"] for item in page["data"]], page["has_more"]) == ([ids[0]], False)
        async with http.get(f"{house.url}/v1/receipts/{ids[0]}") as answer:
            assert Receipt.from_json(await answer.json()) == house.budgets.receipt(ids[0])
        async with http.get(f"{house.url}/v1/receipts/{house.last.id}") as answer:
            assert answer.status == 404
        async with http.get(f"{house.url}/v1/receipts?limit=1000") as answer:
            assert answer.status == 422
        async with http.get(house.url + "/v1/budget") as answer:
            budget = await answer.json()
    assert (budget["budget"], budget["spent"], budget["left"]) == (10_000, 63, 10_000 - 63)


async def test_metrics_count_calls_money_and_failures(opened: Opened) -> None:
    """In Prometheus' text format."""
    house = await opened(Stall(1, fault=unreachable), Stall(2, share=0.5))
    async with house.client() as client:
        await chat(client)
    async with aiohttp.ClientSession() as http, http.get(house.url + "/metrics") as answer:
        text = await answer.text()
    for line in (
        'tercet_gateway_calls_total{kind="chat",status="complete"} 1.0',
        'tercet_gateway_charged_units_total{kind="chat"} 21.0',
        'tercet_gateway_tokens_total{kind="chat",side="completion"} 5.0',
        'tercet_gateway_miner_failures_total{error="MinerUnreachable"} 1.0',
        'tercet_gateway_miners{class="proven"} 2.0',
        "tercet_gateway_in_flight 0.0",
    ):
        assert line in text.splitlines()


# pressure


async def test_a_full_gateway_makes_calls_wait_and_sends_the_rest_away(opened: Opened) -> None:
    """One at work, four waiting, the sixth gets 503 and retry-after; all the others are served in the end."""
    gate = asyncio.Event()
    house = await opened(Stall(1, gate=gate), slots=1)
    async with house.client() as client:
        calls = [asyncio.create_task(chat(client)) for _ in range(5)]
        await until(lambda: house.desk.queue.waiting == 4)
        with pytest.raises(openai.InternalServerError, match="full") as refused:
            await chat(client)
        assert int(refused.value.response.headers["retry-after"]) >= 1
        gate.set()
        await asyncio.gather(*calls)
    assert len(house.budgets.receipts()) == 5


async def test_a_gateway_that_stops_takes_no_new_calls(opened: Opened) -> None:
    """503, so that clients go elsewhere while the calls in flight end."""
    house = await opened(Stall(1))
    house.desk.stopping = True
    async with house.client() as client:
        with pytest.raises(openai.InternalServerError, match="shutting down"):
            await chat(client)


# calls that their client named


async def named(client: aiohttp.ClientSession, house: House, method: str, name: str) -> tuple[int, dict[str, Any]]:
    async with client.request(method, f"{house.url}/v1/calls/{name}") as answer:
        return answer.status, await answer.json()


async def test_a_named_call_is_sold_once_and_found_again(opened: Opened) -> None:
    """Its key says what it cost, to its own API key only; bought again under it is 409, and costs nothing."""
    house = await opened(Stall(1))
    other, _ = create_key(house.state, "other", 1000)
    async with house.client() as client:
        answer = await chat(client, extra_headers={"Idempotency-Key": "mine"})
        with pytest.raises(openai.ConflictError, match=r"its call cost 0\.000021 credit"):
            await chat(client, extra_headers={"Idempotency-Key": "mine"})
    async with house.client(other) as client:
        await chat(client, extra_headers={"Idempotency-Key": "mine"})
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {house.secret}"}) as client:
        status, found = await named(client, house, "GET", "mine")
        assert (status, found["state"], found["charged"], found["receipt"]["id"]) == (200, "ended", 21, answer.id)
        assert (await named(client, house, "GET", "never"))[0] == 404
        assert (await named(client, house, "GET", "x" * 300))[0] == 422
    assert house.budgets.key(house.key_id).spent == 21


async def test_a_named_call_that_cost_nothing_may_be_made_again(opened: Opened) -> None:
    """The miner failed, nothing was charged: the same key buys the answer."""
    stall = Stall(1, fault=unreachable)
    house = await opened(stall)
    async with house.client() as client:
        with pytest.raises(openai.InternalServerError):
            await chat(client, extra_headers={"Idempotency-Key": "mine"})
        stall.fault = None
        house.desk.notes = type(house.desk.notes)()
        await chat(client, extra_headers={"Idempotency-Key": "mine"})
    assert [receipt.charged for receipt in house.budgets.receipts()] == [21, 0]


async def test_a_named_call_that_is_given_up_is_never_sold(opened: Opened) -> None:
    """Before it arrives: refused when it does. While a miner works: open, then what it cost when the client hung up."""
    gate = asyncio.Event()
    house = await opened(Stall(1, gate=gate))
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {house.secret}"}) as client:
        for _ in range(2):
            status, found = await named(client, house, "DELETE", "late")
            assert (status, found["charged"], found["receipt"]) == (200, 0, None)
        async with house.client() as buyer:
            with pytest.raises(openai.ConflictError, match="it was given up"):
                await chat(buyer, extra_headers={"Idempotency-Key": "late"})
            stream = await chat(buyer, stream=True, max_tokens=100, extra_headers={"Idempotency-Key": "slow"})
            for _ in range(3):
                await anext(stream)
            with pytest.raises(openai.ConflictError, match="under way"):
                await chat(buyer, extra_headers={"Idempotency-Key": "slow"})
            assert (await named(client, house, "DELETE", "slow"))[:1] == (202,)
            await stream.close()
        await until(lambda: bool(house.budgets.receipts()))
        status, found = await named(client, house, "DELETE", "slow")
        assert (status, found["charged"], found["receipt"]["status"]) == (200, 10 + 1 + 2 * 2, "client_gone")


async def test_names_hold_after_a_restart(opened: Opened) -> None:
    """They stand in the file of the books: a gateway that is started anew sells under none of them again."""
    house = await opened(Stall(1))
    async with house.client() as client:
        await chat(client, extra_headers={"Idempotency-Key": "mine"})
    with Budgets(house.budgets.path) as again:
        found = again.name_call(house.key_id, "mine", "chatcmpl-other")
        assert found is not None
        assert found.charged == 21
