"""Thinking from an endpoint over HTTP: a good one, the market's gateway, and ones that are down, slow or full of junk."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tercet.errors import OutOfBudgetError, ThinkingError
from tercet.market import Price, Usage
from tercet.swarm.gateway import Budget, Call, Desk, HttpUpstream, Reply, wire
from tercet.swarm.journal import Journal

from .faulty_market import faulty_market

KEY = "sk-very-secret"
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 1}},
    "required": ["n"],
    "additionalProperties": False,
}
TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Look it up.",
        "parameters": {"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]},
    },
}
Answerer = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


def call(**options: Any) -> Call:
    return Call(agent="run/c/a", messages=[{"role": "user", "content": "hello"}], **{"max_tokens": 50, **options})


def answer(text: str = "hi", **more: Any) -> web.Response:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    return web.json_response({"choices": [choice], "usage": usage, **more})


class Endpoint:
    """An endpoint on a free port that answers as a test wants, and keeps what it was asked."""

    def __init__(self, answerer: Answerer, *, market: bool = False) -> None:
        self.asked: list[dict[str, Any]] = []
        self._answerer = answerer
        self._market = market

    @asynccontextmanager
    async def open(self, **options: Any) -> AsyncIterator[HttpUpstream]:
        app = web.Application()
        app.add_routes([web.get("/v1/models", self._models), web.post("/v1/chat/completions", self._chat)])
        if self._market:
            app.router.add_get("/v1/budget", self._budget)
            app.router.add_delete("/v1/calls/{name}", self._call)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        upstream = HttpUpstream(f"http://127.0.0.1:{runner.addresses[0][1]}/v1", KEY, **options)
        try:
            await upstream.open()
            yield upstream
        finally:
            await upstream.close()
            await runner.cleanup()

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "m1"}, {"id": "m2"}, {"id": 7}, "x"]})

    async def _budget(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "budget"})

    async def _call(self, request: web.Request) -> web.Response:
        """As the market's gateway says what a call cost that was given up: the second sample was cut off, and is charged."""
        number = int(request.match_info["name"].rpartition("-")[2])
        receipt = {"usage": {"prompt": 10, "completion": 5}} if number in (1, 2) else None
        said = {
            "object": "call",
            "state": "ended",
            "given_up": True,
            "charged": 2 if receipt else 0,
            "receipt": receipt,
        }
        return web.json_response(said)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        assert request.headers["Authorization"] == f"Bearer {KEY}"
        self.asked.append(await request.json())
        return await self._answerer(request, self.asked[-1])


async def test_an_answer_is_read() -> None:
    """Text, tool calls, usage and models; what it does not know is left out of the request."""

    async def answerer(_: web.Request, body: dict[str, Any]) -> web.Response:
        return answer("hi")

    endpoint = Endpoint(answerer)
    async with endpoint.open() as upstream:
        assert list(upstream.models) == ["m1", "m2"]
        completion = await upstream.complete(call(stop=("x",), seed=3))
        assert (completion.text, completion.usage, completion.charged) == ("hi", Usage(10, 5), None)
        assert endpoint.asked[0] == {
            "model": "m1", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 50, "seed": 3, "stop": ["x"],
        }  # fmt: skip


async def test_tools_and_schemas_are_passed_on_where_they_are_understood() -> None:
    """A native endpoint gets them as they are, and one sample is all it needs afterwards."""

    async def answerer(_: web.Request, body: dict[str, Any]) -> web.Response:
        if "tools" in body:
            function = {"name": "look", "arguments": '{"what": "x"}'}
            message = {"content": None, "tool_calls": [{"id": "c1", "type": "function", "function": function}]}
            return web.json_response({"choices": [{"message": message, "finish_reason": "tool_calls"}]})
        return answer('{"n": 3}')

    endpoint = Endpoint(answerer)
    async with endpoint.open() as upstream:
        assert upstream.samples(call(schema=SCHEMA)) == 3
        assert (await upstream.complete(call(schema=SCHEMA))).text == '{"n": 3}'
        assert endpoint.asked[0]["response_format"]["json_schema"]["schema"] == SCHEMA
        completion = await upstream.complete(call(tools=[TOOL]))
        assert completion.finish == "tool_calls"
        assert completion.tool_calls[0]["function"] == {"name": "look", "arguments": '{"what": "x"}'}
        assert upstream.samples(call(schema=SCHEMA)) == 1


