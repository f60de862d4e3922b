"""Other engines, each as its own documents show it: what it needs installed, and the program that is measured.

The programs are text, since each runs in a virtual environment of its own, where Tercet is not installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["PEERS", "Peer"]


@dataclass(frozen=True, slots=True)
class Peer:
    """An engine to stand beside."""

    needs: Sequence[str]
    program: str
    own: bool = True
    """False runs in the environment of this script."""


PEERS: Mapping[str, Peer] = {
    "floor: aiohttp": Peer(
        (),
        """
import aiohttp, asyncio, json
from swarm_measure import *

async def main():
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        async def once(_):
            messages = [{"role": "user", "content": "go"}]
            while True:
                body = {"model": "gpt-4o-mini", "messages": messages}
                async with session.post(URL + "/chat/completions", json=body) as response:
                    answer = (await response.json())["choices"][0]["message"]
                messages.append(answer)
                if not answer.get("tool_calls"):
                    return messages
                for call in answer["tool_calls"]:
                    result = await add(**json.loads(call["function"]["arguments"]))
                    messages.append({"role": "tool", "tool_call_id": call["id"], "content": str(result)})
        await measure(lambda n: n, once)

asyncio.run(main())
""",
        own=False,
    ),
    "pydantic-ai": Peer(
        ("pydantic-ai-slim[openai]==2.68.0",),
        """
import asyncio
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from swarm_measure import *

model = OpenAIChatModel("gpt-4o-mini", provider=OpenAIProvider(base_url=URL, api_key="x"))

def build(_):
    return Agent(model, tools=[add])

async def once(agent):
    result = await agent.run("go")
    assert result.output == "done"
    return result.all_messages()

asyncio.run(measure(build, once))
""",
    ),
    "langgraph": Peer(
        ("langgraph==1.2.22", "langchain-openai>=1,<2"),
        """
import asyncio, warnings
warnings.simplefilter("ignore")
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.prebuilt import create_react_agent
from swarm_measure import *

model = ChatOpenAI(model="gpt-4o-mini", base_url=URL, api_key="x", max_retries=0)
adder = tool(add)

def build(_):
    return create_react_agent(model, [adder])

async def once(agent):
    state = await agent.ainvoke({"messages": [("user", "go")]})
    assert state["messages"][-1].content == "done"
    return state

asyncio.run(measure(build, once))
""",
    ),
    "openai-agents": Peer(
        ("openai-agents>=0.24,<0.25",),
        """
import asyncio
from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI
from swarm_measure import *

set_tracing_disabled(True)
model = OpenAIChatCompletionsModel("gpt-4o-mini", AsyncOpenAI(base_url=URL, api_key="x"))
adder = function_tool(add)

def build(n):
    return Agent(name=f"worker {n}", model=model, tools=[adder])

async def once(agent):
    result = await Runner.run(agent, "go")
    assert result.final_output == "done"
    return result.to_input_list()

asyncio.run(measure(build, once))
""",
    ),
    "autogen-agentchat": Peer(
        ("autogen-agentchat==0.7.5", "autogen-ext[openai]==0.7.5"),
        """
import asyncio
from autogen_agentchat.agents import AssistantAgent
from autogen_ext.models.openai import OpenAIChatCompletionClient
from swarm_measure import *

client = OpenAIChatCompletionClient(model="gpt-4o-mini", base_url=URL, api_key="x")

def build(n):
    return AssistantAgent(f"worker_{abs(n)}", model_client=client, tools=[add], max_tool_iterations=STEPS)

async def once(agent):
    result = await agent.run(task="go")
    assert result.messages[-1].content == "done"
    return result.messages

asyncio.run(measure(build, once))
""",
    ),
    "crewai": Peer(
        ("crewai==1.15.30",),
        """
import asyncio
from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool
from swarm_measure import *

llm = LLM(model="openai/gpt-4o-mini", base_url=URL, api_key="x")

@tool("add")
def adder(n: int) -> int:
    "Add one to n."
    return n + 1

def build(n):
    agent = Agent(role=f"worker {n}", goal="add", backstory="adds", llm=llm, tools=[adder], verbose=False)
    task = Task(description="go", expected_output="done", agent=agent)
    return Crew(agents=[agent], tasks=[task], verbose=False)

async def once(crew):
    result = await crew.akickoff()
    assert result.raw == "done", result.raw
    return result

asyncio.run(measure(build, once))
""",
    ),
}
