"""Thinking through the desk: what is asked, what it costs, and what a refusal does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, ModelRetry, NativeOutput
from pydantic_ai.exceptions import UnexpectedModelBehavior, UsageLimitExceeded
from pydantic_ai.messages import BinaryContent, ModelMessage, ModelRequest, ModelResponse, TextPart, UserPromptPart
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.usage import UsageLimits

from tercet.errors import EndedError, OutOfBudgetError, ThinkingError, UsageError
from tercet.market import Price
from tercet.swarm.durable import JournalDurability, run_scope, step
from tercet.swarm.gateway import Budget, Call, Completion, Desk, Script, ScriptedUpstream
from tercet.swarm.journal import Journal
from tercet.swarm.model import GatewayModel

NODE = "run/crew/coder-1"
PRICE = Price(per_request=2_500)
OpenDesk = Callable[..., Awaitable[Desk]]


class Verdict(BaseModel):
    ok: bool
    why: str


@pytest.fixture
async def open_desk(journal: Journal) -> AsyncIterator[OpenDesk]:
    async with AsyncExitStack() as stack:

        async def open_one(script: Script, **budget: int) -> Desk:
            desk = await stack.enter_async_context(Desk(journal, ScriptedUpstream(script, price=PRICE)))
            desk.budgets.open("run", Budget(**budget))
            return desk

        yield open_one


def tool_call(name: str, **arguments: Any) -> Completion:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return Completion(tool_calls=({"id": "c1", "type": "function", "function": function},), finish="tool_calls")


def answering(*answers: object) -> tuple[list[Call], Script]:
    """A script that gives these answers in turn, and what it was asked."""
    asked: list[Call] = []

    def script(call: Call) -> Any:
        asked.append(call)
        return answers[len(asked) - 1]

    return asked, script


def with_tool(model: GatewayModel, **options: Any) -> Agent[None, Any]:
    agent: Agent[None, Any] = Agent(model, name="coder", instructions="Be brief.", **options)

    @agent.tool_plain
    async def read(path: str) -> str:
        """Read a file."""
        if path == "secret":
            raise ModelRetry("not that one")
        return f"content of {path}"

    return agent


async def test_tools_are_passed_through_and_every_answer_has_its_price(open_desk: OpenDesk, journal: Journal) -> None:
    """The model is told its tools as OpenAI's API has them; what the market charged is the run's cost in credits."""
    asked, script = answering(tool_call("read", path="a.py"), "it is fine")
    desk = await open_desk(script)
    result = await with_tool(GatewayModel(desk, NODE, "fix", "big")).run(
        "look", model_settings={"max_tokens": 50, "seed": 7}
    )
    assert result.output == "it is fine"
    first, second = asked
    assert (first.agent, first.task, first.model, first.max_tokens, first.seed, first.step) == (
        NODE,
        "fix",
        "big",
        50,
        7,
        "",
    )
    assert first.messages == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "look"}]
    assert first.tools is not None
    assert first.tools[0]["function"]["name"] == "read"
    assert first.tools[0]["function"]["parameters"]["required"] == ["path"]
    assert second.messages[2:] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "read", "arguments": '{"path":"a.py"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "content of a.py"},
    ]
    receipts = [event.body["id"] for event in journal.events(kinds=["call"])]
    responses = [message for message in result.all_messages() if isinstance(message, ModelResponse)]
    assert [response.provider_response_id for response in responses] == receipts
    assert result.usage.cost == Decimal("0.005")
    assert result.usage.requests == 2


async def test_a_typed_answer_by_a_tool_or_by_a_schema(open_desk: OpenDesk) -> None:
    """Large models call an output tool; `NativeOutput` binds the text to the schema instead."""
    asked, script = answering(tool_call("final_result", ok=True, why="a"), {"ok": False, "why": "b"})
    model = GatewayModel(await open_desk(script), NODE)
    assert (await Agent(model, output_type=Verdict).run("go")).output == Verdict(ok=True, why="a")
    assert (await Agent(model, output_type=NativeOutput(Verdict)).run("go")).output == Verdict(ok=False, why="b")
    assert asked[0].tools is not None
    assert asked[0].schema is None
    assert asked[1].tools is None
    assert asked[1].schema is not None
    assert set(asked[1].schema["properties"]) == {"ok", "why"}


async def test_a_small_model_uses_tools_by_a_schema(open_desk: OpenDesk) -> None:
    """It cannot call tools, and is bound to write which it wants; results are told as talk, in turns."""
    asked, script = answering(
        {"tool": "read", "arguments": {"path": "a.py"}}, {"answer": {"ok": True, "why": "read it"}}
    )
    model = GatewayModel(await open_desk(script), NODE, model="small", tools="schema")
    result = await with_tool(model, output_type=Verdict).run("look")
    assert result.output == Verdict(ok=True, why="read it")
    first, second = asked
    assert first.tools is None
    assert first.schema is not None
    tool, answer = first.schema["anyOf"]
    assert tool["properties"]["tool"] == {"const": "read"}
    assert tool["properties"]["arguments"]["required"] == ["path"]
    assert set(answer["properties"]["answer"]["properties"]) == {"ok", "why"}
    assert '{"tool": "read", "arguments": {"path": "string"}}  Read a file.' in first.messages[0]["content"]
    assert [message["role"] for message in second.messages] == ["system", "user", "assistant", "user"]
    assert second.messages[2]["content"] == '{"tool": "read", "arguments": {"path": "a.py"}}'
    assert second.messages[3]["content"] == "Result of read:\ncontent of a.py"


async def test_a_small_model_without_tools_is_bound_to_the_answer_alone(open_desk: OpenDesk) -> None:
    """No wrapping where there is no choice; text is not bound at all."""
    asked, script = answering({"ok": True, "why": ""}, "hello")
    model = GatewayModel(await open_desk(script), NODE, tools="schema")
    assert (await Agent(model, output_type=Verdict).run("go")).output.ok
    assert (await Agent(model).run("go")).output == "hello"
    assert asked[0].schema is not None
    assert set(asked[0].schema["properties"]) == {"ok", "why"}
    assert asked[1].schema is None


@pytest.mark.parametrize(
    "junk",
    [
        "",
        "no json",
        "[1]",
        '{"tool": "rm", "arguments": {}}',
        '{"tool": "read", "arguments": 1}',
        '{"tool": "re',
        "[" * 100_000,
    ],
)
async def test_what_stands_for_nothing_is_asked_again(open_desk: OpenDesk, junk: str) -> None:
    """An answer cut off, or of a model that was not bound, calls no tool; the agent asks again and goes on."""
    asked, script = answering(junk, {"answer": "fine"})
    model = GatewayModel(await open_desk(script), NODE, tools="schema")
    assert (await with_tool(model).run("go")).output == "fine"
    assert len(asked) == 2


async def test_a_tools_refusal_is_told(open_desk: OpenDesk) -> None:
    """`ModelRetry` reaches both kinds of models."""
    asked, script = answering({"tool": "read", "arguments": {"path": "secret"}}, {"answer": "ok"})
    await with_tool(GatewayModel(await open_desk(script), NODE, tools="schema")).run("go")
    assert "not that one" in asked[1].messages[-1]["content"]


async def test_out_of_budget_ends_the_run_and_is_never_tried_again(open_desk: OpenDesk, journal: Journal) -> None:
    """The refusal arrives as it was made, the model was asked once, and the journal says who was refused."""
    asked, script = answering(tool_call("read", path="a"), "never")
    desk = await open_desk(script, credit=3_000)
    with pytest.raises(OutOfBudgetError) as caught:
        await with_tool(GatewayModel(desk, NODE)).run("go")
    assert (caught.value.node, caught.value.left) == ("run", 500)
    assert len(asked) == 1
    await journal.flush()
    assert [event.body["status"] for event in journal.events(kinds=["call"])] == ["complete", "refused"]


async def test_an_agents_own_cost_limit_bites_on_market_prices(open_desk: OpenDesk) -> None:
    """The limit is in credits, and is seen after the call that passes it."""
    asked, script = answering(*[tool_call("read", path="a")] * 9)
    model = GatewayModel(await open_desk(script), NODE)
    with pytest.raises(UsageLimitExceeded, match="cost_limit"):
        await with_tool(model).run("go", usage_limits=UsageLimits(cost_limit=Decimal("0.004")))
    assert len(asked) == 2


async def test_a_killed_agent_gets_no_answer(open_desk: OpenDesk) -> None:
    """`end` reaches an agent whose model is thinking; cancelling the agent leaves the call to be written down."""
    thinking, go = asyncio.Event(), asyncio.Event()

    async def slow(_: Call) -> str:
        thinking.set()
        await go.wait()
        return "late"

    desk = await open_desk(slow)
    run = asyncio.create_task(Agent(GatewayModel(desk, NODE)).run("go"))
    await thinking.wait()
    desk.end(NODE, "killed by the person")
    with pytest.raises(EndedError, match="killed by the person"):
        await run
    thinking.clear()
    other = asyncio.create_task(Agent(GatewayModel(desk, "run/crew/coder-2")).run("go"))
    await thinking.wait()
    other.cancel()
    with pytest.raises(asyncio.CancelledError):
        await other
    go.set()


async def test_an_answer_that_was_paid_is_not_paid_again(open_desk: OpenDesk, journal: Journal) -> None:
    """A step that died between the answer and its record asks under the same key, and the desk gives what it has."""
    asked, script = answering("paid once", "paid twice")
    desk = await open_desk(script)
    agent = Agent(GatewayModel(desk, NODE), name="coder")

    async def dies() -> object:
        await agent.run("go")
        raise ConnectionError

    async def lives() -> object:
        return (await agent.run("go")).output

    async with run_scope(journal, "a"):
        with pytest.raises(ConnectionError):
            await step("think", dies)
    async with run_scope(journal, "a"):
        assert await step("think", lives) == "paid once"
    assert len(asked) == 1


async def test_a_durable_agent_resumes_with_its_costs(open_desk: OpenDesk, journal: Journal) -> None:
    """Read back, a run costs nothing more, and still knows what it cost."""
    asked, script = answering(tool_call("read", path="a"), "done")
    desk = await open_desk(script)
    agent = with_tool(GatewayModel(desk, NODE), capabilities=[JournalDurability[None]()])
    for _ in range(2):
        async with run_scope(journal, "fix/1"):
            result = await agent.run("go")
            assert (result.output, result.usage.cost) == ("done", Decimal("0.005"))
    assert len(asked) == 2
    assert len({call.step for call in asked}) == 2
    assert desk.budgets.spent("run").credit == 5_000


async def test_a_model_that_fails_is_heard_of(open_desk: OpenDesk) -> None:
    """An upstream's failure arrives as it is; agents decide whether to try afresh."""

    def fails(_: Call) -> str:
        raise ThinkingError("down")

    with pytest.raises(ThinkingError, match="down"):
        await Agent(GatewayModel(await open_desk(fails), NODE)).run("go")