async def test_who_refuses_schemas_is_told_in_words_and_asked_afresh() -> None:
    """After a 422 the shape is asked for in the prompt; what does not fit is sampled anew, and all of it is paid."""
    answers = iter(["no idea", 'Sure! {"n": 0}', 'Here: {"n": 4}', '{"tool": "look", "arguments": {"what": "it"}}'])

    async def answerer(_: web.Request, body: dict[str, Any]) -> web.Response:
        if "response_format" in body or "tools" in body:
            error = {"error": {"message": "response_format is not supported by this market.", "code": "unsupported"}}
            return web.json_response(error, status=422)
        return answer(next(answers), tercet={"receipt": "chatcmpl-1", "miner": 3, "operator": "0xab", "cost": 7})

    endpoint = Endpoint(answerer, market=True)
    async with endpoint.open() as upstream:
        completion = await upstream.complete(call(schema=SCHEMA, seed=5, temperature=0.0))
        assert (completion.text, completion.charged, completion.usage) == ('{"n": 4}', 21, Usage(30, 15))
        assert completion.receipt["miner"] == 3
        told = endpoint.asked[1:]
        assert "must fit this schema" in told[0]["messages"][0]["content"]
        assert [body["seed"] for body in told] == [5, 6, 7]
        assert [body["temperature"] for body in told] == [0.0, 0.7, 0.7]
        completion = await upstream.complete(call(tools=[TOOL], schema=SCHEMA))
        assert completion.tool_calls[0]["function"] == {"name": "look", "arguments": '{"what": "it"}'}
        assert len(endpoint.asked) == 5, "it was not asked again for what it refused"


async def test_a_model_that_refuses_schemas_reserves_all_its_samples(journal: Journal) -> None:
    """Also where another model of the same endpoint takes them: what the budget cannot pay for is not bought."""

    async def answerer(_: web.Request, body: dict[str, Any]) -> web.Response:
        if body["model"] == "m1":
            return answer('{"n": 3}', tercet={"receipt": "r", "cost": 100_000})
        if "response_format" in body:
            return web.json_response({"error": {"message": "no schemas"}}, status=400)
        return answer("never", tercet={"receipt": "r", "cost": 1_000_000})

    endpoint = Endpoint(answerer, market=True)
    prices = {"m1": Price(100_000), "m2": Price(1_000_000)}
    async with endpoint.open(prices=prices) as upstream, Desk(journal, upstream) as desk:
        desk.budgets.open("run", Budget(credit=2_100_000))
        await desk.ask(call(schema=SCHEMA))
        with pytest.raises(OutOfBudgetError):
            await desk.ask(call(schema=SCHEMA, model="m2"))
        assert desk.budgets.spent("run").credit == 100_000
        assert [upstream.samples(call(schema=SCHEMA, model=model)) for model in ("", "m1", "m2")] == [1, 1, 3]


async def test_one_that_took_schemas_and_refuses_another_is_asked_once_in_words(journal: Journal) -> None:
    """One answer was reserved, so one is bought; and a schema that it does take is still sent as it is."""

    async def answerer(_: web.Request, body: dict[str, Any]) -> web.Response:
        if "maximum" in json.dumps(body.get("response_format")):
            return web.json_response({"error": {"message": "no such keyword"}}, status=400)
        text = '{"n": 3}' if "response_format" in body else "never"
        return answer(text, tercet={"receipt": "r", "cost": 1_000_000})

    endpoint = Endpoint(answerer, market=True)
    other = {**SCHEMA, "properties": {"n": {"type": "integer", "maximum": 4}}}
    async with endpoint.open(prices={"m1": Price(1_000_000)}) as upstream, Desk(journal, upstream) as desk:
        desk.budgets.open("run", Budget(credit=3_100_000))
        await desk.ask(call(schema=SCHEMA))
        with pytest.raises(ThinkingError, match="in 1 try: it is no JSON"):
            await desk.ask(call(schema=other))
        assert desk.budgets.spent("run").credit == 2_000_000
        assert (await desk.ask(call(schema=SCHEMA, seed=1))).text == '{"n": 3}'


