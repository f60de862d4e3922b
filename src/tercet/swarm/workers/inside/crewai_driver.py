"""A crew of CrewAI: one writes, one reviews. Imports nothing of ours.

One model object for all, because each makes its own HTTP clients; a large executor, because CrewAI's asynchronous path
runs its calls on the default one.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ |= {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_DISABLE_TRACKING": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "OTEL_SDK_DISABLED": "true",
    "ANONYMIZED_TELEMETRY": "False",
    "CREWAI_STORAGE_DIR": "/tmp/crew",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}

import tercet_lines as lines
import tercet_tool
from crewai import LLM, Agent, Crew, Process, Task
from crewai.tools import BaseTool
from crewai.utilities.pydantic_schema_utils import create_model_from_schema

MOST = 20_000
"""Characters of a file that the crew is shown."""


class Granted(BaseTool):  # type: ignore[misc]  # not installed where mypy runs
    """A tool that the task was granted.

    CrewAI's own MCP client (1.15.30) opens and closes its transport in different tasks on Python 3.11, and then says
    "no running event loop" in place of what the tool said; so the message goes to the same server by hand.
    """

    def _run(self, **arguments: Any) -> str:
        return str(tercet_tool.use(self.name, arguments)[0])


def granted() -> list[Granted]:
    """The tools that its task was granted."""
    return [
        Granted(
            name=tool["name"],
            description=tool["description"] or tool["name"],
            args_schema=create_model_from_schema(tool["inputSchema"], model_name=f"Of_{tool['name']}"),
        )
        for tool in tercet_tool.ask("tools/list")["tools"]
    ]


def shown(order: dict[str, Any]) -> str:
    """The files that the task names, as text."""
    paths = lines.files(order["inputs"], (".md", ".txt"))[:20]
    return "\n\n".join(f"--- {path}\n{path.read_text(encoding='utf-8', errors='replace')[:MOST]}" for path in paths)


async def think(order: dict[str, Any]) -> str:
    """Let the crew work; its last word."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(64))
    model = LLM(
        model="openai/" + order["model"], base_url=order["url"], api_key=order["key"], temperature=0.0, max_tokens=1024
    )
    common = {"llm": model, "allow_delegation": False, "verbose": False, "max_iter": max(2, order["steps"] // 4)}
    if "mcp" in order:
        common["tools"] = granted()
    writer = Agent(role="Writer", goal="Write what was asked for, complete and plain.", backstory="Careful.", **common)
    critic = Agent(
        role="Reviewer", goal="Find what is wrong or missing, and give the mended text.", backstory="Exact.", **common
    )
    text = f"{order['task']}\n\n{shown(order)}"
    draft = Task(description=text, expected_output="The text that was asked for, and nothing else.", agent=writer)
    final = Task(
        description="Review the draft against this, and give the final text:\n\n" + text,
        expected_output="The final text, and nothing else.",
        agent=critic,
        context=[draft],
    )
    crew = Crew(
        agents=[writer, critic], tasks=[draft, final], process=Process.sequential, verbose=False, memory=False,
        cache=False, share_crew=False,
    )  # fmt: skip
    return str((await crew.akickoff()).raw)


def work(order: dict[str, Any]) -> str:
    """Have the text written."""
    Path("/tmp/crew").mkdir(exist_ok=True)
    text = asyncio.run(think(order))
    path = lines.output(order, "text.md")
    path.write_text(text.rstrip() + "\n", encoding="utf-8")
    lines.say(claim=f"{path} does what was asked for", sources=[str(path)])
    return f"wrote {path}"


lines.drive(work)