async def test_an_answer_cut_off_before_it_began(open_desk: OpenDesk) -> None:
    """A limit that left no room is an error of the agent's run, not an endless retry."""
    _, script = answering(*[Completion(text="", finish="length")] * 5)
    with pytest.raises(UnexpectedModelBehavior):
        await Agent(GatewayModel(await open_desk(script), NODE)).run("go")


async def test_streaming_gives_the_answer_in_one_piece(open_desk: OpenDesk) -> None:
    """Engines that stream get the whole answer at once."""
    _, script = answering("all at once")
    async with Agent(GatewayModel(await open_desk(script), NODE)).run_stream("go") as stream:
        assert await stream.get_output() == "all at once"


async def test_asked_without_an_agent(open_desk: OpenDesk) -> None:
    """The model takes plain histories, their instructions too, and refuses what it cannot read."""
    asked, script = answering("yes", "no")
    model = GatewayModel(await open_desk(script), NODE)
    history: list[ModelMessage] = [
        ModelRequest(parts=[UserPromptPart(["one", "two"])], instructions="Answer."),
        ModelResponse(parts=[TextPart("three")]),
        ModelRequest(parts=[UserPromptPart("four")], instructions="Answer."),
    ]
    response = await model.request(history, None, ModelRequestParameters())
    assert response.text == "yes"
    assert [message["content"] for message in asked[0].messages] == ["Answer.", "one\n\ntwo", "three", "four"]
    picture = UserPromptPart(["see", BinaryContent(b"x", media_type="image/png")])
    with pytest.raises(UsageError, match="reads text only"):
        await model.request([ModelRequest(parts=[picture])], None, ModelRequestParameters())