async def test_answers_that_never_fit_are_paid_and_said() -> None:
    """A bounded number of samples; the error carries what they cost, and the desk books it."""

    async def answerer(_: web.Request, body: dict[str, Any]) -> web.Response:
        if "response_format" in body:
            return web.json_response({"error": {"message": "no"}}, status=422)
        return answer("never", tercet={"receipt": "r", "miner": 1, "operator": "0x", "cost": 2})

    endpoint = Endpoint(answerer, market=True)
    async with endpoint.open() as upstream:
        with pytest.raises(ThinkingError, match=r"in 3 tries: it is no JSON\. Ask a larger model") as caught:
            await upstream.complete(call(schema=SCHEMA))
        assert (caught.value.charged, caught.value.prompt, caught.value.completion) == (6, 30, 15)


async def test_time_that_runs_out_between_samples_is_booked(tmp_path: Any) -> None:
    """The desk gives up in the second sample: both were paid, says the seller, and stand in the receipt."""
    count = 0

    async def answerer(_: web.Request, body: dict[str, Any]) -> web.Response:
        nonlocal count
        count += 1
        if "response_format" in body:
            return web.json_response({"error": {"message": "no"}}, status=422)
        if count > 2:
            await asyncio.sleep(30)
        return answer("never", tercet={"receipt": "r", "miner": 1, "operator": "0x", "cost": 2})

    async with Endpoint(answerer, market=True).open() as upstream:
        with Journal(tmp_path / "journal.db") as journal:
            async with Desk(journal, upstream, call_seconds=1.0) as desk:
                with pytest.raises(ThinkingError, match="given up before it had answered"):
                    await desk.ask(call(schema=SCHEMA))
                assert desk.budgets.spent("run").credit == 4


def sold(price: Price, prompt: int, completion: int, *, told: bool, miner: int = 1) -> web.Response:
    """An answer of the market's gateway; an older one does not tell the price."""
    cost = price.charge(Usage(prompt, completion))
    tercet = {"receipt": "r", "miner": miner, "operator": f"0x{miner}", "cost": cost}
    usage = {"prompt_tokens": prompt, "completion_tokens": completion}
    return answer(usage=usage, tercet={**tercet, "price": asdict(price)} if told else tercet)


async def test_the_markets_prices_are_told() -> None:
    """Nobody knows before the first answer; then it is four times the dearest, side by side. A table goes before."""
    asks = iter([Price(20, 1000, 4000), Price(10, 1200, 3000)])

    async def answerer(_: web.Request, body: dict[str, Any]) -> web.Response:
        return sold(next(asks), 200, 5, told=True)

    async with Endpoint(answerer, market=True).open(prices={"m2": Price(1, 2, 3)}) as upstream:
        assert upstream.price("") is None
        await upstream.complete(call())
        assert upstream.price("m1") == Price(80, 4000, 16_000)
        await upstream.complete(call())
        assert upstream.price("m1") == Price(80, 4800, 16_000)
        assert upstream.price("m2") == Price(1, 2, 3)


async def test_the_markets_own_gateway_tells_its_price(tmp_path: Path) -> None:
    """The price in its receipt comes with the answer, so one answer is enough to know both sides."""
    async with faulty_market(tmp_path) as line:
        upstream = line.upstream()
        with Journal(tmp_path / "journal.db") as journal:
            async with Desk(journal, upstream) as desk:
                await desk.ask(call(max_tokens=5))
        assert upstream.price("") == Price(10, 1000, 2000).scaled(40_000)


async def test_a_told_price_that_the_charge_exceeds_is_not_believed() -> None:
    """The charge bounds it then."""

    async def answerer(_: web.Request, body: dict[str, Any]) -> web.Response:
        tercet = {"receipt": "r", "operator": "0x1", "cost": 30, "price": asdict(Price(0, 1, 1))}
        return answer(tercet=tercet)

    async with Endpoint(answerer, market=True).open() as upstream:
        await upstream.complete(call())
        assert upstream.price("") == Price(120, 12_000, 24_000)


async def test_prices_that_nobody_tells_are_bounded_by_what_was_charged() -> None:
    """Side by side, the least of each miner's, the dearest miner's of all; a miner that asks more begins anew."""
    sales = [(Price(0, 500, 4000), 200, 5, 1), (Price(0, 500, 4000), 20, 40, 1), (Price(0, 100, 100), 20, 40, 2)]

    async def answerer(_: web.Request, body: dict[str, Any]) -> web.Response:
        price, prompt, completion, miner = sales.pop(0)
        return sold(price, prompt, completion, told=False, miner=miner)

    async with Endpoint(answerer, market=True).open() as upstream:
        await upstream.complete(call())
        assert upstream.price("") == Price(120, 600, 24_000).scaled(40_000)
        for _ in range(2):
            await upstream.complete(call())
            assert upstream.price("") == Price(120, 600, 4250).scaled(40_000)
        sales.append((Price(0, 500, 40_000), 20, 40, 1))
        await upstream.complete(call())
        assert upstream.price("") == Price(1610, 80_500, 40_250).scaled(40_000)


async def test_an_answer_without_a_word_leaves_the_price_unknown() -> None:
    """It says nothing of what words cost."""

    async def answerer(_: web.Request, body: dict[str, Any]) -> web.Response:
        return sold(Price(0, 1, 1000), 100, 0, told=False)

    async with Endpoint(answerer, market=True).open() as upstream:
        await upstream.complete(call())
        assert upstream.price("") is None


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("tokens", [400, 2000])
async def test_short_answers_to_long_prompts_do_not_hide_what_long_answers_cost(
    journal: Journal, *, told: bool, tokens: int
) -> None:
    """Ten calls at once keep within the run's budget, though only the first one's price was seen."""

    async def answerer(_: web.Request, body: dict[str, Any]) -> web.Response:
        prompt = len(body["messages"][0]["content"])
        return sold(Price(0, 60_000, 500_000), prompt, body["max_tokens"], told=told)

    async with Endpoint(answerer, market=True).open() as upstream, Desk(journal, upstream) as desk:
        desk.budgets.open("run", Budget(credit=3_000_000))
        await desk.ask(replace(call(max_tokens=20), messages=[{"role": "user", "content": "x" * 2000}]))
        asked = (desk.ask(call(max_tokens=tokens, seed=seed)) for seed in range(10))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert desk.budgets.spent("run").credit <= 3_000_000
        assert all(isinstance(each, Reply | OutOfBudgetError) for each in answers)
        assert any(isinstance(each, Reply) for each in answers) == (told and tokens == 400)


async def test_the_first_call_at_an_unknown_price_goes_alone(tmp_path: Any) -> None:
    """It holds all there is, so that no second one can overspend; once the price is known they go side by side."""
    going = 0
    beside: list[int] = []
    together = asyncio.Barrier(2)

    async def answerer(_: web.Request, body: dict[str, Any]) -> web.Response:
        nonlocal going
        going += 1
        await (together.wait() if beside else asyncio.sleep(0.05))
        beside.append(going - 1)
        going -= 1
        return answer(tercet={"receipt": "r", "miner": 1, "operator": "0x", "cost": 1})

    async with Endpoint(answerer, market=True).open() as upstream:
        with Journal(tmp_path / "journal.db") as journal:
            async with Desk(journal, upstream) as desk:
                desk.budgets.open("run", Budget(credit=10_000))
                await asyncio.gather(*(desk.ask(call(seed=n)) for n in range(3)))
                assert beside[0] == 0
                assert beside[1] == 1
                assert desk.budgets.spent("run").credit == 3


async def test_a_model_without_a_price_is_free_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """Tokens are counted all the same."""

    async def answerer(_: web.Request, body: dict[str, Any]) -> web.Response:
        return answer()

    async with Endpoint(answerer).open() as upstream:
        with caplog.at_level(logging.WARNING):
            assert upstream.price("m1") == upstream.price("m1") == Price()
        assert caplog.text.count("swarm.unpriced") == 1


async def test_the_upstreams_402_is_out_of_budget() -> None:
    """Its own words, and no second try."""

    async def answerer(_: web.Request, body: dict[str, Any]) -> web.Response:
        return web.json_response({"error": {"message": "budget of this API key is out"}}, status=402)

    endpoint = Endpoint(answerer)
    async with endpoint.open() as upstream:
        with pytest.raises(OutOfBudgetError, match="is out of money: budget of this API key is out"):
            await upstream.complete(call())
        assert len(endpoint.asked) == 1


async def test_who_is_busy_is_asked_again_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """503 and 429 are tried three times in all; 500, which may have been paid, once."""
    monkeypatch.setattr(wire, "_RETRY_SECONDS", 0.001)
    statuses = [503, 429]

    async def answerer(_: web.Request, body: dict[str, Any]) -> web.Response:
        return web.Response(status=statuses.pop()) if statuses else answer("at last")

    endpoint = Endpoint(answerer)
    async with endpoint.open() as upstream:
        assert (await upstream.complete(call())).text == "at last"
        statuses += [503, 503, 503]
        with pytest.raises(ThinkingError, match="failed with status 503"):
            await upstream.complete(call())
        endpoint.asked.clear()
        statuses.append(500)
        with pytest.raises(ThinkingError, match="failed with status 500"):
            await upstream.complete(call())
        assert len(endpoint.asked) == 1


JUNK: list[Any] = [
    b"<html>not json</html>",
    b"",
    b"[]",
    b"[" * 50_000,
    {},
    {"choices": []},
    {"choices": [{}]},
    {"choices": [{"message": {"content": 7}}]},
    {"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": -5}},
    {"choices": [{"message": {"content": "x"}}], "tercet": {"receipt": "r", "cost": -1}},
    {"choices": [{"message": {"tool_calls": [{"function": {"name": ""}}]}}]},
]


@pytest.mark.parametrize("junk", JUNK, ids=range(len(JUNK)))
async def test_junk_is_a_thinking_error(junk: Any) -> None:
    """Whatever comes back with a 200, it is an answer or a ThinkingError."""

    async def answerer(_: web.Request, body: dict[str, Any]) -> web.Response:
        return web.Response(body=junk if isinstance(junk, bytes) else json.dumps(junk).encode())

    async with Endpoint(answerer).open() as upstream:
        with pytest.raises(ThinkingError):
            await upstream.complete(call())


async def test_what_cannot_be_is_cut_down() -> None:
    """Usage that no such answer can have costs no more than the most it could; half a character becomes `?`."""

    async def answerer(_: web.Request, body: dict[str, Any]) -> web.Response:
        message = {"message": {"content": "a\ud800b"}}
        usage = {"prompt_tokens": 10**12, "completion_tokens": 10**12}
        return web.Response(body=json.dumps({"choices": [message], "usage": usage}).encode())

    async with Endpoint(answerer).open() as upstream:
        completion = await upstream.complete(call())
        assert completion.usage == call().limit
        assert completion.text == "a?b"


async def test_an_endless_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a bound of bytes, however it is sent."""
    monkeypatch.setattr(wire, "_MOST_BYTES", 100_000)

    async def answerer(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 10_000)

    async with Endpoint(answerer).open() as upstream:
        with pytest.raises(ThinkingError, match="which nobody asked for"):
            await upstream.complete(call())


async def test_silence_and_breaking_off_are_thinking_errors() -> None:
    """One that says nothing for long, and one that closes the connection."""

    async def answerer(request: web.Request, body: dict[str, Any]) -> web.Response:
        if body["model"] == "m2":
            assert request.transport is not None
            request.transport.abort()
        await asyncio.sleep(30)
        return answer()

    async with Endpoint(answerer).open(seconds=1.0) as upstream:
        with pytest.raises(ThinkingError, match="broke off"):
            await upstream.complete(call())
        with pytest.raises(ThinkingError, match="broke off"):
            await upstream.complete(call(model="m2"))


async def test_nobody_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that is down cannot be opened; the message says where it was looked for."""
    monkeypatch.setattr(wire, "_RETRY_SECONDS", 0.001)
    upstream = HttpUpstream("http://127.0.0.1:9/v1", KEY, "m")
    with pytest.raises(ThinkingError, match=r"127\.0\.0\.1:9/v1 cannot be reached"):
        await upstream.open()


async def test_the_key_is_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    """Not by an endpoint that repeats it, and not to where a redirect points."""

    async def answerer(request: web.Request, body: dict[str, Any]) -> web.Response:
        if body["model"] == "m2":
            raise web.HTTPFound("http://elsewhere.invalid/")
        return web.json_response({"error": {"message": f"bad key {KEY}\x1b[31m"}}, status=401)

    async with Endpoint(answerer).open() as upstream:
        with caplog.at_level(logging.DEBUG), pytest.raises(ThinkingError, match=r"bad key \[key\]") as caught:
            await upstream.complete(call())
        assert "\x1b" not in str(caught.value)
        assert not caught.value.again
        with pytest.raises(ThinkingError, match="status 302"):
            await upstream.complete(call(model="m2"))
        assert KEY not in caplog.text
        assert KEY not in repr(vars(upstream)["name"])
